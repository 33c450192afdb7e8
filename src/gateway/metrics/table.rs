//! Every metric of the gateway: the one table that the page's descriptions and `docs/MONITORING.md` are made from.
//!
//! `tests/monitoring_docs.rs` compares it with what the code counts, by name and labels. A label's values are bounded: they
//! are named in the config or in the code, never by who connects or sends.

/// A metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Its name, by the conventions of Prometheus.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It counts by these bounds.
    Histogram(&'static [f64]),
}

impl MetricKind {
    /// Its name on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// From an event's way through one machine, to the worst that may be.
const LATENCY: MetricKind = MetricKind::Histogram(&[
    0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0,
]);
/// A handshake waits for the other side, too.
const HANDSHAKE: MetricKind =
    MetricKind::Histogram(&[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, labels, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, help }
}

const fn histogram(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

/// Every metric, in the order of the names.
pub static METRICS: &[Metric] = &[
    counter(
        "callgate_accept_errors_total",
        &["door"],
        "Connections to a door that could not be accepted, for want of files above all.",
    ),
    gauge("callgate_build_info", &["version"], "Always 1; the version is in its label."),
    counter("callgate_deliveries_total", &[], "Events handed to sessions."),
    histogram(
        "callgate_delivery_seconds",
        LATENCY,
        &[],
        "Time from the moment in which an event reaches the hub to the moment in which a worker has handed it to the sockets of its sessions, or keeps it for those that are full; once for each event and worker.",
    ),
    gauge("callgate_devices", &[], "Devices that are known, configured or found by their calls."),
    counter(
        "callgate_disclosures_total",
        &["indicator", "reason"],
        "Media events with a key to tell of, by what each session was told.",
    ),
    gauge(
        "callgate_event_queue_batches",
        &[],
        "Batches of events that wait for the hub; at 1024 the switches wait, too.",
    ),
    counter("callgate_events_total", &["class"], "Events of devices that connectors reported, by their class."),
    counter(
        "callgate_farewells_cut_short_total",
        &[],
        "Sessions whose last message was not waited for: as many as may were taking their leave already.",
    ),
    counter(
        "callgate_feed_bounds_reached_total",
        &["switch", "bound"],
        "Bounds of what a feed remembers that were reached.",
    ),
    counter(
        "callgate_feed_datagrams_dropped_total",
        &["switch", "by"],
        "Lost datagrams, by the queue or the kernel; of the latter it is asked every ten seconds.",
    ),
    counter("callgate_feed_datagrams_foreign_total", &["switch"], "Datagrams from elsewhere than the feed's networks."),
    counter("callgate_feed_datagrams_refused_total", &["switch", "reason"], "Datagrams of no use."),
    counter("callgate_feed_datagrams_total", &["switch"], "Datagrams that a feed took, refused ones included."),
    gauge(
        "callgate_feed_queue_bytes",
        &["switch"],
        "Bytes of datagrams that wait to be tracked; looked at every ten seconds.",
    ),
    counter("callgate_feed_receive_errors_total", &["switch"], "Errors of a feed's socket."),
    histogram(
        "callgate_handshake_seconds",
        HANDSHAKE,
        &[],
        "Time of TLS handshakes at the TLS door that succeeded, the network's included.",
    ),
    counter(
        "callgate_handshakes_total",
        &["result"],
        "TLS handshakes at the TLS door that ended: OK, or the code that they were refused with.",
    ),
    counter(
        "callgate_http_accept_errors_total",
        &["service"],
        "Connections to a service over HTTP that could not be accepted.",
    ),
    gauge("callgate_http_connections", &["service"], "Connections to a service over HTTP that are open."),
    counter(
        "callgate_http_refusals_total",
        &["service", "code"],
        "Connections and requests that a service over HTTP refused.",
    ),
    counter("callgate_http_requests_total", &["service", "status"], "Requests that a service over HTTP answered."),
    counter("callgate_keys_withheld_total", &["code"], "Keys that were recorded as disclosed and did not leave."),
    gauge("callgate_open_files", &[], "Files and sockets that the process has open."),
    gauge("callgate_open_files_max", &[], "Files and sockets that the process may have open."),
    gauge("callgate_part_up", &["part"], "Whether a part of the gateway does what it is for, as /readyz says: 1 or 0."),
    counter("callgate_refusals_total", &["code"], "Refusals of connections, requests and keys, recorded or not."),
    gauge(
        "callgate_session_queue_bytes",
        &["worker"],
        "Bytes that wait for sessions that read slowly; looked at every second.",
    ),
    counter("callgate_sessions_closed_total", &["code"], "Sessions that ended."),
    gauge("callgate_sessions_open", &["door"], "Sessions that are open."),
    counter("callgate_sessions_opened_total", &["door"], "Sessions that opened."),
    counter(
        "callgate_simulated_calls_skipped_total",
        &[],
        "Calls of a simulated switch that did not begin: fewer than two of its devices were idle.",
    ),
    counter("callgate_simulated_calls_total", &[], "Calls of a simulated switch that began."),
    gauge("callgate_start_time_seconds", &[], "When the gateway was started, in seconds since 1970."),
    counter(
        "callgate_switch_events_refused_total",
        &[],
        "Events of devices that aren't configured, for one more of which there was no room.",
    ),
    counter("callgate_switch_events_total", &[], "Events that connectors reported."),
    gauge(
        "callgate_worker_queue_messages",
        &["worker"],
        "Messages of the hub that wait for a worker, each with up to 64 events; at 1024 the hub waits. Looked at every second.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order_and_say_what_they_count() {
        assert!(METRICS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for Metric { name, kind, help, .. } in METRICS {
            assert!(name.starts_with("callgate_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            if let MetricKind::Histogram(bounds) = kind {
                assert!(name.ends_with("_seconds") && bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            }
        }
    }
}
