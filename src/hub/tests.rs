//! Topics without a runtime.

use std::sync::Arc;

use super::*;
use crate::model::{
    CallDirection, CallId, CallRef, CallState, EndCause, EventBody, Generation, KeyMaterial, LineNumber, MasterKey,
    MediaOpened, MediaStopped, Party, Protection, Secret, SessionParameters, StopCause, StreamDirection, StreamId,
    Suite, Timestamp,
};

const ONE: WorkerId = WorkerId(0);
const TWO: WorkerId = WorkerId(5);
const SESSION: SessionKey = SessionKey { place: 0, turn: 0 };
const OTHER: SessionKey = SessionKey { place: 0, turn: 1 };

fn device(name: &str) -> DeviceName {
    name.parse().unwrap()
}

fn hub() -> Hub {
    Hub::new([device("1001"), device("1002")], 2)
}

fn event(device_name: &str, call: u64, body: EventBody) -> SwitchEvent {
    SwitchEvent {
        at: Timestamp(0),
        device: device(device_name),
        line: LineNumber::FIRST,
        call: Arc::new(CallRef {
            id: CallId(call),
            switch: "pbx".parse().unwrap(),
            switch_call: None,
            sip_call_id: format!("call-{call}"),
            direction: CallDirection::Incoming,
            calling: Party::default(),
            called: Party::default(),
        }),
        body,
    }
}

fn key_material() -> KeyMaterial {
    let suite = Suite::AesCm128HmacSha1_80;
    let key = MasterKey::new(suite, &Secret::new(vec![1; 30]), None, None).unwrap();
    KeyMaterial::new(suite, vec![key], SessionParameters::default()).unwrap()
}

fn opened(stream: u64, generation: Option<u32>) -> EventBody {
    EventBody::MediaOpened(MediaOpened {
        stream: StreamId(stream),
        direction: StreamDirection::Sent,
        destination: "127.0.0.1:4000".parse().unwrap(),
        likely_source: None,
        media: "audio".into(),
        codecs: Arc::new([]),
        protection: match generation {
            None => Protection::Clear,
            Some(generation) => Protection::Keyed {
                generation: Generation(generation),
                since: Timestamp(0),
                keys: Arc::new(key_material()),
            },
        },
    })
}

fn stopped(stream: u64, cause: StopCause) -> EventBody {
    EventBody::MediaStopped(MediaStopped {
        stream: StreamId(stream),
        direction: StreamDirection::Sent,
        generation: Some(Generation::FIRST),
        cause,
    })
}

fn subscribe(hub: &mut Hub, worker: WorkerId, name: &str) -> (Moment, Snapshot) {
    match hub.answer(worker, SESSION, Ask::Subscribe(device(name))) {
        Some(Answer::Subscribed { moment, snapshot }) => (moment, snapshot),
        other => panic!("{other:?}"),
    }
}

#[test]
fn r40_numbers_count_the_device_and_class_numbers_each_class() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    let mut numbers = |body| {
        let delivery = hub.publish(event("1001", 1, body)).unwrap().unwrap();
        (delivery.event.number, delivery.event.class_number)
    };
    assert_eq!(numbers(EventBody::Call(CallState::Offered)), (1, 1));
    assert_eq!(numbers(EventBody::Call(CallState::Connected)), (2, 2));
    assert_eq!(numbers(opened(7, Some(1))), (3, 1));
    assert_eq!(numbers(stopped(7, StopCause::Ended)), (4, 2));
    assert_eq!(numbers(EventBody::Call(CallState::Ended(EndCause::Hangup))), (5, 3));
}

#[test]
fn r40_numbers_go_on_while_nobody_listens() {
    let mut hub = hub();
    assert!(hub.publish(event("1001", 1, EventBody::Call(CallState::Offered))).unwrap().is_none());
    let (_, snapshot) = subscribe(&mut hub, ONE, "1001");
    assert_eq!(snapshot.number, 1);
    assert_eq!(hub.publish(event("1001", 1, EventBody::Call(CallState::Alerting))).unwrap().unwrap().event.number, 2);
}

#[test]
fn an_event_goes_once_to_each_worker_with_subscribers() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    subscribe(&mut hub, TWO, "1001");
    subscribe(&mut hub, TWO, "1001");
    hub.answer(TWO, OTHER, Ask::Subscribe(device("1001")));
    let mut workers = || -> Vec<_> {
        hub.publish(event("1001", 1, EventBody::Call(CallState::Alerting)))
            .unwrap()
            .map(|delivery| delivery.workers().collect())
            .unwrap_or_default()
    };
    assert_eq!(workers(), [ONE, TWO]);
    hub.answer(TWO, SESSION, Ask::Forget(device("1001")));
    let mut workers = || -> Vec<_> {
        hub.publish(event("1001", 1, EventBody::Call(CallState::Alerting)))
            .unwrap()
            .map(|delivery| delivery.workers().collect())
            .unwrap_or_default()
    };
    assert_eq!(workers(), [ONE, TWO]);
    hub.answer(TWO, OTHER, Ask::Forget(device("1001")));
    hub.answer(ONE, SESSION, Ask::Forget(device("1001")));
    assert!(hub.publish(event("1001", 1, EventBody::Call(CallState::Alerting))).unwrap().is_none());
}

#[test]
fn r16_a_moment_tells_monitored_before_from_monitored_late() {
    let mut hub = hub();
    let (before, _) = subscribe(&mut hub, ONE, "1001");
    let first = hub.publish(event("1001", 1, opened(7, Some(1)))).unwrap().unwrap();
    let (late, _) = subscribe(&mut hub, ONE, "1001");
    assert!(before < first.event.first_seen && first.event.first_seen < late);

    // Hold and resume: the generation was seen before `late`, and stays so (R22).
    hub.publish(event("1001", 1, stopped(7, StopCause::Hold))).unwrap();
    let again = hub.publish(event("1001", 1, opened(7, Some(1)))).unwrap().unwrap();
    assert_eq!(again.event.first_seen, first.event.first_seen);

    // A rekey is new for both.
    let rekeyed = hub.publish(event("1001", 1, opened(7, Some(2)))).unwrap().unwrap();
    assert!(late < rekeyed.event.first_seen);
}

#[test]
fn r16_a_generation_that_comes_back_was_seen_before() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    let open = |hub: &mut Hub, generation| {
        hub.publish(event("1001", 1, opened(7, Some(generation)))).unwrap().unwrap().event.first_seen
    };
    let first = open(&mut hub, 1);
    open(&mut hub, 2);
    let (late, _) = subscribe(&mut hub, TWO, "1001");
    assert_eq!(open(&mut hub, 1), first);
    assert!(first < late);
}

#[test]
fn r16_a_generation_seen_on_hold_is_late_for_who_monitors_before_it_flows() {
    let mut hub = hub();
    let keyed =
        EventBody::MediaKeyed { stream: StreamId(7), generation: Generation(1), keys: Arc::new(key_material()) };
    assert!(hub.publish(event("1001", 1, keyed)).unwrap().is_none());
    let (late, snapshot) = subscribe(&mut hub, ONE, "1001");
    assert_eq!(snapshot.number, 0, "what apps don't see isn't numbered");
    let flows = hub.publish(event("1001", 1, opened(7, Some(1)))).unwrap().unwrap();
    assert!(flows.event.first_seen < late);
}

#[test]
fn r16_key_material_that_another_stream_goes_on_with_is_as_old_as_it_was() {
    let mut hub = hub();
    let keys = Arc::new(key_material());
    let goes_on = |stream| match opened(stream, Some(1)) {
        EventBody::MediaOpened(media) => {
            let protection = Protection::Keyed { generation: Generation(1), since: Timestamp(0), keys: keys.clone() };
            EventBody::MediaOpened(MediaOpened { protection, ..media })
        }
        other => other,
    };
    let first_seen = |hub: &mut Hub, body| hub.publish(event("1001", 1, body)).unwrap().unwrap().event.first_seen;
    subscribe(&mut hub, TWO, "1001");
    let begun = first_seen(&mut hub, goes_on(7));
    let (late, _) = subscribe(&mut hub, ONE, "1001");
    first_seen(&mut hub, stopped(7, StopCause::Ended));
    assert_eq!(first_seen(&mut hub, goes_on(8)), begun);
    assert!(begun < late && late < first_seen(&mut hub, opened(9, Some(1))), "equal key material may be new");
}

#[test]
fn r16_a_generation_that_comes_back_again_and_again_stays_as_old_as_it_was() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    let mut open = |generation| {
        let body = opened(7, Some(generation));
        hub.publish(event("1001", 1, body)).unwrap().unwrap().event.first_seen
    };
    let begun = open(1);
    for generation in 2..40 {
        open(generation);
        assert_eq!(open(1), begun, "after {generation}");
    }
}

#[test]
fn r19_a_snapshot_says_secure_or_not() {
    let mut hub = hub();
    let security = |hub: &mut Hub| {
        let Some(Answer::Snapshot(snapshot)) = hub.answer(ONE, SESSION, Ask::Snapshot(device("1001"))) else {
            panic!()
        };
        snapshot.calls.iter().map(|call| (call.state, call.security)).collect::<Vec<_>>()
    };
    hub.publish(event("1001", 1, EventBody::Call(CallState::Connected))).unwrap();
    assert_eq!(security(&mut hub), [(CallState::Connected, CallSecurity::NoMedia)]);
    hub.publish(event("1001", 1, opened(7, Some(1)))).unwrap();
    assert_eq!(security(&mut hub), [(CallState::Connected, CallSecurity::Secure)]);
    hub.publish(event("1001", 1, opened(8, None))).unwrap();
    assert_eq!(security(&mut hub), [(CallState::Connected, CallSecurity::NotSecure)]);
    hub.publish(event("1001", 1, stopped(8, StopCause::Ended))).unwrap();
    hub.publish(event("1001", 1, stopped(7, StopCause::Hold))).unwrap();
    assert_eq!(security(&mut hub), [(CallState::Connected, CallSecurity::Secure)]);
    hub.publish(event("1001", 1, EventBody::Call(CallState::Ended(EndCause::Hangup)))).unwrap();
    assert_eq!(security(&mut hub), []);
}

#[test]
fn names_come_in_pages_in_order() {
    let mut hub = Hub::new((0..5).map(|n| device(&format!("Phone{n}"))), 2);
    let mut page = |after: Option<&str>, contains: &str, limit| {
        let ask = Ask::Names { after: after.map(device), contains: contains.into(), limit };
        let Some(Answer::Names { names, resume }) = hub.answer(ONE, SESSION, ask) else { panic!() };
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        (names.join(" "), resume.map(|name| name.to_string()))
    };
    assert_eq!(page(None, "", 2), ("Phone0 Phone1".into(), Some("Phone1".into())));
    assert_eq!(page(Some("Phone1"), "", 3), ("Phone2 Phone3 Phone4".into(), None));
    assert_eq!(page(None, "pHONE3", 9), ("Phone3".into(), None));
    assert_eq!(page(None, "pHONE3", 1), ("Phone3".into(), Some("Phone3".into())));
}

#[test]
fn r41a_a_filter_that_fits_nothing_looks_at_so_many_names_at_once() {
    let mut hub = Hub::new((0..10_000).map(|n| device(&format!("{n:05}"))), 2);
    let mut after = None;
    for _ in 0..2 {
        let ask = Ask::Names { after, contains: "x".into(), limit: 100 };
        let Some(Answer::Names { names, resume }) = hub.answer(ONE, SESSION, ask) else { panic!() };
        assert!(names.is_empty() && resume.is_some());
        after = resume;
    }
    let ask = Ask::Names { after, contains: "x".into(), limit: 100 };
    assert!(matches!(hub.answer(ONE, SESSION, ask), Some(Answer::Names { resume: None, .. })));
}

#[test]
fn r41a_discovered_devices_are_bounded_and_the_longest_idle_goes_first() {
    let mut hub = hub();
    let ring =
        |hub: &mut Hub, name: &str, call| hub.publish(event(name, call, EventBody::Call(CallState::Offered))).map(drop);
    let end = |hub: &mut Hub, name: &str, call| {
        hub.publish(event(name, call, EventBody::Call(CallState::Ended(EndCause::Hangup)))).unwrap();
    };
    assert_eq!((ring(&mut hub, "a", 1), ring(&mut hub, "b", 2)), (Ok(()), Ok(())));
    assert_eq!(ring(&mut hub, "c", 3), Err(NoRoom));
    assert_eq!(hub.device_count(), 4, "no room for c while both are busy");
    end(&mut hub, "b", 2);
    assert_eq!(ring(&mut hub, "c", 3), Ok(()));
    let known = |hub: &mut Hub, name: &str| {
        matches!(hub.answer(ONE, SESSION, Ask::Snapshot(device(name))), Some(Answer::Snapshot(_)))
    };
    assert!(known(&mut hub, "a") && known(&mut hub, "c") && !known(&mut hub, "b"));
    assert!(known(&mut hub, "1001") && known(&mut hub, "1002"), "configured ones are never forgotten");
}

#[test]
fn r16_a_generation_that_was_refused_with_its_device_is_late_for_all() {
    let mut hub = Hub::new([], 1);
    let first_seen = |delivery: Result<Option<Delivery>, NoRoom>| delivery.unwrap().unwrap().event.first_seen;
    let calls = |name: &str, call, state| event(name, call, EventBody::Call(state));
    let end = CallState::Ended(EndCause::Hangup);
    hub.publish(calls("a", 1, CallState::Offered)).unwrap();
    assert!(hub.publish(event("b", 2, opened(1, Some(1)))).is_err());
    hub.publish(calls("a", 1, end)).unwrap();
    // Its hold is what makes it known, and then somebody monitors it before the key is seen here.
    hub.publish(calls("b", 2, CallState::Connected)).unwrap();
    let (monitored, _) = subscribe(&mut hub, ONE, "b");
    assert!(first_seen(hub.publish(event("b", 2, opened(1, Some(1))))) < monitored);
    assert!(first_seen(hub.publish(event("b", 2, opened(2, Some(2))))) < monitored);
    // A call that was seen from its beginning has nothing of before.
    hub.publish(calls("b", 3, CallState::Dialing)).unwrap();
    assert!(first_seen(hub.publish(event("b", 3, opened(3, Some(1))))) > monitored);
}

#[test]
fn all_receivers_share_one_frame() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    let delivery = hub.publish(event("1001", 1, EventBody::Call(CallState::Offered))).unwrap().unwrap();
    let indication = crate::policy::Indication::NotEncrypted;
    let first = delivery.event.frame(indication, || bytes::Bytes::from(vec![1, 2, 3]));
    let second = delivery.event.frame(indication, || panic!("encoded twice"));
    assert_eq!(first.as_ptr(), second.as_ptr());
}

#[test]
fn r15_devices_are_configured_anew_without_losing_a_number_or_a_subscriber() {
    let mut hub = hub();
    hub.publish(event("1001", 1, EventBody::Call(CallState::Connected))).unwrap();
    hub.answer(ONE, SESSION, Ask::Subscribe(device("1001")));
    hub.publish(event("found", 2, EventBody::Call(CallState::Connected))).unwrap();
    assert_eq!(hub.device_count(), 3);

    // 1001 leaves the configuration, 1003 and the found one enter it.
    hub.configure([device("1002"), device("1003"), device("found")]);
    assert_eq!((hub.device_count(), hub.discovered), (4, 1));
    let delivery = hub.publish(event("1001", 1, EventBody::Call(CallState::Held))).unwrap().unwrap();
    assert_eq!((delivery.event.number, delivery.workers().count()), (2, 1));

    // Nobody listens to it any more: it makes room like any other, and the configured ones never do.
    hub.publish(event("1001", 1, EventBody::Call(CallState::Ended(EndCause::Hangup)))).unwrap();
    hub.publish(event("found", 2, EventBody::Call(CallState::Ended(EndCause::Hangup)))).unwrap();
    hub.answer(ONE, SESSION, Ask::Forget(device("1001")));
    for call in 3..10 {
        let name = format!("stranger-{call}");
        hub.publish(event(&name, call, EventBody::Call(CallState::Connected))).unwrap();
        hub.publish(event(&name, call, EventBody::Call(CallState::Ended(EndCause::Hangup)))).unwrap();
    }
    assert!(matches!(hub.answer(ONE, SESSION, Ask::Snapshot(device("1001"))), Some(Answer::UnknownDevice(_))));
    for kept in ["1002", "1003", "found"] {
        assert!(matches!(hub.answer(ONE, SESSION, Ask::Snapshot(device(kept))), Some(Answer::Snapshot(_))), "{kept}");
    }
}

#[test]
fn r19_administration_sees_calls_and_streams_without_their_keys_a_page_at_a_time() {
    let mut hub = hub();
    subscribe(&mut hub, ONE, "1001");
    subscribe(&mut hub, TWO, "1001");
    hub.publish(event("1001", 1, EventBody::Call(CallState::Connected))).unwrap();
    hub.publish(event("1001", 1, opened(7, Some(1)))).unwrap();
    hub.publish(event("1001", 1, opened(8, None))).unwrap();
    hub.publish(event("found", 2, EventBody::Call(CallState::Held))).unwrap();
    let look = |hub: &Hub, from: Option<&str>, contains: &str, busy, limit| {
        hub.look(&Look { from: from.map(device), contains: contains.into(), busy, limit })
    };
    let names = |seen: Seen| {
        let names: Vec<_> = seen.devices.iter().map(|seen| seen.device.to_string()).collect();
        (names.join(" "), seen.resume.map(|name| name.to_string()))
    };
    assert_eq!(names(look(&hub, None, "", false, 2)), ("1001 1002".into(), Some("found".into())));
    assert_eq!(names(look(&hub, Some("found"), "", false, 2)), ("found".into(), None));
    assert_eq!(names(look(&hub, None, "", true, 9)), ("1001 found".into(), None));
    assert_eq!(names(look(&hub, None, "FOU", false, 9)), ("found".into(), None));

    let streams = |hub: &Hub| look(hub, None, "1001", true, 1).devices.remove(0).calls.remove(0).streams;
    let suite = Suite::AesCm128HmacSha1_80;
    let shown = |hub: &Hub| -> Vec<_> {
        let shown =
            |stream: StreamView| (stream.generation, stream.opened.map(|opened| (opened.protected, opened.flows)));
        streams(hub).into_iter().map(shown).collect()
    };
    let clear = (None, Some((Protected::No, true)));
    assert_eq!(shown(&hub), [(Some(Generation(1)), Some((Protected::Keyed(suite), true))), clear]);
    hub.publish(event("1001", 1, stopped(7, StopCause::Hold))).unwrap();
    assert_eq!(shown(&hub), [(Some(Generation(1)), Some((Protected::Keyed(suite), false))), clear]);
    hub.publish(event("1001", 1, stopped(7, StopCause::Ended))).unwrap();
    assert_eq!(shown(&hub), [clear]);
    let seen = look(&hub, None, "1001", false, 1).devices.remove(0);
    assert_eq!((seen.configured, seen.number, seen.monitors), (true, 5, 2));
    assert!(!look(&hub, Some("found"), "", false, 1).devices.remove(0).configured);
}

#[test]
fn r41a_a_look_at_devices_holds_the_hub_up_for_so_many_of_them_only() {
    let hub = Hub::new((0..10_000).map(|n| device(&format!("{n:05}"))), 2);
    let mut look = Look { contains: "x".into(), limit: 100, ..Look::default() };
    let mut looks = 0;
    loop {
        let seen = hub.look(&look);
        assert!(seen.devices.is_empty());
        looks += 1;
        look.from = seen.resume;
        if look.from.is_none() {
            break;
        }
    }
    assert_eq!(looks, 3);
}
