//! The bounds of a service over HTTP (R41a).

use std::time::Duration;

use crate::config::Limits;

/// What a service over HTTP takes, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at once.
    pub connections: usize,
    /// The same from one source.
    pub connections_per_source: usize,
    /// Time for a TLS handshake.
    pub handshake: Duration,
    /// Time from the first byte of a request's head to its last one; for the first request from the connection on.
    pub head: Duration,
    /// Time for a request's body and its answer.
    pub request: Duration,
    /// How long a connection may do nothing between two requests, or while its answer waits for a client that doesn't read.
    pub idle: Duration,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Lines of a request's head.
    pub headers: usize,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// How long a stop waits for requests that run.
    pub stop: Duration,
}

impl HttpLimits {
    /// The settings, and what no setting changes. `body_bytes` is the service's own: how large the largest body is that it
    /// has a use for.
    pub fn of(limits: &Limits, body_bytes: usize) -> Self {
        Self {
            body_bytes,
            connections: limits.http_connections,
            connections_per_source: limits.http_connections_per_source,
            request: Duration::from_secs(limits.http_request_seconds.into()),
            ..Self::default()
        }
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        let Limits { http_connections, http_connections_per_source, http_request_seconds, .. } = Limits::default();
        Self {
            connections: http_connections,
            connections_per_source: http_connections_per_source,
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            request: Duration::from_secs(http_request_seconds.into()),
            // More than a minute, so that who asks each minute needs no new handshake.
            idle: Duration::from_secs(75),
            head_bytes: 16 * 1024,
            headers: 64,
            body_bytes: 64 * 1024,
            stop: Duration::from_secs(3),
        }
    }
}
