//! How the gateway is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::accounts::Role,
    http::{self, Need, Part},
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::List, routes!(read_health))
}

/// How the gateway and its parts are
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The gateway's version
    #[schema(example = "0.1.0")]
    pub version: String,
    /// Whether all parts are up without which the process had better be started again
    pub alive: bool,
    /// Whether all parts are up that apps need
    pub ready: bool,
    /// The parts, by their names; none where no gateway runs
    pub parts: BTreeMap<String, PartHealth>,
}

/// How a part is
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PartHealth {
    /// Whether it does what it is for
    pub state: PartState,
    /// What the gateway isn't without it
    pub need: PartNeed,
    /// Why, or in which way; may be empty
    pub detail: String,
}

/// Whether a part does what it is for
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartState {
    /// It doesn't
    Down,
    /// It doesn't yet
    Starting,
    /// It does
    Up,
}

/// What the gateway isn't without a part
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartNeed {
    /// Nothing: it goes on without it
    None,
    /// Ready for apps
    Ready,
    /// Alive
    Alive,
}

/// How the gateway is
///
/// The same as its pages for who watches it, which need no login: `/healthz` and `/readyz` beside the metrics.
#[utoipa::path(
    get, path = "/v1/health", tag = "live",
    responses((status = 200, description = "How it is, well or not", body = Health)),
)]
async fn read_health(State(api): State<Arc<Api>>) -> Json<Health> {
    let (alive, ready) = (api.health.alive().is_well, api.health.ready());
    let parts = ready.parts.into_iter().map(|(name, (need, part))| (name, PartHealth::new(need, part)));
    let version = env!("CARGO_PKG_VERSION").into();
    Json(Health { version, alive, ready: ready.is_well, parts: parts.collect() })
}

impl PartHealth {
    fn new(need: Need, Part { state, detail }: Part) -> Self {
        let state = match state {
            http::State::Down => PartState::Down,
            http::State::Starting => PartState::Starting,
            http::State::Up => PartState::Up,
        };
        let need = match need {
            Need::None => PartNeed::None,
            Need::Ready => PartNeed::Ready,
            Need::Alive => PartNeed::Alive,
        };
        Self { state, need, detail }
    }
}
