//! What a service refuses: each counted under its own name, and told in the log once in a while (R41a, R43).

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use callgate_wire::v1::ErrorCode;
use metrics::counter;
use tracing::info;

use crate::model::Service;

/// How often the same is told.
const TOLD: Duration = Duration::from_secs(60);

/// The refusals of a service.
pub(super) struct Refusals {
    service: Service,
    /// By code: when it was told, and how many came since.
    told: Mutex<HashMap<ErrorCode, (Instant, u64)>>,
}

impl Refusals {
    pub(super) fn new(service: Service) -> Self {
        Self { service, told: Mutex::default() }
    }

    /// Counts a refusal.
    pub(super) fn count(&self, code: ErrorCode, from: &dyn std::fmt::Display) {
        let (service, name) = (self.service.name(), code.as_str_name());
        counter!("callgate_http_refusals_total", "service" => service, "code" => name).increment(1);
        if let Some(since) = self.note(code, Instant::now()) {
            info!(service, code = name, number = code as i32, %from, since, "refused");
        }
    }

    /// How many there were since this was told last, itself included. `None`: it isn't told.
    fn note(&self, code: ErrorCode, now: Instant) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((at, untold)) = told.get_mut(&code) else {
            told.insert(code, (now, 0));
            return Some(1);
        };
        *untold = untold.saturating_add(1);
        if now.saturating_duration_since(*at) < TOLD {
            return None;
        }
        *at = now;
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r43_the_same_refusal_is_told_once_a_minute_with_how_many_there_were() {
        let refusals = Refusals::new(Service::Metrics);
        let start = Instant::now();
        let note = |code, seconds| refusals.note(code, start + Duration::from_secs(seconds));
        assert_eq!(note(ErrorCode::BodyTooLarge, 0), Some(1));
        assert_eq!(note(ErrorCode::BodyTooLarge, 1), None);
        assert_eq!(note(ErrorCode::NetworkNotAllowed, 2), Some(1), "another one is told");
        assert_eq!(note(ErrorCode::BodyTooLarge, 60), Some(2));
        assert_eq!(note(ErrorCode::BodyTooLarge, 61), None);
    }
}
