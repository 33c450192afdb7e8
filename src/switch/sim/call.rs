//! One simulated call: two legs through a PBX, as the tracker would tell of them.
//!
//! Its course is drawn when it begins. A leg has two streams; media go between device and PBX, and each leg has keys of
//! its own, as behind a PBX that isn't a mere proxy.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use super::{SimSettings, draw::Draw};
use crate::model::{
    CallDirection, CallId, CallRef, CallState, Cipher, Codec, DeviceName, EndCause, EventBody, Generation, KeyMaterial,
    LineNumber, MediaOpened, MediaStopped, Party, Protection, StopCause, StreamDirection, StreamId, Suite, SwitchEvent,
    SwitchName, Timestamp,
};

/// From the INVITE to the ringing.
const SETUP: Duration = Duration::from_millis(200);
/// Of the calls that nobody answers, the called device refuses so many of 100; the others are given up.
const REFUSED_PERCENT: u8 = 50;
/// `486 Busy Here` (RFC 3261, 21.4.24).
const BUSY: u16 = 486;
/// Of 100 holds, the other end hears of so many; of the others the PBX tells it nothing, and plays music.
const HOLD_PASSED_ON_PERCENT: u8 = 50;
/// Of 100 calls on hold, so many end so.
const NEVER_RESUMED_PERCENT: u8 = 10;
/// Devices are in the network for benchmarks (RFC 2544), and the PBX is in one for documentation (RFC 5737).
const DEVICES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const PBX: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DEVICE_PORT: u16 = 16384;
const PBX_FIRST_PORT: u16 = 10_000;
/// The PBX has so many streams at one address.
const STREAMS_PER_ADDRESS: u32 = 25_000;

/// What all calls have in common.
pub(super) struct Common {
    pub(super) switch: SwitchName,
    pub(super) next_id: u64,
    /// When the simulation began.
    pub(super) start: Timestamp,
    pub(super) media: Arc<str>,
    pub(super) codecs: Arc<[Codec]>,
}

/// A device and its place among all.
pub(super) struct Device {
    pub(super) place: u32,
    pub(super) name: DeviceName,
}

pub(super) struct Call {
    number: u64,
    /// The caller's leg, and the called device's.
    legs: [Leg; 2],
    /// `None`: its media are in the clear.
    suite: Option<Suite>,
    /// What is still to come, the next at the end.
    course: Vec<(Duration, Step)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Invite,
    Ring,
    Answer,
    Hold { by: Side, passed_on: bool },
    Resume { by: Side, passed_on: bool },
    Rekey,
    End { by: Side, cause: EndCause },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Caller,
    Called,
}

struct Leg {
    device: Device,
    call: Arc<CallRef>,
    sent: Stream,
    received: Stream,
}

struct Stream {
    id: StreamId,
    destination: SocketAddr,
    source: SocketAddr,
    /// `None`: in the clear.
    keyed: Option<Keyed>,
    flows: bool,
}

#[derive(Clone)]
struct Keyed {
    generation: Generation,
    since: Timestamp,
    keys: Arc<KeyMaterial>,
}

impl Call {
    /// A call that begins at `at`, of the first of `devices` to the second.
    pub(super) fn new(
        number: u64,
        at: Duration,
        devices: [Device; 2],
        settings: &SimSettings,
        draw: &mut Draw,
        common: &mut Common,
    ) -> Self {
        let suite = draw.one(&settings.suites).filter(|_| draw.chance(settings.secure_percent));
        // Without a cipher the media can be read: the tracker counts that as clear, too.
        let suite = suite.filter(|suite| suite.cipher() != Cipher::Null);
        let course = course(at, settings, suite.is_some(), draw);
        let [calling, called] = devices
            .each_ref()
            .map(|device| Party { uri: format!("sip:{}@{}.invalid", device.name, common.switch), name: String::new() });
        let [caller, callee] = devices;
        let mut leg = |device, side| Leg::new(device, side, number, [&calling, &called], common);
        let legs = [leg(caller, Side::Caller), leg(callee, Side::Called)];
        Self { number, legs, suite, course }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The places of its devices.
    pub(super) fn places(&self) -> [u32; 2] {
        self.legs.each_ref().map(|leg| leg.device.place)
    }

    /// When the next step is due, after the start of the simulation. `None`: it is over.
    pub(super) fn due(&self) -> Option<Duration> {
        self.course.last().map(|(at, _)| *at)
    }

    /// Does the next step.
    pub(super) fn step(&mut self, settings: &SimSettings, common: &Common, out: &mut Vec<SwitchEvent>) {
        let Some((at, step)) = self.course.pop() else { return };
        let passed = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
        let at = Timestamp(common.start.0.saturating_add(passed));
        let [caller, called] = &mut self.legs;
        match step {
            Step::Invite => {
                caller.tell(CallState::Dialing, at, out);
                called.tell(CallState::Offered, at, out);
            }
            Step::Ring => {
                called.tell(CallState::Alerting, at, out);
                caller.tell(CallState::Alerting, at, out);
            }
            Step::Answer => {
                let keys = self.suite.map(|suite| fresh_keys(settings, self.number, Generation::FIRST, suite));
                let mut keys = keys.into_iter().flatten();
                for leg in [called, caller] {
                    leg.tell(CallState::Connected, at, out);
                    for stream in StreamDirection::BOTH {
                        leg.key(stream, keys.next().map(|keys| (Generation::FIRST, keys)), at);
                        leg.open(stream, at, common, out);
                    }
                }
            }
            Step::Hold { by, passed_on } => {
                let (holder, other) = by.of(caller, called);
                holder.tell(CallState::Held, at, out);
                holder.stop(StreamDirection::Received, StopCause::Hold, at, out);
                if passed_on {
                    other.tell(CallState::HeldByRemote, at, out);
                    other.stop(StreamDirection::Sent, StopCause::Hold, at, out);
                }
            }
            Step::Resume { by, passed_on } => {
                let (holder, other) = by.of(caller, called);
                holder.tell(CallState::Connected, at, out);
                holder.open(StreamDirection::Received, at, common, out);
                if passed_on {
                    other.tell(CallState::Connected, at, out);
                    other.open(StreamDirection::Sent, at, common, out);
                }
            }
            Step::Rekey => {
                let Some(suite) = self.suite else { return };
                let generation = Generation::FIRST.next();
                let mut keys = fresh_keys(settings, self.number, generation, suite).into_iter();
                for leg in [caller, called] {
                    for stream in StreamDirection::BOTH {
                        leg.rekey(stream, keys.next().map(|keys| (generation, keys)), at, common, out);
                    }
                }
            }
            Step::End { by, cause } => {
                let (first, second) = by.of(caller, called);
                for leg in [first, second] {
                    leg.end(cause, at, out);
                }
            }
        }
    }
}

/// What happens when. The last comes first, since steps are taken from the end.
fn course(at: Duration, settings: &SimSettings, secure: bool, draw: &mut Draw) -> Vec<(Duration, Step)> {
    let ring = at + draw.part(SETUP, 100, 1000);
    let answer = ring + draw.part(Duration::from_secs(settings.ring_seconds.into()), 500, 1500);
    let mut course = vec![(at, Step::Invite), (ring, Step::Ring)];
    if draw.chance(settings.unanswered_percent) {
        let (by, cause) = match draw.chance(REFUSED_PERCENT) {
            true => (Side::Called, EndCause::Rejected(BUSY)),
            false => (Side::Caller, EndCause::Cancelled),
        };
        course.push((answer, Step::End { by, cause }));
    } else {
        let talk = draw.part(Duration::from_secs(settings.call_seconds.into()), 500, 1500);
        let mut later = vec![(answer + talk, Step::End { by: side(draw), cause: EndCause::Hangup })];
        if draw.chance(settings.hold_percent) {
            let (by, passed_on) = (side(draw), draw.chance(HOLD_PASSED_ON_PERCENT));
            later.push((answer + draw.part(talk, 200, 400), Step::Hold { by, passed_on }));
            if !draw.chance(NEVER_RESUMED_PERCENT) {
                later.push((answer + draw.part(talk, 500, 700), Step::Resume { by, passed_on }));
            }
        }
        if secure && draw.chance(settings.rekey_percent) {
            later.push((answer + draw.part(talk, 100, 900), Step::Rekey));
        }
        later.sort_by_key(|(at, _)| *at);
        course.push((answer, Step::Answer));
        course.append(&mut later);
    }
    course.reverse();
    course
}

fn side(draw: &mut Draw) -> Side {
    if draw.chance(50) { Side::Caller } else { Side::Called }
}

/// One for each direction of each leg.
fn fresh_keys(settings: &SimSettings, call: u64, generation: Generation, suite: Suite) -> [Arc<KeyMaterial>; 4] {
    let mut draw = Draw::keys(settings.seed, call, generation);
    std::array::from_fn(|_| draw.key_material(suite))
}

impl Side {
    /// Whoever is on this side, and the other.
    fn of<'a>(self, caller: &'a mut Leg, called: &'a mut Leg) -> (&'a mut Leg, &'a mut Leg) {
        match self {
            Self::Caller => (caller, called),
            Self::Called => (called, caller),
        }
    }
}

impl Leg {
    fn new(device: Device, side: Side, number: u64, [calling, called]: [&Party; 2], common: &mut Common) -> Self {
        let (direction, leg) = match side {
            Side::Caller => (CallDirection::Outgoing, 'a'),
            Side::Called => (CallDirection::Incoming, 'b'),
        };
        let switch = &common.switch;
        let call = CallRef {
            id: CallId(common.next_id),
            switch: switch.clone(),
            switch_call: Some(format!("{switch}-{number}")),
            sip_call_id: format!("{number}-{leg}@{switch}.invalid"),
            direction,
            calling: calling.clone(),
            called: called.clone(),
        };
        let [at_device, at_pbx] = media_addresses(device.place);
        let stream =
            |id, source, destination| Stream { id: StreamId(id), destination, source, keyed: None, flows: false };
        let sent = stream(common.next_id + 1, at_device, at_pbx);
        let received = stream(common.next_id + 2, at_pbx, at_device);
        common.next_id += 3;
        Self { device, call: call.into(), sent, received }
    }

    fn tell(&self, state: CallState, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        out.push(self.event(EventBody::Call(state), at));
    }

    /// Gives a stream its key material, if there is any.
    fn key(&mut self, direction: StreamDirection, keys: Option<(Generation, Arc<KeyMaterial>)>, at: Timestamp) {
        self.stream(direction).keyed = keys.map(|(generation, keys)| Keyed { generation, since: at, keys });
    }

    fn open(&mut self, direction: StreamDirection, at: Timestamp, common: &Common, out: &mut Vec<SwitchEvent>) {
        let stream = self.stream(direction);
        stream.flows = true;
        let opened = MediaOpened {
            stream: stream.id,
            direction,
            destination: stream.destination,
            likely_source: Some(stream.source),
            media: Arc::clone(&common.media),
            codecs: Arc::clone(&common.codecs),
            protection: match stream.keyed.clone() {
                None => Protection::Clear,
                Some(Keyed { generation, since, keys }) => Protection::Keyed { generation, since, keys },
            },
        };
        out.push(self.event(EventBody::MediaOpened(opened), at));
    }

    fn stop(&mut self, direction: StreamDirection, cause: StopCause, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        let stream = self.stream(direction);
        stream.flows = false;
        let generation = stream.keyed.as_ref().map(|keyed| keyed.generation);
        let stopped = MediaStopped { stream: stream.id, direction, generation, cause };
        out.push(self.event(EventBody::MediaStopped(stopped), at));
    }

    /// A stream that flows is opened anew; of one on hold only the new generation is told (R22).
    fn rekey(
        &mut self,
        direction: StreamDirection,
        keys: Option<(Generation, Arc<KeyMaterial>)>,
        at: Timestamp,
        common: &Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        if self.stream(direction).flows {
            self.stop(direction, StopCause::Changed, at, out);
            self.key(direction, keys, at);
            self.open(direction, at, common, out);
        } else if let Some((generation, material)) = keys {
            self.key(direction, Some((generation, Arc::clone(&material))), at);
            let stream = self.stream(direction).id;
            out.push(self.event(EventBody::MediaKeyed { stream, generation, keys: material }, at));
        }
    }

    /// Media first, those on hold too, then the call.
    fn end(&mut self, cause: EndCause, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if cause == EndCause::Hangup {
            for direction in StreamDirection::BOTH {
                self.stop(direction, StopCause::Ended, at, out);
            }
        }
        self.tell(CallState::Ended(cause), at, out);
    }

    fn stream(&mut self, direction: StreamDirection) -> &mut Stream {
        match direction {
            StreamDirection::Sent => &mut self.sent,
            StreamDirection::Received => &mut self.received,
        }
    }

    fn event(&self, body: EventBody, at: Timestamp) -> SwitchEvent {
        SwitchEvent {
            at,
            device: self.device.name.clone(),
            line: LineNumber::FIRST,
            call: Arc::clone(&self.call),
            body,
        }
    }
}

/// Where a device and, for it, the PBX receive.
pub(super) fn media_addresses(place: u32) -> [SocketAddr; 2] {
    let device = Ipv4Addr::from_bits(DEVICES.to_bits().saturating_add(place).saturating_add(1));
    let pbx = Ipv4Addr::from_bits(PBX.to_bits().saturating_add(place / STREAMS_PER_ADDRESS));
    // Even ports, below 60,000.
    let offset = u16::try_from(place % STREAMS_PER_ADDRESS).unwrap_or_default().saturating_mul(2);
    [(device, DEVICE_PORT).into(), (pbx, PBX_FIRST_PORT.saturating_add(offset)).into()]
}
