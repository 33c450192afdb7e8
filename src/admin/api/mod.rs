//! The API of the administration: HTTP and JSON over an [`Administration`].
//!
//! `routes` is the one list of what can be asked for, and by whom; what `docs/openapi.json` says is made from the same.
//! A handler takes what it needs by the extractors of `extract`, asks the administration, and answers with a value or
//! a `Problem`. Who is let in, bounds, idempotency and the headers of every answer are the frame's.

mod access;
mod accounts;
mod answer;
mod backup;
mod certificates;
mod changes;
mod crl;
mod devices;
mod disclosures;
mod document;
mod explain;
mod extract;
mod frame;
mod groups;
mod health;
mod idempotency;
mod live;
mod log_reading;
mod page;
mod problem;
mod records;
mod routes;
mod secret_text;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod tokens;
mod users;

pub use access::{LetInBy, LoggedIn, NewSetupToken, Who};
pub use accounts::Account;
pub use answer::{Acknowledged, Changed, Effects, Gone, Told};
pub use certificates::{Certificate, CertificateOrigin, CertificateState, CrlStanding, Revoked};
pub use devices::{Device, Line};
pub use disclosures::{Disclosure, DisclosureOutcome, Disclosures, VoidRecords};
pub use groups::Group;
pub use health::{Health, PartHealth, PartNeed, PartState};
pub use live::{
    CallDirection, CallSecurity, CallState, Live, LiveCall, LiveDevice, LiveStream, Opened, Party, Protection,
    StreamDirection,
};
pub use log_reading::{ReachedRecord, SearchStopped};
pub use page::Page;
pub use problem::ProblemBody;
pub use records::AuditRecords;
pub use sessions::{Door, OpenSession};
pub use settings::{
    AuditSettings, CertificateFile, CertificateKind, HeartbeatSettings, LimitSettings, SecurityMode, ServiceSettings,
    Settings, StopSettings, SwitchSettings, SwitchType,
};
pub use tokens::{AccountToken, MadeToken};
pub use users::{User, UserKind};

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
};

use tokio::sync::{Semaphore, watch};

use super::{Administration, Gate};
use crate::{config::Config, http, trust::OwnCrl};
use idempotency::Creations;
use routes::{Routes, Table};

/// The largest body of a request, in bytes (R41a).
pub const MAX_BODY: usize = 1024 * 1024;

/// What the API is made of.
#[derive(Clone)]
pub struct Parts {
    /// What is administered.
    pub administration: Arc<Administration>,
    /// Who is let in to it.
    pub gate: Arc<Gate>,
    /// How the gateway is that is administered.
    pub health: http::Health,
    /// The settings in force.
    pub config: watch::Receiver<Arc<Config>>,
    /// The gateway; `None` if none runs.
    pub live: Option<Live>,
    /// The folder of the audit log; `None` if none is kept in files.
    pub audit: Option<PathBuf>,
}

/// What handlers share.
struct Api {
    administration: Arc<Administration>,
    gate: Arc<Gate>,
    health: http::Health,
    config: watch::Receiver<Arc<Config>>,
    live: Option<Live>,
    audit: Option<PathBuf>,
    searches: Arc<Semaphore>,
    backups: Arc<Semaphore>,
    creations: Arc<Creations>,
    own_crl: OwnCrl,
    table: Table,
    /// The API's description, as it is sent.
    document: axum::body::Bytes,
}

/// The API as a service. Each request needs a [`Peer`](crate::http::Peer) among its extensions. `None`: the system has no
/// randomness.
pub fn router(parts: Parts) -> Option<Router> {
    let (router, openapi, table) = routes().split();
    let api = Arc::new(Api {
        administration: parts.administration,
        gate: parts.gate,
        health: parts.health,
        config: parts.config,
        live: parts.live,
        audit: parts.audit,
        searches: Arc::new(Semaphore::new(log_reading::SEARCHES)),
        backups: Arc::new(Semaphore::new(1)),
        creations: Arc::new(Creations::new()?),
        own_crl: OwnCrl::default(),
        table,
        document: document::text(&openapi).into(),
    });
    let router = router
        .method_not_allowed_fallback(frame::unknown_method)
        .route_layer(from_fn_with_state(Arc::clone(&api), frame::authorise))
        .fallback(frame::unknown_path)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn(frame::around))
        .with_state(api);
    Some(router)
}

/// The API's description, OpenAPI 3.1, as `docs/openapi.json` has it.
pub fn openapi() -> String {
    document::text(&routes().split().1)
}

/// Everything that can be asked for.
fn routes() -> Routes {
    let parts = [
        access::routes,
        accounts::routes,
        tokens::routes,
        health::routes,
        users::routes,
        groups::routes,
        devices::routes,
        certificates::routes,
        crl::routes,
        sessions::routes,
        live::routes,
        disclosures::routes,
        records::routes,
        explain::routes,
        settings::routes,
        backup::routes,
    ];
    parts.into_iter().fold(Routes::new(), |routes, part| part(routes))
}
