//! Who on a worker gets a device's events.

use std::collections::{BTreeMap, HashMap};

use super::session::Classes;
use crate::{
    hub::{Moment, SessionKey},
    model::{DeviceName, EventClass},
};

/// The subscribers of a worker, by device and session. All of a device's may end at once, as when a user loses it: each of
/// them is found without a look at the others.
#[derive(Default)]
pub(super) struct Subscribers(HashMap<DeviceName, BTreeMap<SessionKey, Subscriber>>);

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
    /// Who monitors the device, in the order of their keys.
    pub(super) fn of(&self, device: &DeviceName) -> impl Iterator<Item = &Subscriber> {
        self.0.get(device).into_iter().flat_map(BTreeMap::values)
    }

    /// From `moment` on the session gets events of these classes too.
    pub(super) fn watch(&mut self, device: DeviceName, session: SessionKey, added: Classes, moment: Moment) {
        let subscribers = self.0.entry(device).or_default();
        let subscriber = subscribers.entry(session).or_insert(Subscriber {
            session,
            classes: Classes::default(),
            media_since: moment,
        });
        if !subscriber.wants(EventClass::Media) {
            subscriber.media_since = moment;
        }
        subscriber.classes = subscriber.classes.with(added);
    }

    /// From now on the session gets only events of these classes.
    pub(super) fn keep(&mut self, device: &DeviceName, session: SessionKey, classes: Classes) {
        let Some(subscribers) = self.0.get_mut(device) else { return };
        if classes == Classes::default() {
            subscribers.remove(&session);
        } else if let Some(subscriber) = subscribers.get_mut(&session) {
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
        let since = |subscribers: &Subscribers| subscribers.of(&device).next().unwrap().media_since;

        let (calls, media) = (Classes::of(EventClass::Call), Classes::of(EventClass::Media));
        subscribers.watch(device.clone(), SESSION, calls, moments[0]);
        assert!(!subscribers.of(&device).next().unwrap().wants(EventClass::Media));
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
        assert_eq!(subscribers.of(&device).next().unwrap().media_since, moments[1]);
        subscribers.keep(&device, SESSION, Classes::default());
        assert!(subscribers.of(&device).next().is_none() && subscribers.0.is_empty());
    }
    #[test]
    fn whoever_comes_and_goes_the_others_stay_in_their_order() {
        let device: DeviceName = "1001".parse().unwrap();
        let moment = moments(1)[0];
        let key = |place| SessionKey { place, turn: 0 };
        let mut subscribers = Subscribers::default();
        for place in [3, 1, 4, 0, 2] {
            subscribers.watch(device.clone(), key(place), Classes::ALL, moment);
        }
        subscribers.keep(&device, key(1), Classes::default());
        subscribers.keep(&device, SessionKey { place: 2, turn: 1 }, Classes::default());
        let left: Vec<_> = subscribers.of(&device).map(|subscriber| subscriber.session.place).collect();
        assert_eq!(left, [0, 2, 3, 4], "another turn of a place is another session");
    }
}
