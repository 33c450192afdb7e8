//! What was seen in all, for the end. Pure.

use std::time::Duration;

use super::seen::Seen;
use crate::model::counted;

/// Counts what is seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    sessions: u64,
    events: u64,
    streams: Streams,
    lost: u64,
    last_failure: Option<String>,
}

/// Streams, and sets of keys of them, by how they stand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Streams {
    keyed: u64,
    clear: u64,
    without_keys: u64,
}

impl Summary {
    /// Takes what was seen.
    pub fn on(&mut self, seen: &Seen) {
        let counter = match seen {
            Seen::Opened(_) => &mut self.sessions,
            Seen::MediaOpened(media) => match media.indicator.as_str() {
                "KEYS_AVAILABLE" => &mut self.streams.keyed,
                "NOT_ENCRYPTED" => &mut self.streams.clear,
                _ => &mut self.streams.without_keys,
            },
            Seen::Gap(gap) => {
                self.lost = self.lost.saturating_add(gap.missed);
                return;
            }
            Seen::Closed(closed) => {
                self.last_failure = Some(closed.why.clone());
                return;
            }
            _ => return self.on_event(seen),
        };
        *counter = counter.saturating_add(1);
        self.on_event(seen);
    }

    fn on_event(&mut self, seen: &Seen) {
        self.events = self.events.saturating_add(seen.is_event().into());
    }

    /// Whether a session was ever open.
    pub fn was_open(&self) -> bool {
        self.sessions > 0
    }

    /// Why the last session ended, or the last try to open one failed.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// One line, after so much time.
    pub fn line(&self, watched: Duration) -> String {
        let Streams { keyed, clear, without_keys } = self.streams;
        format!(
            "watched {} s: {}, {}; media opened {keyed} times with keys, {clear} times not encrypted, {without_keys} times \
             without keys; {} lost",
            watched.as_secs(),
            counted(self.sessions, "session", "sessions"),
            counted(self.events, "event", "events"),
            counted(self.lost, "event", "events"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::watch::seen::{ClosedSeen, GapSeen, Opened};

    #[test]
    fn what_was_seen_is_counted_and_signs_of_life_are_not() {
        let mut summary = Summary::default();
        let closed = ClosedSeen {
            at: String::new(),
            code: None,
            why: "it can't be reached".into(),
            retry_seconds: Some(1.0),
            was_open: false,
        };
        summary.on(&Seen::Closed(closed));
        assert_eq!((summary.was_open(), summary.last_failure()), (false, Some("it can't be reached")));
        let opened = Opened {
            at: String::new(),
            session: "s1".into(),
            gateway: "gateway".into(),
            devices: 1,
            heartbeat_seconds: 30,
            certificate_expires: None,
        };
        summary.on(&Seen::Opened(opened));
        summary.on(&Seen::Gap(GapSeen { device: "1001".into(), line: 1, class: "CALL".into(), missed: 3 }));
        summary.on(&Seen::Pulse { silence_seconds: 1 });
        assert!(summary.was_open());
        assert_eq!(
            summary.line(Duration::from_millis(61_999)),
            "watched 61 s: 1 session, 0 events; media opened 0 times with keys, 0 times not encrypted, 0 times without \
             keys; 3 events lost"
        );
    }
}
