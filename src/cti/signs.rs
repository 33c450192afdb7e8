//! Signs of life of an open session: heartbeats (R39), and the answer to a probe (R12). Pure: time is an argument.

use std::time::{Duration, Instant};

/// When a session was heard, and what is due because of it.
pub(super) struct Signs {
    heartbeat: Duration,
    last_heard: Instant,
    next_beat: Instant,
    /// Until when the app must be heard, since somebody wants its place.
    probe: Option<Instant>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// The gateway's own heartbeat.
    Beat,
    /// Nothing was heard for two intervals.
    Silent,
    /// Nothing was heard since the probe, for as long as it may take.
    Unanswered,
}

impl Signs {
    /// A session that opens now.
    pub(super) fn new(heartbeat: Duration, now: Instant) -> Self {
        Self { heartbeat, last_heard: now, next_beat: now + heartbeat, probe: None }
    }

    /// Something arrived, whatever it is. Whether that answers a probe.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.last_heard = now;
        self.probe.take().is_some()
    }

    /// A probe begins: whatever is heard within the time answers it. `false`: one is under way already, and stands for this
    /// one, too.
    pub(super) fn probe(&mut self, now: Instant, within: Duration) -> bool {
        let is_first = self.probe.is_none();
        self.probe.get_or_insert(now + within);
        is_first
    }

    /// Nobody wants to know any more.
    pub(super) fn end_probe(&mut self) {
        self.probe = None;
    }

    /// When [`due`](Self::due) has something.
    pub(super) fn deadline(&self) -> Instant {
        let usual = self.next_beat.min(self.last_heard + 2 * self.heartbeat);
        self.probe.map_or(usual, |probe| probe.min(usual))
    }

    /// What is due now.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.probe.is_some_and(|probe| now >= probe) {
            return Some(Due::Unanswered);
        }
        if now.duration_since(self.last_heard) >= 2 * self.heartbeat {
            return Some(Due::Silent);
        }
        if now < self.next_beat {
            return None;
        }
        self.next_beat = now + self.heartbeat;
        Some(Due::Beat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEARTBEAT: Duration = Duration::from_secs(30);
    const WITHIN: Duration = Duration::from_secs(3);

    #[test]
    fn r12_whatever_is_heard_after_a_probe_answers_it() {
        let start = Instant::now();
        let mut signs = Signs::new(HEARTBEAT, start);
        assert!(!signs.heard(start), "nobody has asked");
        assert!(signs.probe(start, WITHIN));
        assert_eq!((signs.deadline(), signs.due(start + WITHIN / 2)), (start + WITHIN, None));
        assert!(signs.heard(start + WITHIN / 2));
        assert!(!signs.heard(start + WITHIN / 2), "once");
        assert_eq!(signs.due(start + WITHIN), None);
        assert_eq!(signs.deadline(), start + HEARTBEAT);
    }

    #[test]
    fn r12_silence_since_the_probe_is_death_and_what_was_heard_before_is_none_of_it() {
        let start = Instant::now();
        let mut signs = Signs::new(HEARTBEAT, start);
        let asked = start + HEARTBEAT / 2;
        signs.heard(asked);
        assert!(signs.probe(asked, WITHIN));
        assert!(!signs.probe(asked + WITHIN / 2, WITHIN), "one serves all");
        assert_eq!(signs.due(asked + WITHIN), Some(Due::Unanswered), "by the time of the first");
        signs.end_probe();
        assert_eq!(signs.due(asked + WITHIN), None);
        assert!(signs.probe(asked + WITHIN, WITHIN), "the next one begins anew");
    }

    #[test]
    fn r39_a_probe_keeps_no_heartbeat_back() {
        let start = Instant::now();
        let mut signs = Signs::new(HEARTBEAT, start);
        assert!(signs.probe(start + HEARTBEAT, WITHIN));
        assert_eq!(signs.deadline(), start + HEARTBEAT);
        assert_eq!(signs.due(start + HEARTBEAT), Some(Due::Beat));
        assert_eq!(signs.deadline(), start + HEARTBEAT + WITHIN);
    }
}
