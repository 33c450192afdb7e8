//! The administration's API as a service: over HTTPS for people and programs elsewhere, and at a unix socket for commands on
//! this machine.

use std::sync::Arc;

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
    http::{HttpLimits, HttpService, HttpSettings, UnixPlace},
    model::Service,
};

/// Who may connect to the socket: the gateway's own user, and root.
const SOCKET_MODE: u32 = 0o600;

/// The API of an administration. Requests need an [`http::Peer`](crate::http::Peer) among their extensions.
///
/// # Errors
/// [`StartError::Randomness`].
pub fn api(
    administration: &Arc<Administration>,
    config: watch::Receiver<Arc<Config>>,
    live: Option<Live>,
) -> Result<Router, StartError> {
    let own_uid = rustix::process::geteuid().as_raw();
    let gate = Gate::new(Arc::clone(administration), own_uid, SessionRules::default(), LockoutRules::default());
    let gate = Arc::new(gate.ok_or(StartError::Randomness)?);
    let administration = Arc::clone(administration);
    api::router(Parts { administration, gate, config, live }).ok_or(StartError::Randomness)
}

impl Gateway {
    /// Serves the API of its administration as the settings say.
    ///
    /// # Errors
    /// [`StartError::Http`]; [`StartError::Trust`] if it is to be served by TLS.
    pub(super) async fn serve_administration(&mut self, api: Router) -> Result<(), StartError> {
        let config = Arc::clone(&self.config.borrow());
        let admin = &config.admin;
        let settings = HttpSettings {
            service: Service::Admin,
            config: admin.https.clone(),
            unix: Some(UnixPlace { path: admin.socket.clone(), mode: SOCKET_MODE }),
            limits: HttpLimits::of(&config.limits, MAX_BODY),
            tls: tls_files::http_side(&config, &admin.https, self.ledger.as_ref())?,
        };
        self.administration = Some(HttpService::start(settings, api).await?);
        Ok(())
    }

    /// The service of its administration, if it is administered.
    pub fn administration(&self) -> Option<&HttpService> {
        self.administration.as_ref()
    }
}
