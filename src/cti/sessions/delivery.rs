//! An event on its way to the sessions of a worker: judged, put on record, sent.

use std::sync::Arc;

use super::{Place, Sessions, live_at};
use crate::{
    audit::{Receiver, Receivers},
    cti::{
        audit::{self, Fingerprint, Form, Withheld},
        backlog::AboutRef,
        event_frame,
        judging::judge,
        socket::Connection,
    },
    hub::{Published, SessionKey},
    policy::{Disclosure, Indication, Reason, Rule},
};

/// Whether more is delivered in the same turn of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cti) enum More {
    /// Frames are held, so that they leave together.
    Follows,
    /// Frames leave at once.
    Nothing,
}

/// A session that gets an event, and the form that it gets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    key: SessionKey,
    indication: Indication,
    rule: Rule,
    monitored_before: bool,
}

impl Judged {
    /// Its key can't go on record, so it stays here (R21).
    fn withhold(&mut self) {
        if self.indication == Indication::KeysAvailable {
            (self.indication, self.rule) = (Indication::KeysUnavailable(Reason::AuditUnavailable), Rule("R21"));
        }
    }
}

impl<C: Connection> Sessions<C> {
    /// Delivers an event to all who monitor its device. Returns how many those are.
    ///
    /// Whether a key leaves is decided here, and recorded for all, directly before the frames go to the TLS seal (R16, R21):
    /// at once, or with [`flush_held`](Self::flush_held) at the end of the worker's turn if more is delivered in it. Without
    /// the record the event leaves all the same, in the same place among the others, and without its key.
    pub(in crate::cti) fn deliver(&mut self, published: &Arc<Published>, more: More) -> usize {
        let mut judged = std::mem::take(&mut self.judged);
        self.judge_all(published, &mut judged);
        self.record(published, &mut judged);

        let (mut deliveries, mut failed) = (0, Vec::new());
        for Judged { key, indication, rule, monitored_before } in judged.drain(..) {
            let Some(live) = live_at(&mut self.places, key) else { continue };
            let frame = published.frame(indication, || event_frame::event(published, indication, rule));
            let about = Some(AboutRef { published, indication, monitored_before });
            let sent = match more {
                More::Nothing => live.send(frame, about).map(|()| false),
                More::Follows => live.hold(frame, about),
            };
            match sent {
                Ok(is_first_held) => {
                    deliveries += 1;
                    live.note_delivery(indication.refusal().is_some());
                    if is_first_held {
                        self.holding.push(key);
                    }
                }
                Err(code) => {
                    if indication == Indication::KeysAvailable {
                        let (trail, identity) = (&*self.worker.trail, live.session.identity());
                        audit::withheld(trail, live.name(), identity, published, Withheld::Closed(code));
                    }
                    failed.push((key, code));
                }
            }
        }
        self.judged = judged;
        self.meters.deliver(published.arrived, deliveries);
        for (key, code) in failed {
            self.close(key, code);
        }
        deliveries
    }

    /// Sends what was held: the worker's turn ends.
    pub(in crate::cti) fn flush_held(&mut self) {
        while let Some(key) = self.holding.pop() {
            if let Some(live) = self.live(key)
                && let Err(code) = live.flush_held()
            {
                self.close(key, code);
            }
        }
        self.meters.leave();
    }

    /// Who gets the event, and in which form.
    fn judge_all(&mut self, published: &Published, judged: &mut Vec<Judged>) {
        let rights = &self.rights;
        // Who may not see the device doesn't subscribe to it, and what a barrier takes away is not subscribed to behind it.
        let hidden = rights.restricts(&published.event.device, published.event.line);
        let recordable = self.worker.trail.is_open();
        for subscriber in self.subscribers.of(&published.event.device) {
            let key = subscriber.session;
            if !subscriber.wants(published.class) {
                continue;
            }
            let Some(live) = live_at(&mut self.places, key) else { continue };
            let monitored_before = subscriber.media_since < published.first_seen;
            let disclosure = judge(rights, live.session.identity(), published, hidden, monitored_before, recordable);
            if let Disclosure::Event(indication, rule) = disclosure {
                judged.push(Judged { key, indication, rule, monitored_before });
            }
        }
    }

    /// Puts on record who gets the event of an encrypted stream. If that can't be, those who would get its key get the
    /// event without it (R21).
    fn record(&self, published: &Published, judged: &mut [Judged]) {
        if judged.is_empty() || !audit::is_recorded(published) {
            return;
        }
        let trail = &*self.worker.trail;
        let fingerprint = Fingerprint::of(trail, published);
        if audit::disclosure(trail, published, &fingerprint, &forms(judged, &self.places)).is_err() {
            judged.iter_mut().for_each(Judged::withhold);
            // Refusals wait for the trail: there is no other error.
            let _ = audit::disclosure(trail, published, &fingerprint, &forms(judged, &self.places));
        }
    }
}

/// Those of an event's sessions that get it in the same form.
struct Same<'a, C> {
    indication: Indication,
    judged: &'a [Judged],
    places: &'a [Place<C>],
}

impl<C: Connection> Receivers for Same<'_, C> {
    fn each(&self, tell: &mut dyn FnMut(Receiver<'_>)) {
        for judged in self.judged.iter().filter(|judged| judged.indication == self.indication) {
            let place = self.places.get(judged.key.place as usize);
            if let Some(live) = place.and_then(|place| place.live.as_deref()) {
                tell(audit::receiver(live.name(), live.session.identity()));
            }
        }
    }
}

/// Who gets an event, by the forms that they get.
fn forms<'a, C>(judged: &'a [Judged], places: &'a [Place<C>]) -> Vec<Form<Same<'a, C>>> {
    let mut forms = Vec::new();
    let mut next = judged.first();
    let mut done = 0u16;
    while let Some(Judged { indication, rule, .. }) = next {
        done |= 1 << indication.index();
        let receivers = Same { indication: *indication, judged, places };
        forms.push(Form { indication: *indication, rule: *rule, receivers });
        next = judged.iter().find(|judged| done >> judged.indication.index() & 1 == 0);
    }
    forms
}
