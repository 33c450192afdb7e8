//! What sessions do for others than their apps and the hub: answer the registry and administration (R12, R15), and end with
//! their certificates (R32).

use std::time::{Duration, Instant};

use callgate_wire::v1::{self, ErrorCode, to_app};

use super::{Sessions, live_at};
use crate::{
    cti::{
        encode,
        identity::Identity,
        live::Live,
        log_writer,
        orders::{Order, Which},
        session::Action,
        socket::Connection,
    },
    hub::SessionKey,
};

/// What sessions are told before the gateway stops.
pub(in crate::cti) struct LastWord {
    word: v1::GatewayLeaving,
    /// When they are closed.
    until: Instant,
}

impl<C: Connection> Sessions<C> {
    /// Warns of certificates that end, and closes the sessions of those that have ended (R32). `now` is in seconds since
    /// 1970.
    pub(in crate::cti) fn on_wall_time(&mut self, now: i64) {
        while let Some(key) = self.expiries.next(now) {
            let Some(live) = live_at(&mut self.places, key) else { return };
            let before = live.session.expiry();
            let action = live.session.on_wall_time(now);
            if let (Some(before), Some(after)) = (before, live.session.expiry()) {
                self.expiries.remove(key, &before);
                self.expiries.add(key, &after);
            }
            match action {
                Some(action) => {
                    self.perform(key, action);
                }
                None => return,
            }
        }
    }

    /// The end of the certificate of a session that ends first, in seconds since 1970.
    pub(in crate::cti) fn soonest_expiry(&self) -> Option<i64> {
        self.expiries.soonest()
    }

    /// Does what somebody else asks for.
    pub(in crate::cti) fn on_order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Probe(key) => self.probe(key, now),
            Order::List(answer) => {
                let open = self.places.iter_mut().filter_map(|place| place.live.as_deref_mut());
                // Who has asked may have gone.
                let _ = answer.send(open.chain(&mut self.early).map(Live::open_session).collect());
            }
            Order::Leave(word, answer) => {
                let until = now + Duration::from_secs(word.closes_in_seconds.into());
                self.last_word = Some(LastWord { word, until });
                for key in self.keys() {
                    self.tell_last_word(key);
                }
                let there = self.places.iter().filter(|place| place.live.is_some()).count() + self.early.len();
                let _ = answer.send(there);
            }
            Order::Close(which, code, answer) => {
                let closed = self.close_those(&which, code);
                // What it did is on record before anybody says that it is done (R21).
                log_writer::write_out();
                let _ = answer.send(closed);
            }
        }
    }

    /// Tells a session that the gateway leaves, if it does.
    pub(super) fn tell_last_word(&mut self, key: SessionKey) {
        let Some(LastWord { word, until }) = &self.last_word else { return };
        // Who comes later has less time.
        let left = until.saturating_duration_since(Instant::now()).as_secs();
        let closes_in_seconds = word.closes_in_seconds.min(u32::try_from(left).unwrap_or(u32::MAX).saturating_add(1));
        let word = to_app::Message::GatewayLeaving(v1::GatewayLeaving { closes_in_seconds, ..word.clone() });
        let Some(live) = self.live(key) else { return };
        match live.send(encode::frame(0, word), None) {
            // One that reads slowly has its time all the same.
            Ok(()) | Err(ErrorCode::SlowConsumer) => {}
            Err(code) => self.close(key, code),
        }
    }

    /// Asks a session whether it is alive, since somebody wants its place (R12).
    fn probe(&mut self, key: SessionKey, now: Instant) {
        // One that is gone has given its place up.
        let Some(live) = self.live(key) else { return };
        let Some(Action::Send(reply_to, probe)) = live.session.on_probe(now) else { return };
        match live.send(encode::frame(reply_to, probe), None) {
            // One that reads slowly isn't closed for it: what is heard from it decides.
            Ok(()) | Err(ErrorCode::SlowConsumer) => live.wake(),
            Err(code) => self.close(key, code),
        }
    }

    fn close_those(&mut self, which: &Which, code: ErrorCode) -> usize {
        let is_meant = |live: &Live<C>| {
            let Identity { user, instance, .. } = live.session.identity();
            match which {
                Which::Session(name) => **live.name() == **name,
                Which::User(name) => user.name == *name,
                Which::Instance(name, number) => user.name == *name && instance == number,
            }
        };
        // None of them waits for its rights any more: it is closed as it would be after that.
        for live in self.early.extract_if(.., |live| is_meant(live)).collect::<Vec<_>>() {
            self.insert(live);
        }
        let keys: Vec<SessionKey> = (0u32..)
            .zip(&self.places)
            .filter(|(_, place)| place.live.as_deref().is_some_and(is_meant))
            .map(|(place, entry)| SessionKey { place, turn: entry.turn })
            .collect();
        keys.iter().for_each(|key| self.close(*key, code));
        keys.len()
    }
}
