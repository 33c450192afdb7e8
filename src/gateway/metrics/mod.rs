//! The metrics page and health: what is measured, how it is read, and the service that shows it.

mod page;
mod table;

pub use page::{MetricsError, Page};
pub use table::{METRICS, Metric, MetricKind};

use std::{net::SocketAddr, time::Duration};

use super::{Gateway, StartError, tls_files};
use std::sync::Arc;

use crate::{
    http::{Health, HttpLimits, HttpService, HttpSettings, Need, Part},
    hub::Pulse,
    model::Service,
};

/// How long a loop that beats each second may be silent before it counts as stuck.
const STUCK: Duration = Duration::from_secs(10);

impl Gateway {
    /// Tells which doors are open. One that the settings close is missed by nobody.
    pub(super) fn tell_doors(&self) {
        let shown =
            |address: Option<SocketAddr>| address.map_or_else(|| "closed".into(), |address| address.to_string());
        self.door_health.up(&format!("clear {}, TLS {}", shown(self.clear), shown(self.tls_address())));
    }

    /// How its parts are. Others may add theirs.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Serves the metrics page and health as the settings say. Until then nobody sees what is counted.
    ///
    /// # Errors
    /// [`StartError::Http`]; [`StartError::Trust`] and [`StartError::Ledger`] if it is to be served by TLS.
    pub async fn serve_metrics(&mut self, page: Page) -> Result<(), StartError> {
        let running = Arc::clone(&self.config.borrow());
        let settings = HttpSettings {
            service: Service::Metrics,
            config: running.metrics.clone(),
            unix: None,
            limits: HttpLimits::of(&running.limits, page::BODY),
            tls: tls_files::http_side(&running, &running.metrics, self.ledger.as_ref())?,
        };
        self.metrics = Some(page::serve(settings, page, self.health.clone(), self.stop.clone()).await?);
        Ok(())
    }

    /// The metrics page, if it is served.
    pub fn metrics(&self) -> Option<&HttpService> {
        self.metrics.as_ref()
    }
}

/// A loop without which the gateway isn't alive.
pub(super) fn watch(health: &Health, name: &str, pulse: &Pulse) {
    let pulse = pulse.clone();
    health.probe(name, Need::Alive, move || match pulse.age() {
        age if age >= STUCK => Part::down(format!("it has not turned for {} s", age.as_secs())),
        _ => Part::up(),
    });
}
