//! The events that are sent: the same 200 bytes or so from every server.

use std::sync::Arc;

use bytes::Bytes;
use callgate::model::{
    CallDirection, CallId, CallRef, CallState, Codec, EventBody, Generation, KeyMaterial, LineNumber, MasterKey,
    MediaOpened, Party, Protection, Secret, SessionParameters, StreamDirection, StreamId, Suite, SwitchEvent,
    Timestamp,
};
use callgate_wire::{HEADER_LEN, encode_frame, v1};

/// The device that they are of.
pub const DEVICE: &str = "1001";
/// One without any.
pub const OTHER_DEVICE: &str = "2001";

const SINCE: Timestamp = Timestamp(1_700_000_000_000_000);
/// Where the numbers of the bare servers' events begin: from here on they are four bytes long.
const BARE_BASE: u64 = 1 << 21;

/// What events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The state of a call.
    Call,
    /// A stream and its key.
    Keys,
}

/// Makes events as a switch reports them.
pub struct Source {
    call: Arc<CallRef>,
    body: EventBody,
}

impl Source {
    pub fn new(subject: Subject) -> Self {
        let (sip_call_id, calling) = match subject {
            Subject::Call => ("8a6fd2b1-4c5e-4f5a-9a53-0c8f7e1d2b3a@192.0.2.10", "Reception, ground floor"),
            Subject::Keys => ("8a6f", ""),
        };
        let call = CallRef {
            id: CallId(1_700_000_000_000_001),
            switch: "bench".parse().unwrap(),
            switch_call: None,
            sip_call_id: sip_call_id.into(),
            direction: CallDirection::Incoming,
            calling: Party { uri: "sip:1002@pbx.example".into(), name: calling.into() },
            called: Party { uri: "sip:1001@pbx.example".into(), name: String::new() },
        };
        let body = match subject {
            Subject::Call => EventBody::Call(CallState::Connected),
            Subject::Keys => EventBody::MediaOpened(media(Generation(1))),
        };
        Self { call: Arc::new(call), body }
    }

    pub fn event(&self) -> SwitchEvent {
        SwitchEvent {
            at: SINCE,
            device: DEVICE.parse().unwrap(),
            line: LineNumber::FIRST,
            call: Arc::clone(&self.call),
            body: self.body.clone(),
        }
    }

    /// An event with a key that nobody has seen before, made then.
    pub fn fresh(&self, generation: u32, at: i64) -> SwitchEvent {
        let body = EventBody::MediaOpened(media(Generation(generation)));
        SwitchEvent { at: Timestamp(at), body, ..self.event() }
    }
}

fn media(generation: Generation) -> MediaOpened {
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::new(suite, &Secret::new((0..30).collect()), None, None).unwrap();
    let keys = Arc::new(KeyMaterial::new(suite, vec![master], SessionParameters::default()).unwrap());
    MediaOpened {
        stream: StreamId(1),
        direction: StreamDirection::Received,
        destination: "192.0.2.1:4000".parse().unwrap(),
        likely_source: None,
        media: "audio".into(),
        codecs: Arc::new([Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }]),
        protection: Protection::Keyed { generation, since: SINCE, keys },
    }
}

/// A frame like Callgate's, in which only the number changes: what a server sends that knows nothing.
pub struct Template {
    frame: Vec<u8>,
    number_at: usize,
}

impl Template {
    pub fn new() -> Self {
        let body = v1::CallStateChanged {
            state: v1::CallState::Connected.into(),
            direction: v1::CallDirection::Incoming.into(),
            calling: Some(v1::Party { uri: "sip:1002@pbx.example".into(), name: "Reception, ground floor".into() }),
            called: Some(v1::Party { uri: "sip:1001@pbx.example".into(), name: String::new() }),
            ..Default::default()
        };
        let call = v1::CallRef {
            id: CallId(1_700_000_000_000_001).to_string(),
            switch: "bench".into(),
            sip_call_id: "8a6fd2b1-4c5e-4f5a-9a53-0c8f7e1d2b3a@192.0.2.10".into(),
            ..Default::default()
        };
        let event = v1::Event {
            device: DEVICE.into(),
            line: 1,
            class: v1::EventClass::Call.into(),
            number: BARE_BASE,
            class_number: 1,
            at_unix_micros: SINCE.0,
            call: Some(call),
            body: Some(v1::event::Body::CallState(body)),
        };
        let message = v1::ToApp { reply_to: 0, message: Some(v1::to_app::Message::Event(event)) };
        let mut frame = Vec::new();
        encode_frame(&message, &mut frame);
        let number = number_bytes(BARE_BASE);
        let number_at = frame.windows(4).position(|window| window == number).unwrap();
        Self { frame, number_at }
    }

    /// The frame of the event with this number, from 0.
    pub fn frame(&self, number: u64) -> Bytes {
        let mut frame = self.frame.clone();
        frame[self.number_at..self.number_at + 4].copy_from_slice(&number_bytes(BARE_BASE + number));
        frame.into()
    }
}

/// The number of the first event.
pub fn first_number(is_bare: bool) -> u64 {
    if is_bare { BARE_BASE } else { 1 }
}

/// A protobuf varint of four bytes.
fn number_bytes(number: u64) -> [u8; 4] {
    let group = |shift: u32| (number >> shift & 0x7f) as u8;
    [group(0) | 0x80, group(7) | 0x80, group(14) | 0x80, group(21)]
}

/// The number of the event in a frame without its header; `None` if it is another message.
///
/// It decodes no more than that, so that the load is no slower than the servers.
pub fn number(message: &[u8]) -> Option<u64> {
    const EVENT: u64 = 11 << 3 | 2;
    const NUMBER: u64 = 4 << 3;
    let mut rest = message;
    if varint(&mut rest)? != EVENT {
        return None;
    }
    varint(&mut rest)?;
    loop {
        let key = varint(&mut rest)?;
        let value = varint(&mut rest)?;
        match key {
            NUMBER => return Some(value),
            key if key & 7 == 2 => rest = rest.get(value as usize..)?,
            key if key & 7 == 0 => {}
            _ => return None,
        }
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// The messages in `bytes`, each without its header, and how many bytes they take.
pub fn messages(bytes: &[u8], mut take: impl FnMut(&[u8])) -> usize {
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk::<HEADER_LEN>() {
        let end = at + HEADER_LEN + u32::from_be_bytes(*header) as usize;
        let Some(message) = bytes.get(at + HEADER_LEN..end) else { break };
        take(message);
        at = end;
    }
    at
}
