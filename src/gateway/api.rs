//! The administration's API as a service: over HTTPS for people and programs elsewhere, and at a unix socket for commands on
//! this machine.

use std::{
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use axum::Router;
use tokio::sync::watch;

use super::{Gateway, StartError, tls_files};
use crate::{
    admin::{
        Administration, Gate,
        accounts::{LockoutRules, SessionRules},
        api::{self, Live, MAX_BODY, Parts},
    },
    config::Config,
    http::{Health, HttpLimits, HttpService, HttpSettings, UnixPlace},
    model::Service,
};

/// Who may connect to the socket: the gateway's own user, and root.
const SOCKET_MODE: u32 = 0o600;
/// How often it is looked whether failed logins are to be summed up.
const LOOK_AROUND: Duration = Duration::from_secs(10);

/// The API of an administration, by the settings in force, and of the gateway that is in this
/// health, if one runs. `audit` is the folder of the audit log, if it is kept in files. To be called where a tokio runtime is.
/// Requests need an [`http::Peer`](crate::http::Peer) among their extensions.
///
/// # Errors
/// [`StartError::Randomness`].
pub fn api(
    administration: &Arc<Administration>,
    config: watch::Receiver<Arc<Config>>,
    live: Option<Live>,
    audit: Option<PathBuf>,
    health: Health,
) -> Result<Router, StartError> {
    let own_uid = rustix::process::geteuid().as_raw();
    let gate = Gate::new(Arc::clone(administration), own_uid, SessionRules::default(), LockoutRules::default());
    let gate = Arc::new(gate.ok_or(StartError::Randomness)?);
    tokio::spawn(look_around(Arc::downgrade(&gate)));
    let parts = Parts { administration: Arc::clone(administration), gate, config, live, audit, health };
    api::router(parts).ok_or(StartError::Randomness)
}

/// For as long as there is a gate.
async fn look_around(gate: Weak<Gate>) {
    loop {
        tokio::time::sleep(LOOK_AROUND).await;
        let Some(gate) = gate.upgrade() else { return };
        gate.look_around(Instant::now());
    }
}

impl Gateway {
    /// Serves the API of its administration as the settings say.
    ///
    /// # Errors
    /// [`StartError::Http`]; [`StartError::Trust`] if it is to be served by TLS.
    pub(super) async fn serve_administration(&mut self, api: Router) -> Result<(), StartError> {
        let running = Arc::clone(&self.config.borrow());
        let admin = &running.admin;
        let settings = HttpSettings {
            service: Service::Admin,
            config: admin.https.clone(),
            unix: Some(UnixPlace { path: admin.socket.clone(), mode: SOCKET_MODE }),
            limits: HttpLimits::of(&running.limits, MAX_BODY),
            tls: tls_files::http_side(&running, &admin.https, self.ledger.as_ref())?,
        };
        self.administration = Some(HttpService::start(settings, api).await?);
        Ok(())
    }

    /// The service of its administration, if it is administered.
    pub fn administration(&self) -> Option<&HttpService> {
        self.administration.as_ref()
    }
}
