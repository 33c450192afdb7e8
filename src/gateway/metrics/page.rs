//! The recorder of all metrics, and the pages `/metrics`, `/healthz` and `/readyz`.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    http::{
        StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use metrics::{Label, counter, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use rustix::{
    io::Errno,
    process::{Resource, getrlimit},
};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{METRICS, MetricKind};
use crate::http::{Health, HttpError, HttpService, HttpSettings, Part, Report, State};

/// What Prometheus reads (its text format).
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Bytes that a request's body may have: no page has a use for one.
pub(super) const BODY: usize = 1024;
/// How often what was measured is summed up, so that it takes no memory while nobody asks.
const UPKEEP: Duration = Duration::from_secs(5);

/// Metrics can't be recorded: the process has another recorder already.
#[derive(Debug, thiserror::Error)]
#[error("metrics can't be recorded: {0}")]
pub struct MetricsError(#[from] BuildError);

/// The page of all metrics of this process.
#[derive(Clone)]
pub struct Page(PrometheusHandle);

impl Page {
    /// From now on this process's metrics are recorded. A process does this once, before it starts anything that counts.
    ///
    /// # Errors
    /// [`MetricsError`].
    pub fn install() -> Result<Self, MetricsError> {
        let mut builder = PrometheusBuilder::new();
        for metric in METRICS {
            if let MetricKind::Histogram(bounds) = metric.kind {
                builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.into()), bounds)?;
            }
        }
        let page = Self(builder.install_recorder()?);
        for metric in METRICS {
            match metric.kind {
                MetricKind::Counter => describe_counter!(metric.name, metric.help),
                MetricKind::Gauge => describe_gauge!(metric.name, metric.help),
                MetricKind::Histogram(_) => describe_histogram!(metric.name, metric.help),
            }
            for values in metric.starts {
                let labels = metric.labels.iter().zip(*values);
                let labels: Vec<Label> = labels.map(|(label, value)| Label::from_static_parts(label, value)).collect();
                counter!(metric.name, labels).increment(0);
            }
        }
        gauge!("callgate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        gauge!("callgate_start_time_seconds").set(now.as_secs_f64());
        Ok(page)
    }

    /// All metrics as of now, in the text format of Prometheus.
    pub fn render(&self, health: &Health) -> String {
        for (part, (_, how)) in health.ready().parts {
            gauge!("callgate_part_up", "part" => part).set(if how.state == State::Up { 1.0 } else { 0.0 });
        }
        let most = getrlimit(Resource::Nofile).current.map_or(f64::INFINITY, |most| most as f64);
        gauge!("callgate_open_files_max").set(most);
        if let Some(open) = open_files(most) {
            gauge!("callgate_open_files").set(open);
        }
        self.0.render()
    }
}

/// How many files are open, of `most`. `None`: the system doesn't say.
fn open_files(most: f64) -> Option<f64> {
    match fs::read_dir("/proc/self/fd") {
        // The folder that is read is none of them.
        Ok(files) => Some(files.count().saturating_sub(1) as f64),
        // None is left to look with.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => Some(most),
        Err(_) => None,
    }
}

/// Serves the pages, and keeps the recorder small, until `stop`.
pub(super) async fn serve(
    settings: HttpSettings,
    page: Page,
    health: Health,
    stop: CancellationToken,
) -> Result<HttpService, HttpError> {
    let upkeep = page.clone();
    let service = HttpService::start(settings, pages(page, health)).await?;
    tokio::spawn(async move {
        let mut every = tokio::time::interval(UPKEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = every.tick() => upkeep.0.run_upkeep(),
            }
        }
    });
    Ok(service)
}

fn pages(page: Page, health: Health) -> Router {
    let (alive, ready) = (health.clone(), health.clone());
    let metrics = move || async move { ([(CONTENT_TYPE, TEXT)], page.render(&health)) };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(move || async move { told("alive", alive.alive()) }))
        .route("/readyz", get(move || async move { told("ready", ready.ready()) }))
}

/// Each part's state and what it is needed for, and 503 unless those that are needed are up.
fn told(what: &str, Report { is_well, parts }: Report) -> Response {
    let status = if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let parts: Map<String, Value> = parts
        .into_iter()
        .map(|(name, (need, Part { state, detail }))| {
            let mut part = json!({ "state": state, "need": need });
            if let (false, Some(fields)) = (detail.is_empty(), part.as_object_mut()) {
                fields.insert("detail".into(), detail.into());
            }
            (name, part)
        })
        .collect();
    (status, [(CACHE_CONTROL, "no-store")], Json(json!({ what: is_well, "parts": parts }))).into_response()
}
