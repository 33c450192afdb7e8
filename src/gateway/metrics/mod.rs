//! The metrics page and health: what is measured, how it is read, and the service that shows it.

mod page;
mod table;

pub use page::{MetricsError, Page};
pub use table::{METRICS, Metric, MetricKind};

use std::{sync::Arc, time::Duration};

use super::{Gateway, StartError, tls_files};

use crate::{
    http::{Health, HttpLimits, HttpService, HttpSettings, Need, Part},
    hub::Pulse,
    model::Service,
};

/// How long a loop that beats each second may be silent before it counts as stuck.
const STUCK: Duration = Duration::from_secs(10);

impl Gateway {
    /// How its parts are. Others may add theirs.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Serves the metrics page and health as the settings say. Until then nobody sees what is counted.
    ///
    /// # Errors
    /// [`StartError::Http`]; [`StartError::Trust`] and [`StartError::Ledger`] if it is to be served by TLS.
    pub(super) async fn serve_metrics(&mut self, page: Page) -> Result<(), StartError> {
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
