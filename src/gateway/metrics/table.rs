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
    /// The values of its labels, in their order, that are on the page from the start: with them, the first time is a rise,
    /// which an alert can see.
    pub starts: &'static [&'static [&'static str]],
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

impl Metric {
    const fn starting_with(self, starts: &'static [&'static [&'static str]]) -> Self {
        Self { starts, ..self }
    }
}

/// One without labels is on the page from the start.
const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    let starts: &[&[&str]] = if labels.is_empty() { &[&[]] } else { &[] };
    Metric { name, kind: MetricKind::Counter, labels, starts, help }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, labels, starts: &[], help }
}

const fn histogram(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, starts: &[], help }
}

/// Every metric, in the order of the names.
pub static METRICS: &[Metric] = &[
    counter(
        "callgate_accept_errors_total",
        &["door"],
        "Connections to a door that could not be accepted, for want of files above all.",
    )
    .starting_with(&[&["clear"], &["tls"]]),
    counter(
        "callgate_admin_logins_total",
        &["result"],
        "Logins to the administration: `ok`, or why not: `account_locked`, `changed` (in that moment), `disabled`, `no_password`, `setup_token`, `source_locked`, `unknown_account`, `wrong_password`.",
    ),
    counter(
        "callgate_admin_refusals_total",
        &["code"],
        "Requests to the administration that were refused, and new settings of the config that could not be recorded.",
    )
    .starting_with(&[&["INTERNAL"]]),
    gauge("callgate_admin_sessions", &[], "Logins to the administration that last."),
    counter(
        "callgate_audit_failures_total",
        &["operation"],
        "What went wrong with the audit log: a segment could not be made (`create`), written or flushed (`write`, `flush`), each of which closes the log, or a `checkpoint` could not be written.",
    )
    .starting_with(&[&["checkpoint"], &["create"], &["flush"], &["write"]]),
    histogram("callgate_audit_flush_seconds", LATENCY, &[], "Time that a flush of the audit log took."),
    gauge(
        "callgate_audit_open",
        &[],
        "Whether the audit log can be written: 1, or 0 while no key leaves and no right is granted.",
    ),
    counter(
        "callgate_audit_records_lost_total",
        &["class"],
        "Records that the audit log had no room for, on a disk that is nearly full or while it was closed: `ordinary` ones of strangers and of refused requests, or `privileged` ones.",
    )
    .starting_with(&[&["ordinary"], &["privileged"]]),
    counter("callgate_audit_records_total", &["record"], "Records of the audit log, by their names."),
    gauge(
        "callgate_audit_reserve_bytes",
        &[],
        "Bytes that the disk holds back for the audit log's records of disclosures, sessions and administration; less than usual says that some of them were needed.",
    ),
    histogram(
        "callgate_audit_write_seconds",
        LATENCY,
        &[],
        "Time to put on record what is about to be given, until that is written; with flush_milliseconds = 0, until it is flushed.",
    ),
    gauge("callgate_build_info", &["version"], "Always 1; the version is in its label."),
    gauge(
        "callgate_certificate_expiry_timestamp_seconds",
        &["kind"],
        "When the first certificate of a kind ends, in seconds since 1970: `gateway` is the gateway's own chain, `client_ca` the CAs of apps, `app` the certificates of open sessions; infinite where there is none.",
    ),
    counter(
        "callgate_certificates_refused_total",
        &["reason"],
        "Certificates refused in a handshake: `ca_used_as_leaf`, `crl_expired`, `crl_missing`, `expired`, `ledger_unavailable`, `name_disagrees`, `no_usage`, `not_for_clients`, `not_in_ledger`, `not_possessed`, `not_yet_valid`, `other`, `revoked`, `revoked_by_ca`, `self_signed`, `unknown_issuer`, `unreadable`, `weak_key`, `wrong_signature`.",
    )
    .starting_with(&[&["name_disagrees"], &["not_in_ledger"], &["revoked"], &["revoked_by_ca"]]),
    gauge(
        "callgate_client_crl_next_update_timestamp_seconds",
        &["file"],
        "When the next CRL of a client CA must be there, in seconds since 1970; infinite for a file that the config doesn't name any more, and from the end of the TLS door until files are read again.",
    ),
    counter("callgate_clock_jumps_total", &[], "Jumps of the system's clock by more than an hour."),
    counter("callgate_deliveries_total", &[], "Events handed to sessions."),
    histogram(
        "callgate_delivery_seconds",
        LATENCY,
        &[],
        "Time from the moment in which what the switch said was read, the first of what is handled at once, to the moment in which a worker has handed the event to the sockets of its sessions, or keeps it for those that are full; once for each event and worker.",
    ),
    gauge("callgate_devices", &[], "Devices that are known, configured or found by their calls."),
    counter(
        "callgate_disclosures_total",
        &["indicator", "reason"],
        "Media events with a key to tell of, by what each session was told.",
    )
    .starting_with(&[&["KEYS_UNAVAILABLE", "AUDIT_UNAVAILABLE"], &["KEYS_UNAVAILABLE", "SWITCH"]]),
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
    )
    .starting_with(&[&["OK"]]),
    counter(
        "callgate_http_accept_errors_total",
        &["service"],
        "Connections to a service over HTTP that could not be accepted.",
    )
    .starting_with(&[&["admin"], &["metrics"]]),
    gauge("callgate_http_connections", &["service"], "Connections to a service over HTTP that are open."),
    counter(
        "callgate_http_refusals_total",
        &["service", "code"],
        "Connections and requests that a service over HTTP refused.",
    ),
    counter("callgate_http_requests_total", &["service", "status"], "Requests that a service over HTTP answered."),
    counter(
        "callgate_instance_conflicts_total",
        &[],
        "Connections of an instance that were refused, since its session answered a probe.",
    ),
    counter("callgate_keys_withheld_total", &["code"], "Keys that were recorded as disclosed and did not leave."),
    gauge("callgate_open_files", &[], "Files and sockets that the process has open."),
    gauge("callgate_open_files_max", &[], "Files and sockets that the process may have open."),
    gauge("callgate_part_up", &["part"], "Whether a part of the gateway does what it is for, as /readyz shows it: 1 or 0."),
    counter("callgate_refusals_total", &["code"], "Refusals of connections, requests and keys, recorded or not.")
        .starting_with(&[&["AUTHENTICATION_FAILED"], &["INSTANCE_ALREADY_OPEN"], &["INTERNAL"], &["TOO_MANY_TRIES"]]),
    gauge(
        "callgate_session_queue_bytes",
        &["worker"],
        "Bytes that wait for sessions that read slowly; looked at every second.",
    ),
    counter("callgate_sessions_closed_total", &["code"], "Sessions that ended.").starting_with(&[&["SLOW_CONSUMER"]]),
    gauge("callgate_sessions_open", &["door"], "Sessions that are open."),
    counter("callgate_sessions_opened_total", &["door"], "Sessions that opened."),
    counter(
        "callgate_simulated_calls_skipped_total",
        &[],
        "Calls of a simulated switch that did not begin: fewer than two of its devices were idle.",
    ),
    counter("callgate_simulated_calls_total", &[], "Calls of a simulated switch that began."),
    gauge("callgate_start_time_seconds", &[], "When the gateway was started, in seconds since 1970."),
    gauge(
        "callgate_store_ballast_bytes",
        &[],
        "Bytes that the store holds back for removals on a full disk; less than usual says that some of it was needed.",
    ),
    histogram("callgate_store_commit_seconds", LATENCY, &[], "Time that the store took to write and flush a transaction."),
    counter(
        "callgate_store_commits_total",
        &[],
        "Transactions that the store has committed: each has all writes that waited.",
    ),
    counter("callgate_store_conflicts_total", &["bucket"], "Writes that somebody else was faster than."),
    counter(
        "callgate_store_errors_total",
        &["kind"],
        "Commits that failed: the disk is `full`, or it is another fault (`io`).",
    )
    .starting_with(&[&["full"], &["io"]]),
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
        for Metric { name, kind, labels, starts, help } in METRICS {
            assert!(name.starts_with("callgate_") && help.ends_with('.'), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == MetricKind::Counter, "{name}");
            assert!(starts.iter().all(|values| values.len() == labels.len()), "{name}");
            if let MetricKind::Histogram(bounds) = kind {
                assert!(name.ends_with("_seconds") && bounds.windows(2).all(|pair| pair[0] < pair[1]), "{name}");
            }
        }
    }
}
