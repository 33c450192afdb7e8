//! The metrics page and health: what is measured, how it is read, and the service that shows it.

mod page;
mod table;

pub use page::{MetricsError, Page};
pub use table::{METRICS, Metric, MetricKind};

pub(super) use page::serve;
