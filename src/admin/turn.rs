//! Whose turn it is to change something, and what has come meanwhile.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::state::Working;
use crate::{
    directory::{Direction, Plan, Step},
    store::StoreError,
};

/// The changes that wait for their turn.
#[derive(Debug)]
pub(super) struct Queue {
    /// Taken for as long as a change takes.
    working: Arc<Mutex<Working>>,
    /// Taken before it by whatever doesn't only take: so at most one of those stands before what does.
    ordinary: Arc<Mutex<()>>,
    /// How many changes have come.
    arrivals: AtomicU64,
}

/// Nobody else changes anything while it lives.
pub(super) struct Turn {
    working: OwnedMutexGuard<Working>,
    _ordinary: Option<OwnedMutexGuard<()>>,
    /// Whether something that came later and only takes had its turn before.
    is_overtaken: bool,
}

impl Queue {
    pub(super) fn new(working: Working) -> Self {
        Self { working: Arc::new(Mutex::new(working)), ordinary: Arc::default(), arrivals: AtomicU64::new(0) }
    }

    /// Waits for the next turn. What only takes waits for no more than the change under way, one that comes next, and others of its kind.
    pub(super) async fn next(&self, direction: Direction) -> Turn {
        let arrival = self.arrivals.fetch_add(1, Ordering::Relaxed);
        let ordinary = match direction {
            Direction::Takes => None,
            Direction::Grants | Direction::Neutral => Some(Arc::clone(&self.ordinary).lock_owned().await),
        };
        let mut working = Arc::clone(&self.working).lock_owned().await;
        let is_overtaken = ordinary.is_some() && working.last_taking > arrival;
        if ordinary.is_none() {
            working.last_taking = working.last_taking.max(arrival);
        }
        Turn { working, _ordinary: ordinary, is_overtaken }
    }
}

impl Turn {
    /// Refuses what would write over something newer: a change that takes rights away may have overtaken this one. Then each key that
    /// it writes must be as it was when this one was planned for the first time, before it waited for its turn.
    ///
    /// # Errors
    /// [`StoreError::Conflict`].
    pub(super) fn check_order(&self, before: Option<&Plan>, now: &Plan) -> Result<(), StoreError> {
        if !self.is_overtaken {
            return Ok(());
        }
        let steps = before.into_iter().flat_map(|plan| &plan.steps);
        let before: BTreeMap<_, _> = steps.map(|step| ((step.bucket, &step.key), step.expected())).collect();
        let is_newer = |step: &&Step| before.get(&(step.bucket, &step.key)) != Some(&step.expected());
        let Some(step) = now.steps.iter().find(is_newer) else { return Ok(()) };
        Err(StoreError::Conflict { bucket: step.bucket.0, key: step.key.clone(), found: step.expected() })
    }
}

impl Deref for Turn {
    type Target = Working;

    fn deref(&self) -> &Working {
        &self.working
    }
}

impl DerefMut for Turn {
    fn deref_mut(&mut self) -> &mut Working {
        &mut self.working
    }
}
