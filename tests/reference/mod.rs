//! Makes the reference parts of docs/PROTOCOL.md.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test"
)]

pub mod proto;

use callgate::config::{Heartbeat, Limits};

/// The table of errors.
pub fn errors() -> String {
    let rows = callgate_wire::TABLE.iter().map(|info| {
        format!("| {} | `{}` | {} | {} | {} |", info.number(), info.name(), info.rule, info.text, info.mend)
    });
    table("| Number | Name | Rule | What is wrong | What to change |\n|---|---|---|---|---|", rows)
}

/// The table of bounds.
pub fn limits() -> String {
    let Limits {
        open_seconds,
        probe_seconds,
        opening_connections,
        sessions,
        sessions_per_user,
        monitors_per_session,
        requests_in_flight,
        queued_bytes_per_session,
        tries_per_source_per_minute,
        ..
    } = Limits::default();
    let Heartbeat { default_seconds, min_seconds, max_seconds } = Heartbeat::default();
    let row = |what: &str, bound: String, setting: &str, error: &str| {
        let setting = if setting.is_empty() { "fixed".to_owned() } else { format!("`{setting}`") };
        format!("| {what} | {bound} | {setting} | {error} |")
    };
    let kib = |bytes: usize| format!("{} KiB", bytes / 1024);
    let rows = [
        row("A frame before the session is open", kib(callgate_wire::MAX_FRAME_BEFORE_OPEN), "", "`FRAME_TOO_LARGE`"),
        row("A frame of an open session", kib(callgate_wire::MAX_FRAME_OPEN), "", "`FRAME_TOO_LARGE`"),
        row(
            "Time from the connection to `Opened`, the TLS handshake included",
            format!("{open_seconds} s"),
            "limits.open_seconds",
            "`OPEN_TIMEOUT`",
        ),
        row(
            "Time to answer a `Probe`; at most half of the time above",
            format!("{probe_seconds} s"),
            "limits.probe_seconds",
            "`INSTANCE_TAKEN_OVER`",
        ),
        row(
            "Heartbeat interval",
            format!("{min_seconds} to {max_seconds} s, {default_seconds} s without a wish"),
            "heartbeat",
            "`HEARTBEAT_TIMEOUT` after two silent intervals",
        ),
        row(
            "Requests without an answer",
            requests_in_flight.to_string(),
            "limits.requests_in_flight",
            "the next one waits, and TCP holds the app back",
        ),
        row(
            "Monitored devices of a session",
            monitors_per_session.to_string(),
            "limits.monitors_per_session",
            "`TOO_MANY_MONITORS`",
        ),
        row(
            "Bytes that wait for an app that reads slowly",
            kib(queued_bytes_per_session),
            "limits.queued_bytes_per_session",
            "`SLOW_CONSUMER`",
        ),
        row(
            "Sessions of a user",
            sessions_per_user.to_string(),
            "limits.sessions_per_user",
            "`TOO_MANY_SESSIONS_OF_USER`",
        ),
        row("Sessions in all", sessions.to_string(), "limits.sessions", "`TOO_MANY_SESSIONS`"),
        row(
            "Connections that aren't open yet",
            opening_connections.to_string(),
            "limits.opening_connections",
            "`TOO_MANY_CONNECTIONS`",
        ),
        row(
            "Failed tries to open from an address in a minute",
            tries_per_source_per_minute.to_string(),
            "limits.tries_per_source_per_minute",
            "`TOO_MANY_TRIES`",
        ),
    ];
    table("| What | Bound | Setting | Beyond it |\n|---|---|---|---|", rows)
}

fn table(head: &str, rows: impl IntoIterator<Item = String>) -> String {
    rows.into_iter().fold(head.to_owned(), |table, row| format!("{table}\n{row}"))
}
