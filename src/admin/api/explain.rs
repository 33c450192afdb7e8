//! Why a user's app gets the keys of a device's calls, or doesn't, by the rights of now (R43).

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::Deserialize;
use time::OffsetDateTime;
use utoipa_axum::routes;

use super::{
    Api, Door,
    extract::{Asked, instance_or_first},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::{
        accounts::Role,
        explain::{Basis, Explanation, Question, Unexplained, explain},
    },
    config::Config,
    model::InstanceId,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::Read, routes!(explain_access))
}

/// Whose access to what is explained
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainQuery {
    /// The user whose app it is
    #[param(max_length = 128, example = "recorder")]
    user: String,
    /// The device: its name, or the address of one that nobody described; without it what holds for each that the user sees
    #[param(max_length = 128, example = "1001")]
    device: Option<String>,
    /// The instance whose certificate is looked for; 1 if it isn't said
    #[param(value_type = Option<String>, pattern = "^[a-zA-Z0-9]{1,128}$", example = "1")]
    instance: Option<InstanceId>,
    /// Only this door
    door: Option<Door>,
}

/// Explain what an app gets
///
/// Each rule in order, what it saw, and what to change; without a device the rules of the doors and of keys. By the same
/// decisions that the doors and the sessions are judged by.
#[utoipa::path(
    get, path = "/v1/explain", tag = "live", params(ExplainQuery),
    responses((status = 200, description = "The explanation", body = Explanation)),
)]
async fn explain_access(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<ExplainQuery>,
) -> Result<Json<Explanation>, Problem> {
    let instance = instance_or_first(query.instance)?;
    let state = api.administration.state();
    let config = Arc::clone(&api.config.borrow());
    let config = Config { directory: Arc::clone(&state.directory), ..(*config).clone() };
    let crls = api.administration.client_crls();
    let (ledger, recordable) = (Arc::clone(&state.ledger), api.administration.can_record());
    let basis = Basis { config: &config, ledger, crls: &crls, recordable };
    let question = Question {
        user: &query.user,
        instance: &instance,
        device: query.device.as_deref(),
        door: query.door.map(Into::into),
        now: OffsetDateTime::now_utc(),
    };
    explain(&basis, &question).map(Json).map_err(|unexplained| match unexplained {
        Unexplained::User { .. } => Problem::not_found(format_args!("user {:?}", query.user)),
        Unexplained::Device { name, .. } => Problem::not_found(format_args!("device {name:?}")),
        Unexplained::Named { .. } | Unexplained::Pbx { .. } | Unexplained::Port { .. } => {
            Problem::field("device", unexplained)
        }
    })
}
