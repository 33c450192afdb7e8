//! A creation that is sent again is done once: its first answer is told again (R41a: bounded, and for a day).

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{hmac, rand};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use callgate_wire::v1::ErrorCode;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

use super::{MAX_BODY, problem::Problem};
use crate::admin::Actor;

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);
/// How many are kept of one actor, and in all, and how many bytes of answers. The oldest make room.
const PER_ACTOR: usize = 1_000;
const IN_ALL: usize = 10_000;
const BYTES: usize = 32 * MAX_BODY;
/// The longest key.
pub(super) const MAX_KEY: usize = 128;

/// The creations of a day.
pub(super) struct Creations {
    /// Fingerprints of requests are keyed, since requests may hold passwords.
    key: hmac::Key,
    slots: Mutex<Slots>,
    /// The bytes that answers may still take.
    room: Arc<Semaphore>,
}

type Slots = HashMap<(String, String), Slot>;

#[derive(Clone)]
struct Slot {
    request: [u8; 32],
    at: Instant,
    answer: Arc<tokio::sync::Mutex<Option<Answer>>>,
}

/// An answer that can be told again. It may hold a token that was told once, so it is wiped.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
    _room: OwnedSemaphorePermit,
}

/// What becomes of a creation.
pub(super) enum Turn {
    /// It is to be done, and its answer kept.
    First(Keep),
    /// It was done: this is what was answered.
    Again(Response),
}

/// Keeps the answer. Dropped without one, the next with this key is the first.
pub(super) struct Keep {
    creations: Arc<Creations>,
    answer: OwnedMutexGuard<Option<Answer>>,
}

impl Creations {
    /// `None`: the system has no randomness.
    pub(super) fn new() -> Option<Self> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(&mut *key).ok()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, &*key);
        Some(Self { key, slots: Mutex::default(), room: Arc::new(Semaphore::new(BYTES)) })
    }

    /// Whose turn it is. One that is sent while the first is still being done waits for it.
    ///
    /// # Errors
    /// The key was sent with another request.
    pub(super) async fn turn(
        self: &Arc<Self>,
        actor: &Actor,
        key: &str,
        request: &[&[u8]],
        now: Instant,
    ) -> Result<Turn, Problem> {
        let request = self.fingerprint(request);
        let slot = self.slot(&actor.identity(), key, request, now);
        if slot.request != request {
            return Err(Problem::of(ErrorCode::IdempotencyKeyReused, format!("Idempotency-Key: {key:?}")));
        }
        let answer = slot.answer.lock_owned().await;
        Ok(match &*answer {
            None => Turn::First(Keep { creations: Arc::clone(self), answer }),
            Some(Answer { status, headers, body, .. }) => {
                let mut response = Response::new(Body::from(body.to_vec()));
                *response.status_mut() = *status;
                *response.headers_mut() = headers.clone();
                Turn::Again(response)
            }
        })
    }

    fn slot(&self, actor: &str, key: &str, request: [u8; 32], now: Instant) -> Slot {
        let mut slots = self.slots();
        let place = (actor.to_owned(), key.to_owned());
        if let Some(slot) = slots.get(&place)
            && now.saturating_duration_since(slot.at) < KEPT
        {
            return slot.clone();
        }
        let of_actor = slots.keys().filter(|(other, _)| other == actor).count();
        if of_actor >= PER_ACTOR {
            make_room(&mut slots, Some(actor), now);
        }
        if slots.len() >= IN_ALL {
            make_room(&mut slots, None, now);
        }
        let slot = Slot { request, at: now, answer: Arc::default() };
        slots.insert(place, slot.clone());
        slot
    }

    /// Room for so many bytes of an answer; `None` if there is none, even without all other answers.
    fn room_for(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).ok()?;
        let mut slots = self.slots();
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) {
                return Some(room);
            }
            forget_oldest(&mut slots, None)?;
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fingerprint(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }
}

impl Keep {
    /// Keeps an answer of success. What was refused has changed nothing, and may be tried again.
    pub(super) fn keep(mut self, status: StatusCode, headers: &HeaderMap, body: &Bytes) {
        if status.is_success()
            && let Some(room) = self.creations.room_for(body.len())
        {
            let body = Zeroizing::new(body.to_vec());
            *self.answer = Some(Answer { status, headers: headers.clone(), body, _room: room });
        }
    }
}

fn make_room(slots: &mut Slots, actor: Option<&str>, now: Instant) {
    slots.retain(|_, slot| now.saturating_duration_since(slot.at) < KEPT);
    forget_oldest(slots, actor);
}

/// Forgets the oldest that isn't being done or told at this moment. `None`: there is none.
fn forget_oldest(slots: &mut Slots, actor: Option<&str>) -> Option<Slot> {
    let is_meant = |of: &str| actor.is_none_or(|actor| of == actor);
    let meant = slots.iter().filter(|((of, _), slot)| is_meant(of) && Arc::strong_count(&slot.answer) == 1);
    let oldest = meant.min_by_key(|(_, slot)| slot.at).map(|(place, _)| place.clone());
    slots.remove(&oldest?)
}

impl fmt::Debug for Creations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Creations(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Standing;

    fn creations() -> Arc<Creations> {
        Arc::new(Creations::new().unwrap())
    }

    fn actor(account: &str, generation: u64) -> Actor {
        Actor::Account(Standing { account: account.parse().unwrap(), generation, token: None })
    }

    async fn turn(creations: &Arc<Creations>, account: &str, body: &str, now: Instant) -> Result<Turn, Problem> {
        creations.turn(&actor(account, 1), "key", &[b"/v1/users", body.as_bytes()], now).await
    }

    #[tokio::test]
    async fn a_creation_that_is_sent_again_is_answered_as_the_first() {
        let creations = creations();
        let now = Instant::now();
        let Ok(Turn::First(keep)) = turn(&creations, "a", "{}", now).await else { panic!("the first") };
        keep.keep(StatusCode::CREATED, &HeaderMap::new(), &Bytes::from_static(b"made"));
        assert!(matches!(turn(&creations, "a", "{}", now).await, Ok(Turn::Again(answer)) if answer.status() == 201));
        assert!(turn(&creations, "a", "{\"other\":1}", now).await.is_err());
        assert!(
            matches!(turn(&creations, "b", "{\"other\":1}", now).await, Ok(Turn::First(_))),
            "keys are an actor's own"
        );
        let namesake = creations.turn(&actor("a", 2), "key", &[b"/v1/users", b"{}"], now).await;
        assert!(matches!(namesake, Ok(Turn::First(_))), "nor those of one of its name that was removed before");
        assert!(matches!(turn(&creations, "a", "{}", now + KEPT).await, Ok(Turn::First(_))), "a day is over");
    }

    #[tokio::test]
    async fn a_creation_that_was_refused_or_given_up_is_tried_again() {
        let creations = creations();
        let now = Instant::now();
        let Ok(Turn::First(keep)) = turn(&creations, "a", "{}", now).await else { panic!("the first") };
        keep.keep(StatusCode::CONFLICT, &HeaderMap::new(), &Bytes::new());
        let Ok(Turn::First(keep)) = turn(&creations, "a", "{}", now).await else { panic!("again the first") };
        drop(keep);
        assert!(matches!(turn(&creations, "a", "{}", now).await, Ok(Turn::First(_))));
    }

    #[tokio::test]
    async fn r41a_the_oldest_of_an_actor_make_room() {
        let creations = creations();
        let now = Instant::now();
        for n in 0..PER_ACTOR + 5 {
            let at = now + Duration::from_millis(n as u64);
            assert!(creations.turn(&actor("a", 1), &n.to_string(), &[], at).await.is_ok());
        }
        assert_eq!(creations.slots.lock().unwrap().len(), PER_ACTOR);
        assert!(!creations.slots.lock().unwrap().contains_key(&(actor("a", 1).identity(), "0".into())));
    }

    #[tokio::test]
    async fn r41a_answers_are_kept_whole_and_those_that_fit() {
        let creations = creations();
        let now = Instant::now();
        let large = Bytes::from(vec![b'x'; MAX_BODY]);
        let at = |n: usize| now + Duration::from_millis(n as u64);
        let turn = async |n: usize| creations.turn(&actor("a", 1), &n.to_string(), &[], at(n)).await;
        let Ok(Turn::First(under_way)) = turn(0).await else { panic!("the first") };
        for n in 1..=BYTES / MAX_BODY + 1 {
            let Ok(Turn::First(keep)) = turn(n).await else { panic!("the first") };
            keep.keep(StatusCode::CREATED, &HeaderMap::new(), &large);
        }
        assert!(matches!(turn(1).await, Ok(Turn::First(_))), "the oldest has made room");
        for n in 2..=BYTES / MAX_BODY + 1 {
            let Ok(Turn::Again(answer)) = turn(n).await else { panic!("{n} was done") };
            assert_eq!(axum::body::to_bytes(answer.into_body(), usize::MAX).await.unwrap(), large);
        }
        under_way.keep(StatusCode::CREATED, &HeaderMap::new(), &Bytes::from_static(b"made"));
        assert!(matches!(turn(0).await, Ok(Turn::Again(_))), "what is being done is not forgotten");
    }
}
