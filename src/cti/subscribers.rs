//! Who on a worker gets a device's events.

use std::collections::HashMap;

use super::session::Classes;
use crate::{
    hub::{Moment, SessionKey},
    model::{DeviceName, EventClass},
};

/// The subscribers of a worker, by device.
#[derive(Default)]
pub(super) struct Subscribers(HashMap<DeviceName, Vec<Subscriber>>);

/// A session that monitors a device.
pub(super) struct Subscriber {
    /// The session.
    pub(super) session: SessionKey,
    classes: Classes,
    /// Since when it has monitored the device's media without a break; means something only while it does.
    pub(super) media_since: Moment,
}

impl Subscriber {
    /// Whether it wants events of this class.
    pub(super) fn wants(&self, class: EventClass) -> bool {
        self.classes.contains(class)
    }
}

impl Subscribers {
    /// Who monitors the device.
    pub(super) fn of(&self, device: &DeviceName) -> &[Subscriber] {
        self.0.get(device).map(Vec::as_slice).unwrap_or_default()
    }

    /// From `moment` on the session gets events of these classes too.
    pub(super) fn watch(&mut self, device: DeviceName, session: SessionKey, added: Classes, moment: Moment) {
        let subscribers = self.0.entry(device).or_default();
        match subscribers.iter_mut().find(|subscriber| subscriber.session == session) {
            Some(subscriber) => {
                if !subscriber.wants(EventClass::Media) {
                    subscriber.media_since = moment;
                }
                subscriber.classes = subscriber.classes.with(added);
            }
            None => subscribers.push(Subscriber { session, classes: added, media_since: moment }),
        }
    }

    /// From now on the session gets only events of these classes.
    pub(super) fn keep(&mut self, device: &DeviceName, session: SessionKey, classes: Classes) {
        let Some(subscribers) = self.0.get_mut(device) else { return };
        if classes == Classes::default() {
            subscribers.retain(|subscriber| subscriber.session != session);
        } else if let Some(subscriber) = subscribers.iter_mut().find(|subscriber| subscriber.session == session) {
            subscriber.classes = classes;
        }
        if subscribers.is_empty() {
            self.0.remove(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Answer, Ask, Hub, WorkerId};

    const SESSION: SessionKey = SessionKey { place: 0, turn: 0 };

    /// Moments come from a hub.
    fn moments(n: usize) -> Vec<Moment> {
        let device: DeviceName = "1001".parse().unwrap();
        let mut hub = Hub::new([device.clone()], 0);
        let mut moment = || match hub.answer(WorkerId(0), SESSION, Ask::Subscribe(device.clone())) {
            Some(Answer::Subscribed { moment, .. }) => moment,
            other => panic!("{other:?}"),
        };
        (0..n).map(|_| moment()).collect()
    }

    #[test]
    fn r16_media_count_from_when_media_were_monitored_not_calls() {
        let device: DeviceName = "1001".parse().unwrap();
        let moments = moments(3);
        let mut subscribers = Subscribers::default();
        let since = |subscribers: &Subscribers| subscribers.of(&device)[0].media_since;

        let (calls, media) = (Classes::of(EventClass::Call), Classes::of(EventClass::Media));
        subscribers.watch(device.clone(), SESSION, calls, moments[0]);
        assert!(!subscribers.of(&device)[0].wants(EventClass::Media));
        subscribers.watch(device.clone(), SESSION, media, moments[1]);
        assert_eq!(since(&subscribers), moments[1]);
        subscribers.watch(device.clone(), SESSION, calls, moments[2]);
        assert_eq!(since(&subscribers), moments[1], "asking again doesn't make it late");
    }

    #[test]
    fn who_ends_media_and_begins_again_begins_anew() {
        let device: DeviceName = "1001".parse().unwrap();
        let moments = moments(2);
        let mut subscribers = Subscribers::default();
        subscribers.watch(device.clone(), SESSION, Classes::ALL, moments[0]);
        subscribers.keep(&device, SESSION, Classes::of(EventClass::Call));
        subscribers.watch(device.clone(), SESSION, Classes::of(EventClass::Media), moments[1]);
        assert_eq!(subscribers.of(&device)[0].media_since, moments[1]);
        subscribers.keep(&device, SESSION, Classes::default());
        assert!(subscribers.of(&device).is_empty() && subscribers.0.is_empty());
    }
}
