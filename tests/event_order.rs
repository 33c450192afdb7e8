//! One checker of what a switch may report in which order, over recorded calls and over simulated ones: so the simulated
//! switch can't drift away from what the tracker makes of real calls.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/lifecycle.rs"]
mod lifecycle;
#[path = "common/sip.rs"]
mod sip;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use callgate::{
    model::{CallState, Cipher, EventBody, MediaOpened, Protection, StopCause, Suite, SwitchEvent, Timestamp},
    switch::sim::{Sim, SimSettings},
};
use lifecycle::Lifecycles;
use proptest::prelude::*;
use sip::{Lab, recording};

const START: Timestamp = Timestamp(1_700_000_000_000_000);

const RECORDINGS: &[&str] =
    &["asterisk22-basic", "asterisk22-hold", "asterisk22-transfer", "kamailio-basic", "kamailio-rekey"];

fn recorded(name: &str) -> Vec<SwitchEvent> {
    let mut lab = Lab::new(&[], &[]);
    for datagram in recording(name) {
        lab.datagram(datagram).unwrap();
    }
    lab.events
}

fn simulate(settings: SimSettings, seconds: u64) -> Vec<SwitchEvent> {
    simulate_millis(settings, seconds * 1000)
}

/// Asks whenever something is due.
fn simulate_millis(settings: SimSettings, millis: u64) -> Vec<SwitchEvent> {
    let start = Instant::now();
    let mut sim = Sim::new("sim".parse().unwrap(), settings, 1, start, START);
    let mut events = Vec::new();
    let end = start + Duration::from_millis(millis);
    while let Some(due) = sim.deadline().filter(|due| *due <= end) {
        sim.on_time(due, &mut events);
    }
    events
}

fn check(events: &[SwitchEvent], lifecycles: &mut Lifecycles) -> Result<(), String> {
    (0..)
        .zip(events)
        .try_for_each(|(number, event)| lifecycles.take(event).map_err(|why| format!("event {number}: {why}")))
}

/// What happens on each leg of a call, a word an event, without what differs from call to call.
fn legs(events: &[SwitchEvent]) -> BTreeSet<String> {
    let mut legs: HashMap<_, Vec<String>> = HashMap::new();
    for event in events {
        let word = match &event.body {
            EventBody::Call(state) => format!("{state:?}"),
            EventBody::MediaKeyed { .. } => "keyed".into(),
            EventBody::MediaOpened(opened) => match &opened.protection {
                Protection::Clear => format!("{:?}:open", opened.direction),
                Protection::Keyed { generation, .. } => format!("{:?}:open:g{}", opened.direction, generation.0),
                Protection::Unknown { .. } => format!("{:?}:open:unknown", opened.direction),
            },
            EventBody::MediaStopped(stopped) => format!("{:?}:{:?}", stopped.direction, stopped.cause),
        };
        legs.entry((event.call.id, event.device.clone())).or_default().push(word);
    }
    legs.into_values().map(|words| words.join(" ")).collect()
}

#[test]
fn recorded_calls_keep_the_order() {
    for name in RECORDINGS {
        let events = recorded(name);
        let mut lifecycles = Lifecycles::default();
        check(&events, &mut lifecycles).unwrap();
        lifecycles.finish().unwrap();
        assert!(lifecycles.seen["open"] >= 4 && lifecycles.seen["over"] >= 4, "{name}: {:?}", lifecycles.seen);
    }
}

#[test]
fn a_simulated_call_is_told_as_a_recorded_one() {
    let all = SimSettings { hold_percent: 50, rekey_percent: 20, ..SimSettings::default() };
    let simulated = legs(&simulate(all, 600));
    for name in ["asterisk22-basic", "asterisk22-hold", "asterisk22-transfer", "kamailio-basic"] {
        for leg in legs(&recorded(name)).into_iter().filter(|leg| !leg.contains("NotADevice")) {
            assert!(simulated.contains(&leg), "{name} has a leg that is never simulated: {leg}\n{simulated:#?}");
        }
    }
}

#[test]
fn the_checker_notices_what_is_missing_and_what_comes_twice() {
    let settings = SimSettings { hold_percent: 100, rekey_percent: 100, unanswered_percent: 0, ..one_call() };
    for seed in 1..20 {
        let events = simulate(SimSettings { seed, ..settings.clone() }, 100);
        assert!(events.len() > 20, "{seed}");
        let fails = |events: &[SwitchEvent]| {
            let mut lifecycles = Lifecycles::default();
            check(events, &mut lifecycles).and_then(|()| lifecycles.finish()).is_err()
        };
        assert!(!fails(&events));
        for at in 0..events.len() {
            let mut twice = events.clone();
            twice.insert(at, events[at].clone());
            assert!(fails(&twice), "{seed}: {:?} twice", events[at]);

            let mut without = events.clone();
            let missing = without.remove(at);
            // Nobody needs to ring, a call may end on hold, and who takes it from hold may stay silent.
            let was_on_hold = |stream| {
                events[..at].iter().rev().find_map(|event| match &event.body {
                    EventBody::MediaStopped(stopped) if stopped.stream == stream => {
                        Some(stopped.cause == StopCause::Hold)
                    }
                    _ => None,
                })
            };
            let was_connected = |call| {
                events[..at]
                    .iter()
                    .any(|event| event.call.id == call && matches!(event.body, EventBody::Call(CallState::Connected)))
            };
            let may_miss = match &missing.body {
                EventBody::Call(CallState::Alerting) => true,
                EventBody::Call(CallState::Connected) => was_connected(missing.call.id),
                EventBody::MediaOpened(opened) => was_on_hold(opened.stream) == Some(true),
                _ => false,
            };
            assert!(may_miss || fails(&without), "{seed}: without {missing:?}");
        }
    }
}

/// One call of two devices, and no other within its time.
fn one_call() -> SimSettings {
    SimSettings { devices: 2, calls_per_second: 0.001, secure_percent: 100, ..SimSettings::default() }
}

fn settings() -> impl Strategy<Value = SimSettings> {
    let calls = (0..60_u32, 0.0..20.0_f64, 1..40_u32, 0..5_u32, any::<u64>());
    let percent = || prop_oneof![Just(0), Just(100), 0..=100_u8];
    let suites = proptest::collection::vec(proptest::sample::select(&Suite::ALL[..]), 0..4);
    (calls, [percent(), percent(), percent(), percent()], suites).prop_map(|(calls, shares, suites)| {
        let (devices, calls_per_second, call_seconds, ring_seconds, seed) = calls;
        let [secure_percent, unanswered_percent, hold_percent, rekey_percent] = shares;
        SimSettings {
            devices,
            calls_per_second,
            call_seconds,
            ring_seconds,
            secure_percent,
            unanswered_percent,
            hold_percent,
            rekey_percent,
            suites,
            seed,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is simulated, and whenever it is asked: every stream has a legal life, no device has two calls at once,
    /// no two streams have one key, and late steps change nothing.
    #[test]
    fn r22_simulated_calls_keep_the_order(settings in settings(), steps in proptest::collection::vec(0..9_000_u64, 1..80)) {
        let start = Instant::now();
        let mut sim = Sim::new("sim".parse().unwrap(), settings.clone(), 1, start, START);
        let (mut events, mut now) = (Vec::new(), start);
        for step in steps {
            now += Duration::from_millis(step);
            while sim.deadline().is_some_and(|due| due <= now) {
                sim.on_time(now, &mut events);
            }
        }
        let mut lifecycles = Lifecycles::default();
        lifecycles.times_are_ordered = true;
        check(&events, &mut lifecycles).map_err(TestCaseError::fail)?;
        prop_assert_eq!(lifecycles.open_calls(), 2 * sim.calls_in_progress());
        one_call_a_device(&events)?;
        no_key_twice(&events)?;

        let passed = (now - start).as_millis() as u64;
        prop_assert_eq!(rendered(&events), rendered(&simulate_millis(settings, passed)), "late is as in time");
    }
}

fn cases() -> u32 {
    if std::env::var_os("CALLGATE_LONG").is_some() { 2_000 } else { 24 }
}

fn one_call_a_device(events: &[SwitchEvent]) -> Result<(), TestCaseError> {
    let mut busy = HashMap::new();
    for event in events {
        let call = *busy.entry(&event.device).or_insert(event.call.id);
        prop_assert_eq!(call, event.call.id, "{} has two calls", event.device);
        if matches!(event.body, EventBody::Call(CallState::Ended(_))) {
            busy.remove(&event.device);
        }
    }
    Ok(())
}

fn no_key_twice(events: &[SwitchEvent]) -> Result<(), TestCaseError> {
    let mut keys = HashMap::new();
    for event in events {
        let EventBody::MediaOpened(opened) = &event.body else { continue };
        let Protection::Keyed { generation, keys: material, .. } = &opened.protection else { continue };
        prop_assert_ne!(material.suite().cipher(), Cipher::Null, "what can be read is in the clear");
        let owner = (opened.stream, *generation);
        let first = *keys.entry(material.keys()[0].key.expose().to_vec()).or_insert(owner);
        prop_assert_eq!(first, owner, "two streams or generations have one key");
    }
    Ok(())
}

/// Every event with all that is in it, keys too.
fn rendered(events: &[SwitchEvent]) -> Vec<String> {
    events
        .iter()
        .map(|event| {
            let keys = match &event.body {
                EventBody::MediaOpened(MediaOpened { protection: Protection::Keyed { keys, .. }, .. }) => {
                    keys.keys().iter().map(|key| (key.key.expose().to_vec(), key.salt.expose().to_vec())).collect()
                }
                _ => Vec::new(),
            };
            format!("{event:?} {keys:?}")
        })
        .collect()
}

#[test]
fn the_same_seed_makes_the_same_calls_and_another_one_others() {
    let with = |seed| rendered(&simulate(SimSettings { seed, ..SimSettings::default() }, 60));
    assert!(with(1).len() > 500);
    assert_eq!(with(1), with(1));
    assert_ne!(with(1), with(2));
}

#[test]
fn rates_and_shares_are_those_that_were_asked_for() {
    let settings = SimSettings { devices: 10_000, calls_per_second: 50.0, ..SimSettings::default() };
    let mut lifecycles = Lifecycles::default();
    let events = simulate(settings, 100);
    check(&events, &mut lifecycles).unwrap();
    let seen = |step| lifecycles.seen.get(step).copied().unwrap_or_default();
    assert_eq!(seen("begin"), 2 * 5001, "50 a second for 100 seconds, two legs each");
    let answered = seen("answer") * 100 / seen("begin");
    assert!((85..=92).contains(&answered), "{answered} % were answered of about 90");
    let openings = |secure: bool| {
        let opened = events.iter().filter_map(|event| match &event.body {
            EventBody::MediaOpened(opened) => Some(opened),
            _ => None,
        });
        opened.filter(|opened| matches!(opened.protection, Protection::Clear) != secure).count()
    };
    let secure = openings(true) * 100 / (openings(true) + openings(false));
    assert!((87..=94).contains(&secure), "{secure} % are SRTP of about 90");
    for step in ["ring", "hold", "retrieve", "pause", "reopen", "rekey", "keyed", "over", "end"] {
        assert!(seen(step) > 0, "{step} was never seen: {:?}", lifecycles.seen);
    }
}
