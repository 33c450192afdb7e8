//! Open sessions of apps: who is in, how far behind they are, what they don't get; and closing some (R12, R15).

use std::{net::IpAddr, sync::Arc};

use axum::{Json, extract::State};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    answer::{Acknowledged, Effects, Gone},
    extract::{Asked, Named},
    page::{Page, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::{Caller, accounts::Role},
    cti::{self, Which},
    model::{self, InstanceId, UserName},
};

const OPERATOR: Least = Least::Role(Role::Operator);
const READER: Least = Least::Role(Role::Reader);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_sessions))
        .add(READER, Kind::Read, routes!(read_session))
        .add(OPERATOR, Kind::Act, routes!(close_session))
        .add(OPERATOR, Kind::Act, routes!(close_sessions))
}

/// An open session of an app, as it was a moment ago
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OpenSession {
    /// Its name, as logs and records have it
    #[schema(example = "s0000000000001")]
    pub session: String,
    /// Whose it is
    #[schema(example = "recorder")]
    pub user: String,
    /// Which of the user's instances
    #[schema(example = "1")]
    pub instance: String,
    /// By which door it came in
    pub door: Door,
    /// From where
    #[schema(value_type = String, example = "192.0.2.20")]
    pub peer: IpAddr,
    /// What the app says of its software
    pub software: String,
    /// When it was opened
    #[schema(format = DateTime)]
    pub opened_at: String,
    /// When its certificate ends; null on the clear door
    #[schema(format = DateTime)]
    pub certificate_expires: Option<String>,
    /// Its lag: bytes that wait for the app to read
    pub queued_bytes: usize,
    /// Devices that it monitors, or has asked to
    pub monitored_devices: usize,
    /// Events that were handed to it
    pub deliveries: u64,
    /// Those of them that told that it doesn't get a key
    pub denials: u64,
}

/// A door of the gateway (R1)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// TCP in the clear
    Clear,
    /// TCP with mutual TLS
    Tls,
}

list_query! {
    /// Which sessions
    SessionQuery of "sessions" {
        /// Only those of this user
        #[param(max_length = 128)]
        user: String,
        /// Only those of this instance
        #[param(max_length = 128)]
        instance: String,
        /// Only those on this door
        door: Door,
    }
}

/// Which sessions are closed
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct CloseQuery {
    /// Those of this user
    #[param(value_type = String, min_length = 1, max_length = 128, example = "recorder")]
    user: UserName,
    /// Of these only those of this instance
    #[param(value_type = Option<String>, pattern = "^[a-zA-Z0-9]{1,128}$", example = "1")]
    instance: Option<InstanceId>,
}

/// List open sessions
#[utoipa::path(
    get, path = "/v1/sessions", tag = "live", params(SessionQuery),
    responses((status = 200, description = "A page of sessions, in the order in which they were opened", body = Page<OpenSession>)),
)]
async fn list_sessions(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<SessionQuery>,
) -> Result<Json<Page<OpenSession>>, Problem> {
    let window = query.window()?;
    let sessions = api.live()?.sessions.list().await;
    let is_meant = |session: &&cti::OpenSession| {
        query.user.as_deref().is_none_or(|user| session.user.as_str() == user)
            && query.instance.as_deref().is_none_or(|instance| session.instance.as_str() == instance)
            && query.door.is_none_or(|door| door == session.door.into())
    };
    let meant = sessions.iter().filter(is_meant).map(|session| (session.session.as_str(), session));
    Ok(Json(window.page(meant, |_, session| session.into())))
}

/// Read an open session
#[utoipa::path(
    get, path = "/v1/sessions/{session}", tag = "live",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 200, description = "The session", body = OpenSession)),
)]
async fn read_session(State(api): State<Arc<Api>>, Named(name): Named<String>) -> Result<Json<OpenSession>, Problem> {
    let sessions = api.live()?.sessions.list().await;
    let session = sessions.iter().find(|session| session.session == name);
    session.map(|session| Json(session.into())).ok_or_else(|| none(&name))
}

/// Close a session
///
/// When this is answered nothing leaves to it any more. It keeps nobody from opening again.
#[utoipa::path(
    delete, path = "/v1/sessions/{session}", tag = "live",
    params(("session" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is closed", body = Gone)),
)]
async fn close_session(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<String>,
) -> Result<Json<Gone>, Problem> {
    let sessions = api.live()?.sessions.list().await;
    let session = sessions.iter().find(|session| session.session == name).ok_or_else(|| none(&name))?;
    let detail = format!("{}/{}", session.user, session.instance);
    Ok(Json(api.close(&caller, Which::Session(name.clone()), ("session", &name), &detail).await?))
}

/// Close the sessions of a user
///
/// When this is answered nothing leaves to them any more. It keeps nobody from opening again.
#[utoipa::path(
    delete, path = "/v1/sessions", tag = "live", params(CloseQuery),
    responses((status = 200, description = "They are closed; `effect` says how many they were", body = Gone)),
)]
async fn close_sessions(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Asked(CloseQuery { user, instance }): Asked<CloseQuery>,
) -> Result<Json<Gone>, Problem> {
    let name = user.to_string();
    let (which, detail) = match instance {
        None => (Which::User(user), "all instances".into()),
        Some(instance) => {
            let detail = format!("instance {instance}");
            (Which::Instance(user, instance), detail)
        }
    };
    Ok(Json(api.close(&caller, which, ("user", &name), &detail).await?))
}

impl Api {
    async fn close(
        &self,
        caller: &Caller,
        which: Which,
        (kind, name): (&str, &str),
        detail: &str,
    ) -> Result<Gone, Problem> {
        let sessions = self.live()?.sessions.clone();
        let close = async move {
            let closed = sessions.close(&which, ErrorCode::ClosedByAdministrator).await;
            match which {
                // It has ended by itself a moment ago, and so the records say that closing it failed.
                Which::Session(name) if closed == 0 => Err(none(&name)),
                _ => Ok((closed, sessions.list().await.len())),
            }
        };
        let (change, closed) = self.administration.act(&caller.actor, ("close", kind, name), detail, close).await?;
        let (closed, open) = closed?;
        let effect = Effects { sessions: open, changed: 0, closed, withheld: 0 };
        Ok(Gone { revoked: 0, done: Acknowledged { change, rights: self.administration.rights(), effect } })
    }
}

fn none(name: &str) -> Problem {
    Problem::not_found(format_args!("open session {name:?}"))
}

impl From<&cti::OpenSession> for OpenSession {
    fn from(session: &cti::OpenSession) -> Self {
        let expires = session.certificate_expires.and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
        Self {
            session: session.session.clone(),
            user: session.user.to_string(),
            instance: session.instance.to_string(),
            door: session.door.into(),
            peer: session.peer,
            software: session.software.clone(),
            opened_at: rfc3339(session.opened_at.into()),
            certificate_expires: expires.map(rfc3339),
            queued_bytes: session.queued_bytes,
            monitored_devices: session.monitored_devices,
            deliveries: session.deliveries,
            denials: session.denials,
        }
    }
}

/// In whole seconds. Years from 0 to 9999 can be written, and no session has another one.
fn rfc3339(at: OffsetDateTime) -> String {
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}

impl From<model::Door> for Door {
    fn from(door: model::Door) -> Self {
        match door {
            model::Door::Clear => Self::Clear,
            model::Door::Tls => Self::Tls,
        }
    }
}

impl From<Door> for model::Door {
    fn from(door: Door) -> Self {
        match door {
            Door::Clear => Self::Clear,
            Door::Tls => Self::Tls,
        }
    }
}
