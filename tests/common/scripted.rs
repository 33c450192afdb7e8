//! A switch that reports what the test tells it to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use callgate::{
    model::{
        CallDirection, CallId, CallRef, CallState, Codec, EndCause, EventBatch, EventBody, Generation, KeyMaterial,
        LineNumber, MasterKey, MediaOpened, MediaStopped, Party, Protection, Secret, SessionParameters, StopCause,
        StreamDirection, StreamId, Suite, SwitchEvent, SwitchName, Timestamp,
    },
    switch::{Running, Switch, SwitchIo},
};
use tokio::sync::mpsc;

use super::leaks;

pub fn switch() -> (Box<dyn Switch>, Script) {
    let (sender, receiver) = mpsc::channel(64);
    (Box::new(Scripted { name: "scripted".parse().unwrap(), script: receiver }), Script(sender))
}

struct Scripted {
    name: SwitchName,
    script: mpsc::Receiver<Vec<SwitchEvent>>,
}

impl Switch for Scripted {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(mut self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = io.stop.cancelled() => return Ok(()),
                    batch = self.script.recv() => match batch {
                        Some(events) => {
                            io.events.send(EventBatch { arrived: Instant::now(), events }).await.unwrap();
                        }
                        None => return Ok(()),
                    },
                }
            }
        })
    }
}

#[derive(Clone)]
pub struct Script(mpsc::Sender<Vec<SwitchEvent>>);

impl Script {
    pub async fn say(&self, events: Vec<SwitchEvent>) {
        self.0.send(events).await.unwrap();
    }
}

/// A key that no other test has, and that is searched for from now on.
pub fn fresh_key() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let mut state = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let key: Vec<u8> = (0..30)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .collect();
    leaks::watch_key(&key);
    key
}

pub struct Call {
    device: &'static str,
    names: Arc<CallRef>,
}

/// A call of a device; `id` tells calls apart.
pub fn call(device: &'static str, id: u64) -> Call {
    let names = CallRef {
        id: CallId(id),
        switch: "scripted".parse().unwrap(),
        switch_call: None,
        sip_call_id: format!("call-{id}@test"),
        direction: CallDirection::Incoming,
        calling: Party { uri: "sip:1002@test".into(), name: "Phone 1002".into() },
        called: Party { uri: "sip:1001@test".into(), name: String::new() },
    };
    Call { device, names: Arc::new(names) }
}

impl Call {
    pub fn event(&self, body: EventBody) -> SwitchEvent {
        SwitchEvent {
            at: Timestamp(1_700_000_000_000_000),
            device: self.device.parse().unwrap(),
            line: LineNumber::FIRST,
            call: Arc::clone(&self.names),
            body,
        }
    }

    pub fn state(&self, state: CallState) -> SwitchEvent {
        self.event(EventBody::Call(state))
    }

    pub fn ended(&self) -> SwitchEvent {
        self.state(CallState::Ended(EndCause::Hangup))
    }

    /// A stream with this key; `None`: not encrypted.
    pub fn opened(&self, stream: u64, generation: u32, key: Option<&[u8]>) -> SwitchEvent {
        let suite = Suite::AesCm128HmacSha1_80;
        let protection = key.map_or(Protection::Clear, |key| {
            let master = MasterKey::new(suite, &Secret::new(key.to_vec()), None, None).unwrap();
            let keys = Arc::new(KeyMaterial::new(suite, vec![master], SessionParameters::default()).unwrap());
            Protection::Keyed { generation: Generation(generation), since: Timestamp(1_700_000_000_000_000), keys }
        });
        self.event(EventBody::MediaOpened(MediaOpened {
            stream: StreamId(stream),
            direction: StreamDirection::Received,
            destination: "127.0.0.1:4000".parse().unwrap(),
            likely_source: Some("127.0.0.1:5000".parse().unwrap()),
            media: "audio".into(),
            codecs: Arc::new([Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }]),
            protection,
        }))
    }

    pub fn stopped(&self, stream: u64, generation: u32, cause: StopCause) -> SwitchEvent {
        self.event(EventBody::MediaStopped(MediaStopped {
            stream: StreamId(stream),
            direction: StreamDirection::Received,
            generation: Some(Generation(generation)),
            cause,
        }))
    }
}
