use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    model::{
        Address, CallDirection, CallId, CallRef, CallState, DeviceName, EventBatch, EventBody, LineNumber, SwitchEvent,
    },
    switch::{
        Action, Command, CommandError, KnownDevices,
        capture::{Capture, PacketKind},
        feed::Refusal,
    },
};

const SECOND: i64 = 1_000_000;

/// What a feed is told of devices at once.
type Told = Vec<(Address, DeviceName)>;

/// Makes an event of each datagram and of each deadline, and notes what it saw.
#[derive(Default)]
struct Fake {
    seen: Arc<Mutex<Vec<(Timestamp, Instant)>>>,
    /// What it was told of devices, each time.
    devices: Arc<Mutex<Vec<Told>>>,
    /// Deadlines to come, latest first.
    deadlines: Vec<Instant>,
    stuck: bool,
}

impl Feed for Fake {
    fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        arrived: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), Refusal> {
        self.seen.lock().unwrap().push((arrived, now));
        if datagram.ends_with(b"bad") {
            return Err(Refusal::MalformedHep);
        }
        out.push(event("phone", arrived));
        Ok(())
    }

    fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        self.devices.lock().unwrap().push(devices.to_vec());
    }

    fn on_time(&mut self, _: Instant, out: &mut Vec<SwitchEvent>) {
        if !self.stuck {
            self.deadlines.pop();
        }
        out.push(event("timer", Timestamp(0)));
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadlines.last().copied()
    }
}

pub(super) fn event(device: &str, at: Timestamp) -> SwitchEvent {
    let call = Arc::new(CallRef {
        id: CallId(1),
        switch: "replay".parse().unwrap(),
        switch_call: None,
        sip_call_id: "a@b".into(),
        direction: CallDirection::Outgoing,
        calling: Default::default(),
        called: Default::default(),
    });
    let (device, line) = (device.parse().unwrap(), LineNumber::FIRST);
    SwitchEvent { at, device, line, call, body: EventBody::Call(CallState::Dialing) }
}

fn packet(at: i64, payload: &[u8]) -> Result<Packet, CaptureError> {
    let (source, destination) = ("127.0.0.1:1000".parse().unwrap(), "127.0.0.1:2000".parse().unwrap());
    Ok(Packet { at: Timestamp(at), source, destination, payload: payload.to_vec().into(), cut: false })
}

fn rtp(at: i64) -> Result<Packet, CaptureError> {
    packet(at, &[0x80; 12])
}

type Packets = std::vec::IntoIter<Result<Packet, CaptureError>>;

fn player(
    packets: Vec<Result<Packet, CaptureError>>,
    feed: Fake,
    speed: Speed,
    start: Instant,
) -> Player<Packets, Fake> {
    Player::new(packets.into_iter(), feed, speed, start)
}

/// When a step is due, the devices of its events, whether it has media.
type Played = (Duration, Vec<String>, bool);

fn steps<P, F>(player: &mut Player<P, F>) -> (Vec<Played>, Result<(), ReplayError>)
where
    P: Iterator<Item = Result<Packet, CaptureError>>,
    F: Feed,
{
    let mut steps = vec![];
    loop {
        match player.step() {
            Ok(Some(Step { due, events, media, .. })) => {
                let devices = events.iter().map(|event| event.device.to_string()).collect();
                steps.push((due, devices, media.is_some()));
            }
            Ok(None) => return (steps, Ok(())),
            Err(error) => return (steps, Err(error)),
        }
    }
}

#[test]
fn packets_are_due_as_far_apart_as_they_were_captured() {
    let packets = || vec![packet(10 * SECOND, b"HEP3"), rtp(11 * SECOND), rtp(11 * SECOND), rtp(14 * SECOND)];
    for (speed, due) in [
        (Speed::REAL_TIME, [0, 1000, 1000, 4000]),
        (Speed::times(4.0).unwrap(), [0, 250, 250, 1000]),
        (Speed::times(0.5).unwrap(), [0, 2000, 2000, 8000]),
        (Speed::AtOnce, [0, 0, 0, 0]),
    ] {
        let (steps, result) = steps(&mut player(packets(), Fake::default(), speed, Instant::now()));
        assert_eq!(steps.iter().map(|step| step.0).collect::<Vec<_>>(), due.map(Duration::from_millis));
        assert_eq!(steps.iter().map(|step| step.2).collect::<Vec<_>>(), [false, true, true, true]);
        assert_eq!(result, Ok(()));
    }
}

#[test]
fn the_feed_s_clock_is_the_capture_s_at_any_speed_and_never_goes_back() {
    let start = Instant::now();
    for speed in [Speed::AtOnce, Speed::REAL_TIME, Speed::Times(100.0)] {
        let fake = Fake::default();
        let seen = fake.seen.clone();
        let times = [50, 55, 52, 7000, i64::MAX / SECOND, i64::MIN / SECOND];
        let packets = times.map(|seconds| packet(seconds * SECOND, b"HEP3")).to_vec();
        steps(&mut player(packets, fake, speed, start)).1.unwrap();
        let seen: Vec<_> = seen.lock().unwrap().iter().map(|(at, now)| (at.0 / SECOND, *now - start)).collect();
        assert_eq!(
            seen[..4],
            [0, 5, 5, 6950]
                .map(Duration::from_secs)
                .into_iter()
                .enumerate()
                .map(|(i, now)| (times[i], now))
                .collect::<Vec<_>>()
        );
        assert!(seen.windows(2).all(|two| two[0].1 <= two[1].1), "{seen:?}");
    }
}

#[test]
fn what_the_feed_has_to_do_comes_in_its_place() {
    let start = Instant::now();
    let at = |millis| start + Duration::from_millis(millis);
    let feed = Fake { deadlines: [9000, 3500, 2500, 1500, 1500].map(at).to_vec(), ..Default::default() };
    let packets = vec![packet(0, b"HEP3"), packet(2 * SECOND, b"HEP3"), packet(3 * SECOND, b"HEP3")];
    let (steps, result) = steps(&mut player(packets, feed, Speed::REAL_TIME, start));
    let steps: Vec<_> = steps.iter().map(|(due, devices, _)| (due.as_millis(), devices[0].as_str())).collect();
    // The second of two equal deadlines has no time of its own: it comes just before the next packet.
    let expected = [
        (0, "phone"),
        (1500, "timer"),
        (2000, "timer"),
        (2000, "phone"),
        (2500, "timer"),
        (3000, "phone"),
        (3500, "timer"),
    ];
    assert_eq!(steps, expected);
    assert_eq!(result, Ok(()));
}

#[test]
fn a_feed_whose_deadline_stands_still_does_not_stop_the_capture() {
    let start = Instant::now();
    let feed = Fake { deadlines: vec![start], stuck: true, ..Default::default() };
    let (steps, result) = steps(&mut player(vec![packet(0, b"HEP3"), rtp(1)], feed, Speed::AtOnce, start));
    // Once for each packet, and once to settle; times that don't move call nobody.
    assert_eq!((steps.len(), result), (5, Ok(())));
}

#[test]
fn packets_are_counted_by_kind_and_refusals_by_theirs() {
    let packets = vec![
        packet(0, b"HEP3 good"),
        packet(0, b"HEP3 bad"),
        packet(0, b"HEP3 very bad"),
        rtp(0),
        packet(0, &[0x80, 200, 0, 0, 0, 0, 0, 0]),
        packet(0, b"DNS"),
        packet(0, &[0x80; 20]).map(|packet| Packet { cut: true, ..packet }),
    ];
    let mut player = player(packets, Fake::default(), Speed::AtOnce, Instant::now());
    steps(&mut player).1.unwrap();
    let feed = FeedCounts { datagrams: 3, refused: BTreeMap::from([(Refusal::MalformedHep, 2)]) };
    assert_eq!(*player.counts(), ReplayCounts { feed, rtp: 2, rtcp: 1, other: 1, cut: 1 });
    assert_eq!(
        player.counts().to_string(),
        "3 HEP datagrams (2 refused: malformed HEP), 2 RTP packets, 1 cut by the capture's snap length"
    );
}

#[test]
fn a_capture_whose_hep_is_of_no_use_is_not_played_as_if_nothing_had_happened() {
    let played = |cut| {
        let bad = packet(0, b"HEP3 bad").map(|packet| Packet { cut, ..packet });
        steps(&mut player(vec![bad, rtp(0)], Fake::default(), Speed::AtOnce, Instant::now())).1.unwrap_err().to_string()
    };
    assert_eq!(
        played(true),
        "no HEP in the capture can be used (played: 1 HEP datagrams (1 refused: malformed HEP), 1 RTP packets, 1 cut by the \
         capture's snap length): record whole packets (snap length 0), HEPv3 and not compressed"
    );
    assert!(played(false).starts_with("no HEP in the capture can be used"));
}

#[test]
fn a_capture_without_hep_and_a_truncated_one_are_named_after_they_were_played() {
    let (steps_, result) = steps(&mut player(vec![rtp(0), rtp(1)], Fake::default(), Speed::AtOnce, Instant::now()));
    assert_eq!(steps_.len(), 2);
    assert_eq!(result, Err(ReplayError::NoHep { counts: ReplayCounts { rtp: 2, ..Default::default() } }));

    let error = CaptureError::Truncated { byte: 99, record: 2, packets: 1 };
    let feed = FeedCounts { datagrams: 1, ..Default::default() };
    let packets = vec![packet(0, b"HEP3"), Err(error.clone())];
    let (steps_, result) = steps(&mut player(packets, Fake::default(), Speed::AtOnce, Instant::now()));
    assert_eq!(steps_.len(), 1);
    assert_eq!(result, Err(ReplayError::Capture { error, counts: ReplayCounts { feed, ..Default::default() } }));
}

#[test]
fn only_speeds_above_zero_can_be_played() {
    assert_eq!(Speed::times(1.0), Ok(Speed::REAL_TIME));
    for wrong in [0.0, -1.0, f64::INFINITY] {
        assert_eq!(Speed::times(wrong), Err(SpeedError(wrong)));
    }
    assert!(Speed::times(f64::NAN).is_err());
}

struct Ends {
    events: mpsc::Receiver<EventBatch>,
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
}

fn io(capacity: usize) -> (SwitchIo, Ends) {
    let (events, events_out) = mpsc::channel(capacity);
    let (commands_in, commands) = mpsc::channel(4);
    let stop = CancellationToken::new();
    (SwitchIo::new(events, commands, stop.clone()), Ends { events: events_out, commands: commands_in, stop })
}

fn replay(packets: Vec<Result<Packet, CaptureError>>, speed: Speed) -> Box<Replay> {
    Box::new(Replay::new("replay".parse().unwrap(), packets.into_iter(), Fake::default(), speed))
}

#[tokio::test(start_paused = true)]
async fn a_capture_is_played_in_its_own_time_and_to_its_end() {
    let (media, mut media_out) = mpsc::channel(8);
    let (counts, counts_out) = oneshot::channel();
    let packets = vec![packet(5 * SECOND, b"HEP3"), rtp(6 * SECOND), packet(65 * SECOND, b"HEP3")];
    let replay = replay(packets, Speed::Times(2.0)).with_media(media).with_counts(counts);
    let (io, mut ends) = io(8);
    let begin = tokio::time::Instant::now();
    let running = tokio::spawn(Box::new(replay).run(io));

    assert_eq!(ends.events.recv().await.unwrap()[0].at, Timestamp(5 * SECOND));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(media_out.recv().await, Some(Heard::Event { call: CallId(1), at: Timestamp(5 * SECOND) }));
    let Some(Heard::Packet(heard)) = media_out.recv().await else { panic!("no packet") };
    assert_eq!(heard.at, Timestamp(6 * SECOND));
    assert_eq!(begin.elapsed(), Duration::from_millis(500));
    assert_eq!(ends.events.recv().await.unwrap()[0].at, Timestamp(65 * SECOND));
    assert_eq!(begin.elapsed(), Duration::from_secs(30));
    assert_eq!(running.await.unwrap(), Ok(()));
    assert_eq!(media_out.recv().await, Some(Heard::Event { call: CallId(1), at: Timestamp(65 * SECOND) }));
    assert_eq!((counts_out.await.unwrap().feed.datagrams, media_out.recv().await), (2, None));
}

#[tokio::test(start_paused = true)]
async fn devices_that_change_before_the_first_call_or_between_two_are_those_of_what_comes_then() {
    let feed = Fake::default();
    let told = Arc::clone(&feed.devices);
    let packets = [packet(0, b"HEP3"), packet(SECOND, b"HEP3"), packet(2 * SECOND, b"HEP3")];
    let replay = Replay::new("replay".parse().unwrap(), packets.into_iter(), feed, Speed::REAL_TIME);
    let replay = Box::new(replay.with_delay(Duration::from_secs(10)));
    let (mut io, mut ends) = io(8);
    let (known, devices) = watch::channel(Arc::<KnownDevices>::default());
    io.devices = devices;
    let running = tokio::spawn(replay.run(io));
    let change = |device: &str| {
        let addresses = vec![("udp:127.0.0.1:16010".parse().unwrap(), device.parse().unwrap())];
        known.send_replace(Arc::new(KnownDevices { addresses, ..KnownDevices::default() }));
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    change("2001");
    ends.events.recv().await.unwrap();
    assert_eq!(told.lock().unwrap().len(), 1);
    change("2002");
    ends.events.recv().await.unwrap();
    ends.events.recv().await.unwrap();
    let names: Vec<_> = told.lock().unwrap().iter().map(|devices| devices[0].1.to_string()).collect();
    assert_eq!(names, ["2001", "2002"]);
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_full_house_makes_the_replay_wait() {
    let (io, mut ends) = io(1);
    let running = tokio::spawn(replay((0..100).map(|i| packet(i, b"HEP3")).collect(), Speed::AtOnce).run(io));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!running.is_finished());
    for i in 0..100 {
        assert_eq!(ends.events.recv().await.unwrap()[0].at, Timestamp(i));
    }
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn every_command_is_refused_by_name_while_it_plays() {
    let (io, ends) = io(8);
    let running =
        tokio::spawn(replay(vec![packet(0, b"HEP3"), packet(3600 * SECOND, b"HEP3")], Speed::REAL_TIME).run(io));
    for action in
        [Action::Hold { call: CallId(1) }, Action::Make { line: LineNumber::FIRST, destination: "1002".into() }]
    {
        let (answer, answered) = oneshot::channel();
        let name = action.name();
        ends.commands.send(Command { device: "phone".parse().unwrap(), action, answer }).await.unwrap();
        let refused = answered.await.unwrap().unwrap_err();
        assert_eq!(refused, CommandError::Unsupported { switch: "replay".parse().unwrap(), action: name });
        assert_eq!(refused.to_string(), format!("the switch replay can't do this: {name}"));
    }
    assert!(!running.is_finished());
    ends.stop.cancel();
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_it_wherever_it_waits() {
    // For its time, for room for events, for room for media.
    let long = vec![packet(0, b"HEP3"), packet(3600 * SECOND, b"HEP3")];
    let many: Vec<_> = (0..100).map(|i| packet(i, b"HEP3")).collect();
    for packets in [long, many, vec![rtp(0), rtp(1), rtp(2)]] {
        let (media, _media_out) = mpsc::channel(1);
        let (io, ends) = io(1);
        let running = tokio::spawn(Box::new(replay(packets, Speed::REAL_TIME).with_media(media)).run(io));
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!running.is_finished());
        ends.stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
    }
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_without_media_and_ends_without_a_house() {
    let (media, media_out) = mpsc::channel(1);
    drop(media_out);
    let (house, ends) = io(8);
    let packets = vec![rtp(0), rtp(1), packet(2, b"HEP3")];
    assert_eq!(Box::new(replay(packets.clone(), Speed::AtOnce).with_media(media)).run(house).await, Ok(()));
    drop(ends);

    let (house, ends) = io(8);
    drop(ends);
    let unheard = SwitchError::Unheard("replay".parse().unwrap());
    assert_eq!(replay(packets, Speed::AtOnce).run(house).await, Err(unheard));
}

#[tokio::test]
async fn the_recorded_call_is_played_at_once() {
    let file: &[u8] = include_bytes!("../../../tests/data/asterisk22-hold/call.pcap");
    let (media, mut media_out) = mpsc::channel(16);
    let (io, mut ends) = io(16);
    let replay =
        Replay::new("replay".parse().unwrap(), Capture::from_reader(file).unwrap(), Fake::default(), Speed::AtOnce);
    let running = tokio::spawn(Box::new(replay.with_media(media)).run(io));
    let events = async { while ends.events.recv().await.is_some() {} };
    let media = async {
        let mut count = 0;
        while let Some(heard) = media_out.recv().await {
            let Heard::Packet(MediaPacket { at, source, destination, payload }) = heard else { continue };
            let packet = Packet { at, source, destination, payload: payload.to_vec().into(), cut: false };
            assert_eq!(packet.kind(), PacketKind::Rtp);
            count += 1;
        }
        count
    };
    let ((), count) = tokio::join!(events, media);
    assert_eq!(count, 558 + 404 + 405 + 557);
    assert_eq!(running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_capture_in_which_nothing_happens_stops_when_told_and_leaves_others_their_turn() {
    for payload in [&b"nothing"[..], &[0x80; 12], b"HEP3bad"] {
        let packets = (0..).map(move |at| packet(at, payload));
        let replay = Replay::new("replay".parse().unwrap(), packets, Fake::default(), Speed::AtOnce);
        let (events, _heard) = mpsc::channel(1);
        let (_orders, commands) = mpsc::channel(1);
        let stop = CancellationToken::new();
        // Both on this one thread: whoever never waits is never stopped.
        let running = tokio::spawn(Box::new(replay).run(SwitchIo::new(events, commands, stop.clone())));
        tokio::time::sleep(Duration::from_millis(5)).await;
        stop.cancel();
        assert_eq!(running.await.unwrap(), Ok(()));
    }
}
