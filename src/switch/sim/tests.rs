use std::{collections::HashSet, time::Duration};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    model::{CallId, CallState, EventBatch, EventBody, SwitchEvent},
    switch::{Action, Command, CommandError},
};

fn name() -> SwitchName {
    "sim".parse().unwrap()
}

struct Ends {
    events: mpsc::Receiver<EventBatch>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), SwitchError>>,
}

fn start(settings: SimSettings, queue: usize) -> Ends {
    let ((sender, events), (commands, receiver)) = (mpsc::channel(queue), mpsc::channel(1));
    let stop = CancellationToken::new();
    let io = SwitchIo::new(sender, receiver, stop.clone());
    let running = tokio::spawn(Box::new(Simulated::new(name(), settings, 1)).run(io));
    Ends { events, commands, stop, running }
}

/// What is the same whenever it is simulated.
fn words(events: &[SwitchEvent]) -> Vec<String> {
    events.iter().map(|event| format!("{} {} {:?}", event.device, event.call.id, kind(&event.body))).collect()
}

fn kind(body: &EventBody) -> String {
    match body {
        EventBody::Call(state) => format!("{state:?}"),
        EventBody::MediaKeyed { stream, .. } => format!("keyed {stream}"),
        EventBody::MediaOpened(opened) => format!("opened {}", opened.stream),
        EventBody::MediaStopped(stopped) => format!("stopped {} {:?}", stopped.stream, stopped.cause),
    }
}

#[test]
fn devices_are_numbered_from_1() {
    let settings = SimSettings { devices: 2, ..SimSettings::default() };
    let names: Vec<_> = settings.device_names(&name()).map(|name| name.unwrap().to_string()).collect();
    assert_eq!(names, ["sim-00001", "sim-00002"]);
}

#[test]
fn r41a_the_most_devices_have_names_and_addresses_of_their_own() {
    let settings = SimSettings { devices: u32::MAX, calls_per_second: 1.0, ..SimSettings::default() };
    let names: HashSet<_> = settings.device_names(&name()).map(Result::unwrap).collect();
    assert_eq!(names.len(), 100_000);
    let addresses: HashSet<_> = (0..100_000).flat_map(call::media_addresses).collect();
    assert_eq!(addresses.len(), 200_000);
}

#[test]
fn without_two_devices_or_without_a_rate_nothing_is_ever_due() {
    for (devices, calls_per_second) in [(0, 1.0), (1, 1.0), (2, 0.0), (2, -1.0), (2, f64::NAN)] {
        let now = std::time::Instant::now();
        let settings = SimSettings { devices, calls_per_second, ..SimSettings::default() };
        let mut sim = Sim::new(name(), settings, 1, now, Timestamp(0));
        let mut events = Vec::new();
        sim.on_time(now + Duration::from_secs(1_000_000), &mut events);
        assert_eq!((sim.deadline(), events.len()), (None, 0), "{devices} {calls_per_second}");
    }
}

#[test]
fn calls_for_which_nobody_is_idle_are_left_out_and_counted() {
    let now = std::time::Instant::now();
    let settings = SimSettings { devices: 2, calls_per_second: 10.0, call_seconds: 100, ..SimSettings::default() };
    let mut sim = Sim::new(name(), SimSettings { unanswered_percent: 0, ..settings }, 1, now, Timestamp(0));
    let mut events = Vec::new();
    sim.on_time(now + Duration::from_secs(20), &mut events);
    assert_eq!(sim.counts(), SimCounts { calls: 1, skipped: 200 });
    assert_eq!(sim.calls_in_progress(), 1);
}

#[test]
fn what_is_long_overdue_is_made_in_bounded_batches() {
    let now = std::time::Instant::now();
    let settings = SimSettings { devices: 1000, calls_per_second: 1000.0, call_seconds: 1, ..SimSettings::default() };
    let mut sim = Sim::new(name(), settings, 1, now, Timestamp(0));
    let later = now + Duration::from_secs(10);
    let mut batches = 0;
    while sim.deadline().is_some_and(|due| due <= later) {
        let mut events = Vec::new();
        sim.on_time(later, &mut events);
        assert!(events.len() < 1100, "{}", events.len());
        batches += 1;
    }
    assert!(batches > 10, "{batches}");
}

#[tokio::test(start_paused = true)]
async fn a_house_that_is_slow_makes_it_wait_and_loses_nothing() {
    let settings = SimSettings { devices: 50, calls_per_second: 20.0, call_seconds: 1, ..SimSettings::default() };
    let mut ends = start(settings.clone(), 1);
    let mut heard = Vec::new();
    for _ in 0..100 {
        // The queue is full long before this.
        tokio::time::sleep(Duration::from_millis(500)).await;
        heard.extend(ends.events.recv().await.unwrap());
    }
    ends.stop.cancel();
    assert_eq!(ends.running.await.unwrap(), Ok(()));

    let now = std::time::Instant::now();
    let (mut sim, mut expected) = (Sim::new(name(), settings, 1, now, Timestamp(0)), Vec::new());
    while expected.len() < heard.len() {
        sim.on_time(sim.deadline().unwrap(), &mut expected);
    }
    assert!(heard.len() > 1000);
    assert_eq!(words(&heard), words(&expected[..heard.len()]));
}

#[tokio::test(start_paused = true)]
async fn at_a_high_rate_batches_grow_and_their_number_does_not() {
    let settings = SimSettings { devices: 20_000, calls_per_second: 2000.0, call_seconds: 1, ..SimSettings::default() };
    let mut ends = start(SimSettings { ring_seconds: 0, ..settings }, 1024);
    let (mut batches, mut calls) = (0, HashSet::<CallId>::new());
    let started = Instant::now();
    while calls.len() < 8000 {
        let batch = ends.events.recv().await.unwrap();
        batches += 1;
        calls.extend(batch.iter().filter(|event| kind(&event.body) == "Dialing").map(|event| event.call.id));
    }
    let passed = started.elapsed();
    assert!((3900..4100).contains(&passed.as_millis()), "8,000 calls took {passed:?}");
    assert!(batches <= 820, "{batches} batches, at most one in 5 ms");
}

#[tokio::test(start_paused = true)]
async fn commands_are_refused_also_while_nothing_happens_and_the_end_is_quiet() {
    for devices in [0, 10] {
        let ends = start(SimSettings { devices, ..SimSettings::default() }, 1024);
        let (answer, answered) = oneshot::channel();
        let action = Action::Drop { call: CallId(1) };
        ends.commands.send(Command { device: "sim-00001".parse().unwrap(), action, answer }).await.unwrap();
        let refused = CommandError::Unsupported { switch: name(), action: "drop" };
        assert_eq!(answered.await.unwrap(), Err(refused));
        ends.stop.cancel();
        assert_eq!(ends.running.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_takes_its_events() {
    let Ends { events, running, .. } = start(SimSettings::default(), 1);
    drop(events);
    assert_eq!(running.await.unwrap(), Err(SwitchError::Unheard(name())));
}

#[test]
fn a_call_begins_with_both_of_its_ends() {
    let now = std::time::Instant::now();
    let mut sim = Sim::new(name(), SimSettings::default(), 7, now, Timestamp(5));
    let mut events = Vec::new();
    sim.on_time(now, &mut events);
    let [caller, called] = events.as_slice() else { panic!("{events:?}") };
    assert!(matches!(
        (&caller.body, &called.body),
        (EventBody::Call(CallState::Dialing), EventBody::Call(CallState::Offered))
    ));
    assert_eq!((caller.at, caller.call.id, called.call.id), (Timestamp(5), CallId(7), CallId(10)));
    assert_eq!(caller.call.switch_call, called.call.switch_call);
    assert_eq!(caller.call.calling.uri, format!("sip:{}@sim.invalid", caller.device));
    assert_eq!(called.call.called.uri, format!("sip:{}@sim.invalid", called.device));
    assert_ne!(caller.device, called.device);
}
