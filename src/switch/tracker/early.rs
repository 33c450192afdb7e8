//! Messages that answer something that wasn't seen yet: they wait a moment for it. What waited in vain is handed back, as
//! it says that something was lost.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{
    Captured, Moment, Parsed, Taken, Tracker,
    view::{Passing, View},
};
use crate::{
    model::{SwitchEvent, Timestamp},
    switch::sip::{Kind, Method},
};

#[derive(Debug, Default)]
pub(super) struct Early {
    /// In the order of arrival, and so of deadlines.
    waiting: VecDeque<Waiting>,
    /// How many made room.
    pub(super) displaced: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    /// When it came.
    pub(super) since: Instant,
    until: Instant,
    pub(super) parsed: Parsed,
    pub(super) at: Timestamp,
}

impl Early {
    /// Keeps a message that came at `moment` for the time `patience`. Returns the oldest if it makes room, of `max`.
    pub(super) fn keep(&mut self, parsed: Parsed, moment: Moment, patience: Duration, max: usize) -> Option<Waiting> {
        let oldest = if self.waiting.len() >= max.max(1) { self.waiting.pop_front() } else { None };
        self.displaced += u64::from(oldest.is_some());
        let until = moment.now + patience;
        self.waiting.push_back(Waiting { since: moment.now, until, parsed, at: moment.at });
        oldest
    }

    /// Takes out one that waited for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Waiting> {
        if self.waiting.front()?.until > now {
            return None;
        }
        self.waiting.pop_front()
    }

    /// When something will have waited for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether anything waits for the call `call_id`.
    pub(super) fn has(&self, call_id: &str) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_of(call_id))
    }

    /// Takes all out. What is still too early is to be put back at once, in the same order.
    pub(super) fn take(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }
}

impl Waiting {
    pub(super) fn is_of(&self, call_id: &str) -> bool {
        self.parsed.captured.message.call_id == call_id
    }
}

/// Whether a message that waited in vain says by itself that a request was accepted that wasn't seen, and could have
/// changed the keys.
pub(super) fn proves_exchange(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    let accepted = matches!(
        (message.kind, message.method),
        (Kind::Response(200..=299), Method::Invite | Method::Prack | Method::Update) | (Kind::Request, Method::Ack)
    );
    accepted && parsed.sdp.is_some()
}

/// Whether a message may answer something that is still to come.
pub(super) fn may_be_early(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    match (message.kind, message.method) {
        (Kind::Response(_), Method::Invite | Method::Prack | Method::Update) | (Kind::Request, Method::Cancel) => true,
        (Kind::Request, Method::Ack | Method::Prack) => parsed.sdp.is_some(),
        _ => false,
    }
}

/// Whether others may have waited for this message: it can carry what they answer.
pub(super) fn makes_way(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    match (message.kind, message.method) {
        (Kind::Request, Method::Invite | Method::Update | Method::Prack | Method::Ack) => true,
        (Kind::Response(code), Method::Invite | Method::Update | Method::Prack) => code < 300 && parsed.sdp.is_some(),
        _ => false,
    }
}

impl Tracker {
    /// Takes what came too early for the call `call_id` once more. Returns whether any of it is in time now.
    pub(super) fn replay(&mut self, call_id: &str, moment: Moment, out: &mut Vec<SwitchEvent>) -> bool {
        if !self.early.has(call_id) {
            return false;
        }
        let mut any = false;
        #[cfg(test)]
        {
            self.replays += 1;
        }
        while let Some(waiting) = self.early.expired(moment.now) {
            self.on_unmatched(&waiting, moment.now, out);
        }
        for waiting in self.early.take() {
            let then = Moment { now: moment.now, at: waiting.at };
            let taken = if waiting.is_of(call_id) { self.take(&waiting.parsed, then, out) } else { Taken::TooEarly };
            match taken {
                Taken::Done => any = true,
                // What it answers wasn't seen, and won't be.
                Taken::Overtaken if !proves_exchange(&waiting.parsed) => any = true,
                Taken::Overtaken | Taken::TooEarly => self.early.put_back(waiting),
            }
        }
        any
    }

    /// A message waited in vain for what it answers.
    pub(super) fn on_unmatched(&mut self, waiting: &Waiting, now: Instant, out: &mut Vec<SwitchEvent>) {
        let Captured { source, destination, message, .. } = &waiting.parsed.captured;
        let Some(sdp) = waiting.parsed.sdp.as_ref().filter(|_| proves_exchange(&waiting.parsed)) else { return };
        let found = self.calls.find(&message.call_id, [&message.from.tag, &message.to.tag]);
        let Some(call) = found.and_then(|number| self.calls.get_mut(number)) else { return };
        for sent in [true, false] {
            let (address, peer) = if sent { (*source, *destination) } else { (*destination, *source) };
            // Not from anywhere: who tells of an unseen request can take a key away.
            let concerned = |view: &&mut View| view.is_at(address) && view.is_with(peer);
            for view in call.views.iter_mut().filter(concerned) {
                let passing = Passing { message, sdp: Some(sdp.as_ref()), sent };
                view.on_lost_request(passing, waiting.since, now, &mut self.common, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::TrackerLimits, *};
    use crate::{
        model::{Address, Transport},
        switch::{scan::Keys, sip::Message},
    };

    #[test]
    fn r41a_only_what_can_make_way_takes_early_messages_once_more() {
        let limits = TrackerLimits::default();
        let mut tracker = Tracker::new("lab".parse().unwrap(), vec![], vec![], 1, limits);
        let moment = Moment { now: Instant::now(), at: Timestamp(0) };
        let [ann, pbx] = [2, 1].map(|host| Address::new(Transport::Udp, [10, 0, 0, host].into(), 5060));
        let mut send = |start: &str, cseq: &str, tag: &str| {
            let text = format!(
                "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag={tag}\r\nTo: <sip:b@h>;tag=b\r\n\
                 Call-ID: one\r\nCSeq: {cseq}\r\nContent-Length: 0\r\n\r\n"
            );
            let message = Message::parse(text.as_bytes(), &Keys::default()).unwrap();
            let captured = Captured { source: ann, destination: pbx, switch_call: None, message };
            tracker.on_message(captured, moment, &mut Vec::new());
            tracker.replays
        };
        for i in 0..50 {
            send("SIP/2.0 200 OK", "7 INVITE", &format!("nobody{i}"));
        }
        for (start, cseq) in [
            ("OPTIONS sip:b@h SIP/2.0", "1 OPTIONS"),
            ("BYE sip:b@h SIP/2.0", "2 BYE"),
            ("SIP/2.0 200 OK", "1 OPTIONS"),
            ("SIP/2.0 486 Busy", "1 INVITE"),
        ] {
            assert_eq!(send(start, cseq, "nobody"), 0, "{start}");
        }
        assert_eq!(send("INVITE sip:b@h SIP/2.0", "1 INVITE", "a"), 1, "none of them was in time");
    }
}
