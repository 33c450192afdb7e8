//! The key material of one view of a call, over all its streams and branches.
//!
//! Equal key material is one object here, whichever stream shows it: by that the hub knows it again, and when it was
//! first seen (R16), also if another branch of a fork or a line that is used anew goes on with it. What this lets go
//! of, and what a dialog may have had before the view began, is known by [`Forgotten`].

use std::{sync::Arc, time::Instant};

use super::{Moment, forgotten::Forgotten};
use crate::model::{KeyMaterial, Timestamp};

/// So much key material of one view is remembered, the one used last at the end.
const MAX_SEEN: usize = 32;

#[derive(Debug)]
pub(super) struct Ring {
    seen: Vec<Seen>,
    /// A key that isn't in here may have been in force before: the dialog is older than the view, or something was let
    /// go of.
    doubtful: bool,
}

#[derive(Debug)]
struct Seen {
    keys: Arc<KeyMaterial>,
    since: Timestamp,
    /// It may have been in force when somebody monitored too late for it: nobody gets it.
    withheld: bool,
}

impl Ring {
    /// `doubtful` if the dialog is older than the view.
    pub(super) fn new(doubtful: bool) -> Self {
        Self { seen: Vec::new(), doubtful }
    }

    /// The one object for `keys`, and when it was first seen; `None` if nobody may get it (R16), or if its packets are to
    /// be decrypted in another way from here on: the one object doesn't say so, and the generation is the same (R18, R22).
    pub(super) fn note(
        &mut self,
        keys: &Arc<KeyMaterial>,
        moment: Moment,
        forgotten: &mut Forgotten,
    ) -> Option<(Arc<KeyMaterial>, Timestamp)> {
        let known = self.seen.iter().rposition(|seen| Arc::ptr_eq(&seen.keys, keys) || seen.keys.same_generation(keys));
        let seen = match known {
            Some(i) => self.seen.remove(i),
            None => {
                let withheld = self.doubtful && forgotten.may_have(keys, moment.now);
                Seen { keys: keys.clone(), since: moment.at, withheld }
            }
        };
        if self.seen.len() >= MAX_SEEN {
            forgotten.crowd_out(&self.seen.remove(0).keys, moment.now);
            self.doubtful = true;
        }
        let usable = !seen.withheld && seen.keys.parameters().decrypt_like(keys.parameters());
        let told = usable.then(|| (seen.keys.clone(), seen.since));
        self.seen.push(seen);
        told
    }

    /// The view goes, and its dialog may go on.
    pub(super) fn let_go(&mut self, now: Instant, forgotten: &mut Forgotten) {
        for seen in self.seen.drain(..) {
            forgotten.note(&seen.keys, now);
        }
    }

    /// The dialog is over.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }
}
