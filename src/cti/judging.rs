//! What a session may see of an event, by the rights of now: the facts for [`crate::policy::disclose`].
//!
//! Asked when an event is delivered, and again for what waits when rights change. It is one function, so that both
//! answers are by the same rules.

use super::{
    backlog::{About, Fate},
    event_frame,
    identity::Identity,
};
use crate::{
    hub::{Published, Rights},
    model::{Door, EventBody, Mode, Protection},
    policy::{Disclosure, Indication, MediaAccess, Rule, StreamProtection, disclose},
};

/// What the session may see of the event. `hidden`: its device or line is none that the session sees (R13). `recordable`:
/// a key that leaves by it can go on record (R21), or is on record already.
pub(super) fn judge(
    rights: &Rights,
    identity: &Identity,
    published: &Published,
    hidden: bool,
    monitored_before: bool,
    recordable: bool,
) -> Disclosure {
    let EventBody::MediaOpened(media) = &published.event.body else {
        // Only media events have something to hide from one who may see the device (R13).
        return if hidden {
            Disclosure::Nothing(Rule("R13"))
        } else {
            Disclosure::Event(Indication::NotEncrypted, Rule("R13"))
        };
    };
    disclose(&MediaAccess {
        associated: !hidden,
        restricted: false,
        protection: match media.protection {
            Protection::Clear => StreamProtection::Clear,
            Protection::Keyed { .. } => StreamProtection::Keyed,
            Protection::Unknown { .. } => StreamProtection::Unknown,
        },
        groups: identity.user.groups,
        mode: rights.mode,
        door: identity.door,
        monitored_before,
        recordable,
        // The hub knows no stream that was keyed before it started.
        seen_since_start: true,
    })
}

/// What becomes of a frame that waits, by new rights (R15). What was refused stays refused, and what was no secret stays
/// as it is, unless it is hidden; the answer has the decision for a key that may not leave.
pub(super) fn judge_again(rights: &Rights, identity: &Identity, about: &About) -> (Fate, Option<Disclosure>) {
    let (published, monitored_before) = match about {
        About::Key { published, monitored_before } => (published, *monitored_before),
        About::Other { device, line } if rights.hides(&identity.user, device, *line) => return (Fate::Drop, None),
        About::Other { .. } => return (Fate::Keep, None),
    };
    let hidden = rights.hides(&identity.user, &published.event.device, published.event.line);
    // Only what is on record waits with its key.
    let disclosure = judge(rights, identity, published, hidden, monitored_before, true);
    match disclosure {
        Disclosure::Event(Indication::KeysAvailable, _) => (Fate::Keep, None),
        Disclosure::Event(indication, rule) => {
            let frame = published.frame(indication, || event_frame::event(published, indication, rule));
            (Fate::Replace(frame), Some(disclosure))
        }
        Disclosure::Nothing(_) => (Fate::Drop, Some(disclosure)),
    }
}

/// Whether a session may have keys at all, as far as it is not a matter of the single stream (R16).
pub(super) fn may_have_keys(rights: &Rights, identity: &Identity) -> bool {
    identity.user.groups.allow_keys() && rights.mode == Mode::Mixed && identity.door == Door::Tls
}
