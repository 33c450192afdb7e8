//! What is remembered of keys that the tracker has let go of.
//!
//! A session gets a key only if it monitored the device before the key was first seen (R16). A call that was forgotten
//! and is met again by a re-INVITE would show its old key as one that is seen for the first time, also to a session
//! that came too late for it. So of each key that is let go of while its dialog may go on a fingerprint stays, of 64
//! bits, by a hash function that is keyed at random. A key whose fingerprint is found here is given to nobody.
//!
//! Memory is bounded (R41a). If a fingerprint has to make room before its time, every key that could have been it is
//! given to nobody until that time is over: what was forgotten twice is never taken for new.

use std::{
    collections::{HashMap, VecDeque, hash_map::RandomState},
    time::{Duration, Instant},
};

use crate::model::KeyMaterial;

#[derive(Debug)]
pub(super) struct Forgotten {
    state: RandomState,
    /// Each with the end of its time.
    known: HashMap<u64, Instant>,
    /// Oldest first; one that was noted again is there more than once, and its last time counts.
    order: VecDeque<(Instant, u64)>,
    max: usize,
    after: Duration,
    /// Until then it may lack fingerprints.
    lacking: Option<Instant>,
    /// How many fingerprints made room before their time.
    pub(super) displaced: u64,
    /// How many keys made room in a call that has more than it keeps.
    pub(super) crowded_out: u64,
}

impl Forgotten {
    /// Remembers up to `max` fingerprints, each for the time `after`.
    pub(super) fn new(max: usize, after: Duration) -> Self {
        let (state, known, order) = (RandomState::new(), HashMap::new(), VecDeque::new());
        Self { state, known, order, max, after, lacking: None, displaced: 0, crowded_out: 0 }
    }

    /// `keys` are let go of.
    pub(super) fn note(&mut self, keys: &KeyMaterial, now: Instant) {
        while let Some((until, oldest)) = self.order.front().copied() {
            if until > now && self.order.len() < self.max {
                break;
            }
            self.order.pop_front();
            // A later note of it may stay.
            if self.known.get(&oldest) != Some(&until) {
                continue;
            }
            self.known.remove(&oldest);
            if until > now {
                self.displaced += 1;
                self.lacking = self.lacking.max(Some(until));
            }
        }
        let until = now + self.after;
        if self.max == 0 {
            self.displaced += 1;
            self.lacking = Some(until);
        } else {
            let fingerprint = keys.fingerprint(&self.state);
            if self.known.insert(fingerprint, until) != Some(until) {
                self.order.push_back((until, fingerprint));
            }
        }
    }

    /// As [`Self::note`], of a call that has more keys than it keeps.
    pub(super) fn crowd_out(&mut self, keys: &KeyMaterial, now: Instant) {
        self.crowded_out += 1;
        self.note(keys, now);
    }

    /// Whether `keys` may have been seen before.
    pub(super) fn may_have(&self, keys: &KeyMaterial, now: Instant) -> bool {
        self.lacking.is_some_and(|until| until > now)
            || !self.known.is_empty() && self.known.contains_key(&keys.fingerprint(&self.state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{MasterKey, Secret, SessionParameters, Suite};

    fn key(byte: u8) -> KeyMaterial {
        let suite = Suite::AesCm128HmacSha1_80;
        let master = MasterKey::new(suite, &Secret::new(vec![byte; 30]), None, None).unwrap();
        KeyMaterial::new(suite, vec![master], SessionParameters::default()).unwrap()
    }

    #[test]
    fn r16_a_key_is_remembered_for_its_time() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut forgotten = Forgotten::new(8, hour);
        forgotten.note(&key(1), now);
        forgotten.note(&key(1), now);
        assert!(forgotten.may_have(&key(1), now + hour / 2));
        assert!(!forgotten.may_have(&key(2), now + hour / 2));
        forgotten.note(&key(2), now + hour);
        assert!(!forgotten.may_have(&key(1), now + hour), "its time is over, and nothing was lost");
    }

    #[test]
    fn r16_a_key_that_is_let_go_of_again_is_remembered_from_then_on() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let mut forgotten = Forgotten::new(3, hour);
        forgotten.note(&key(1), now);
        forgotten.note(&key(1), now + hour / 2);
        forgotten.note(&key(2), now + hour);
        assert!(forgotten.may_have(&key(1), now + hour));
        assert!(!forgotten.may_have(&key(3), now + hour), "nothing was lost");
        forgotten.note(&key(2), now + 3 * hour / 2);
        assert!(!forgotten.may_have(&key(1), now + 3 * hour / 2));
        // What makes room is the older note of it, so nothing is lost yet.
        let mut forgotten = Forgotten::new(2, hour);
        forgotten.note(&key(1), now);
        forgotten.note(&key(1), now + hour / 2);
        forgotten.note(&key(2), now + hour / 2);
        assert!(!forgotten.may_have(&key(3), now + hour / 2));
        forgotten.note(&key(3), now + hour / 2);
        assert!(forgotten.may_have(&key(4), now + hour / 2));
    }

    #[test]
    fn r16_what_had_to_make_room_is_never_taken_for_new() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        for max in [0, 2] {
            let mut forgotten = Forgotten::new(max, hour);
            (1..=3).for_each(|byte| forgotten.note(&key(byte), now));
            assert!((1..=4).all(|byte| forgotten.may_have(&key(byte), now)), "{max}");
            assert!(!forgotten.may_have(&key(4), now + hour), "{max}");
        }
    }
}
