//! The task that owns a session's connection: it reads, writes, beats, and hands answers and events on.
//!
//! It stops reading while the app's event queue is full, so that a slow app slows its own connection and nothing grows.
//! The one exception: as long as a request waits for its answer, events are kept aside up to a bound.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use callgate_wire::v1::{self, ErrorCode, ToApp, to_app, to_gateway};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use super::{
    error::{Closed, ProtocolError, Refusal, RequestError},
    event::{Event, EventClass},
    frames::frame,
    gap::Continuity,
    handshake::Opened,
    session::{Command, Events, Reply, Session, Shared},
};

/// The most events kept aside while a request waits for its answer.
const MAX_ASIDE: usize = 8192;
/// No request is taken while more than this waits to be written, in bytes.
const MAX_UNSENT: usize = 64 * 1024;
/// How long a last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

/// Starts the task of an open session, and returns its handles.
pub(super) fn start<S>(opened: Opened<S>, event_queue: usize) -> (Session, Events)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let interval = Duration::from_secs(opened.said.heartbeat_seconds.into());
    // Nobody needs the proof any more.
    let said = v1::Opened { scram_server_final: Bytes::new(), ..opened.said.clone() };
    let shared =
        Arc::new(Shared { said, heard: tokio::sync::watch::Sender::new(Instant::now()), closed: OnceLock::new() });
    let (commands, from_handles) = mpsc::channel(16);
    let (to_events, events) = mpsc::channel(event_queue);
    let driver = Driver {
        interval,
        shared: Arc::clone(&shared),
        commands: from_handles,
        events: to_events,
        aside: VecDeque::new(),
        waiting: HashMap::new(),
        last_request: 0,
        unsent: BytesMut::new(),
        continuity: Continuity::default(),
        closing: None,
    };
    tokio::spawn(driver.run(opened));
    (Session::new(commands, Arc::clone(&shared)), Events::new(events, shared))
}

struct Driver {
    interval: Duration,
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    /// Events that found the queue full.
    aside: VecDeque<Event>,
    /// Requests without an answer yet, by their ids.
    waiting: HashMap<u64, Reply>,
    last_request: u64,
    unsent: BytesMut,
    continuity: Continuity,
    closing: Option<oneshot::Sender<()>>,
}

impl Driver {
    async fn run<S: AsyncRead + AsyncWrite>(mut self, mut connection: Opened<S>) {
        let end = self.serve(&mut connection).await;
        // Nobody else sets it.
        let _ = self.shared.closed.set(end.clone());
        self.commands.close();
        let closed = || Err(RequestError::Closed(end.clone()));
        for (_, reply) in self.waiting.drain() {
            let _ = reply.send(closed());
        }
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Ask(_, reply) = command {
                let _ = reply.send(closed());
            }
        }
        if let Some(reason) = last_word(&end) {
            let close = v1::Close { reason: Some(reason.into()) };
            self.unsent.extend_from_slice(&frame(0, to_gateway::Message::Close(close)));
        } else {
            self.unsent.clear();
        }
        // Whoever doesn't take the last word is closed without it.
        let _ = timeout(GOODBYE, async {
            write_all(&mut connection.writer, &mut self.unsent).await?;
            connection.writer.shutdown().await
        })
        .await;
        drop(connection);
        drop(self.closing);
        for event in self.aside {
            if self.events.send(event).await.is_err() {
                break;
            }
        }
    }

    /// Serves the session until it ends.
    async fn serve<S: AsyncRead + AsyncWrite>(&mut self, connection: &mut Opened<S>) -> Closed {
        let mut beat = interval_at(Instant::now() + self.interval, self.interval);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_heard = Instant::now();
        let events = self.events.clone();
        let (mut asked_for, mut heard_by) = (true, true);
        let (mut paused, mut to_flush) = (false, false);
        loop {
            let may_read = self.may_read();
            if may_read && paused {
                // The silence was our own.
                last_heard = Instant::now();
            }
            paused = !may_read;
            to_flush |= !self.unsent.is_empty();
            tokio::select! {
                read = connection.reader.next(), if may_read => {
                    last_heard = Instant::now();
                    self.shared.heard.send_replace(last_heard);
                    match read {
                        Ok(message) => if let Some(end) = self.take(message) { return end; },
                        Err(error) => return error.into(),
                    }
                }
                permit = events.reserve(), if !self.aside.is_empty() => match (permit, self.aside.pop_front()) {
                    (Ok(permit), Some(event)) => permit.send(event),
                    _ => self.aside.clear(),
                },
                command = self.commands.recv(), if asked_for && self.unsent.len() < MAX_UNSENT => match command {
                    Some(Command::Ask(message, reply)) => {
                        self.last_request += 1;
                        self.unsent.extend_from_slice(&frame(self.last_request, message));
                        self.waiting.insert(self.last_request, reply);
                    }
                    Some(Command::Close(done)) => {
                        self.closing = Some(done);
                        return Closed::ByApp;
                    }
                    None if !heard_by => return Closed::ByApp,
                    None => asked_for = false,
                },
                written = write_all(&mut connection.writer, &mut self.unsent), if to_flush => {
                    to_flush = false;
                    if written.is_err() {
                        // The reason is at the other end: reading tells it, or the silence after it.
                        self.unsent.clear();
                    }
                }
                () = events.closed(), if heard_by => {
                    if !asked_for {
                        return Closed::ByApp;
                    }
                    heard_by = false;
                }
                _ = beat.tick() => {
                    if self.unsent.len() < MAX_UNSENT {
                        self.unsent.extend_from_slice(&frame(0, to_gateway::Message::Heartbeat(v1::Heartbeat {})));
                    }
                }
                () = sleep_until(last_heard + 2 * self.interval), if may_read => return Closed::HeartbeatTimeout,
            }
        }
    }

    /// Whether the connection may be read now. Requests that can't be answered because of it are told so.
    fn may_read(&mut self) -> bool {
        if self.aside.is_empty() {
            return true;
        }
        self.waiting.retain(|_, reply| !reply.is_closed());
        if self.aside.len() >= MAX_ASIDE {
            for (_, reply) in self.waiting.drain() {
                let _ = reply.send(Err(RequestError::EventsNotRead));
            }
        }
        !self.waiting.is_empty()
    }

    /// Takes one message in. Says if it was the last one.
    fn take(&mut self, message: ToApp) -> Option<Closed> {
        match message.message {
            Some(to_app::Message::Close(close)) => {
                return Some(Closed::ByGateway(Refusal::from_wire(close.reason)));
            }
            Some(to_app::Message::Event(event)) => {
                let event = Event::from(event);
                if let Some(gap) = event.head().and_then(|head| self.continuity.check(head)) {
                    self.hand_on(gap);
                }
                self.hand_on(event);
            }
            Some(to_app::Message::CapabilityChanged(changed)) => {
                self.hand_on(Event::CapabilityChanged(changed.into()));
            }
            Some(to_app::Message::DeviceOutOfService(out)) => {
                self.continuity.forget(&out.device, &out.lines);
                self.hand_on(Event::DeviceOutOfService(out.into()));
            }
            Some(to_app::Message::CertificateExpires(told)) => {
                self.hand_on(Event::CertificateExpires(told.into()));
            }
            Some(to_app::Message::GatewayLeaving(told)) => {
                self.hand_on(Event::GatewayLeaving(told.into()));
            }
            Some(to_app::Message::Probe(_)) => {
                // Whatever waits to be written says the same.
                if self.unsent.len() < MAX_UNSENT {
                    self.unsent.extend_from_slice(&frame(0, to_gateway::Message::ProbeAnswer(v1::ProbeAnswer {})));
                }
            }
            Some(to_app::Message::Refusal(refusal)) => {
                let refused = RequestError::Refused(Refusal::from_wire(refusal.error));
                self.answer(message.reply_to, Err(refused));
            }
            // Something that a later version says, or a sign of life.
            None | Some(to_app::Message::Heartbeat(_)) => {}
            Some(answer) => {
                if let to_app::Message::Unmonitored(left) = &answer {
                    let classes: Vec<EventClass> = left.classes.iter().map(|class| (*class).into()).collect();
                    self.continuity.keep(&left.device, &classes);
                }
                self.answer(message.reply_to, Ok(answer));
            }
        }
        None
    }

    fn answer(&mut self, request: u64, answer: Result<to_app::Message, RequestError>) {
        if let Some(reply) = self.waiting.remove(&request) {
            // The asker may have gone: then nobody wants the answer.
            let _ = reply.send(answer);
        }
    }

    fn hand_on(&mut self, event: Event) {
        if !self.aside.is_empty() {
            self.aside.push_back(event);
        } else if let Err(TrySendError::Full(event)) = self.events.try_send(event) {
            self.aside.push_back(event);
        }
    }
}

/// What the gateway is told at the end. Nothing where it is the one who ended it.
fn last_word(end: &Closed) -> Option<ErrorCode> {
    match end {
        Closed::ByApp => Some(ErrorCode::ClosedByApp),
        Closed::HeartbeatTimeout => Some(ErrorCode::HeartbeatTimeout),
        Closed::Protocol(ProtocolError::Frame(callgate_wire::FrameError::TooLarge { .. })) => {
            Some(ErrorCode::FrameTooLarge)
        }
        Closed::Protocol(_) => Some(ErrorCode::FrameMalformed),
        Closed::ByGateway(_) | Closed::ConnectionLost(_) => None,
    }
}

/// Writes and flushes. A call that is dropped half way leaves in `unsent` what was not written.
async fn write_all<W: AsyncWrite + Unpin>(writer: &mut W, unsent: &mut BytesMut) -> io::Result<()> {
    while !unsent.is_empty() {
        if writer.write_buf(unsent).await? == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
    }
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use callgate_wire::{FrameDecoder, MAX_FRAME_OPEN, encode_frame, v1::ToGateway};
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::client::frames::FrameReader;

    /// A session whose heartbeat is 10 s, and the gateway's end of its connection.
    fn session() -> (Session, Events, DuplexStream) {
        let (app, gateway) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(app);
        let said = v1::Opened { heartbeat_seconds: 10, ..Default::default() };
        let (session, events) = start(Opened { reader: FrameReader::new(reader), writer, said }, 2);
        (session, events, gateway)
    }

    async fn beat(gateway: &mut DuplexStream) {
        let mut frame = Vec::new();
        encode_frame(&ToApp { reply_to: 0, message: Some(to_app::Message::Heartbeat(v1::Heartbeat {})) }, &mut frame);
        gateway.write_all(&frame).await.unwrap();
    }

    async fn heard(gateway: &mut DuplexStream, decoder: &mut FrameDecoder) -> Option<to_gateway::Message> {
        loop {
            if let Some(message) = decoder.next_message::<ToGateway>().unwrap() {
                return message.message;
            }
            let mut buffer = [0; 512];
            match gateway.read(&mut buffer).await.unwrap() {
                0 => return None,
                n => decoder.extend(&buffer[..n]),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r39_the_app_beats_once_in_each_interval() {
        let (_session, _events, mut gateway) = session();
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        let begin = Instant::now();
        for beats in 1..=20 {
            let message = heard(&mut gateway, &mut decoder).await;
            assert!(matches!(message, Some(to_gateway::Message::Heartbeat(_))), "{message:?}");
            assert_eq!(begin.elapsed().as_secs(), beats * 10);
            beat(&mut gateway).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r39_two_intervals_of_silence_end_the_session_with_the_reason() {
        let (session, mut events, mut gateway) = session();
        let begin = Instant::now();
        beat(&mut gateway).await;
        assert_eq!(events.next().await, None);
        assert_eq!(events.closed(), Some(&Closed::HeartbeatTimeout));
        assert_eq!(session.closed(), events.closed());
        assert_eq!(begin.elapsed().as_secs(), 20);
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        let reason = loop {
            match heard(&mut gateway, &mut decoder).await {
                Some(to_gateway::Message::Close(close)) => break close.reason.unwrap().code(),
                Some(_) => {}
                None => panic!("no Close"),
            }
        };
        assert_eq!(reason, ErrorCode::HeartbeatTimeout);
    }

    #[tokio::test(start_paused = true)]
    async fn r12_a_probe_is_answered_at_once_without_the_app() {
        let (_session, _events, mut gateway) = session();
        let probe = to_app::Message::Probe(v1::Probe { within_milliseconds: 3000 });
        let mut frame = Vec::new();
        encode_frame(&ToApp { reply_to: 0, message: Some(probe) }, &mut frame);
        gateway.write_all(&frame).await.unwrap();
        let begin = Instant::now();
        let answer = heard(&mut gateway, &mut FrameDecoder::new(MAX_FRAME_OPEN)).await;
        assert!(matches!(answer, Some(to_gateway::Message::ProbeAnswer(_))), "{answer:?}");
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn r32_the_app_hears_of_the_end_of_its_certificate() {
        let (_session, mut events, mut gateway) = session();
        for (left, heard) in [(86_400, 86_400), (-60, 0)] {
            let told =
                v1::CertificateExpires { expires_unix_seconds: 100, seconds_left: left, closes_unix_seconds: 3700 };
            let mut frame = Vec::new();
            encode_frame(&ToApp { reply_to: 0, message: Some(to_app::Message::CertificateExpires(told)) }, &mut frame);
            gateway.write_all(&frame).await.unwrap();
            let Some(Event::CertificateExpires(told)) = events.next().await else { panic!() };
            assert_eq!(
                (told.left, told.closes.duration_since(told.expires).unwrap().as_secs()),
                (Duration::from_secs(heard), 3600)
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn r39_the_silence_of_an_app_that_does_not_read_is_not_the_gateways() {
        let (_session, mut events, mut gateway) = session();
        for _ in 0..5 {
            let event = to_app::Message::Event(v1::Event::default());
            let mut frame = Vec::new();
            encode_frame(&ToApp { reply_to: 0, message: Some(event) }, &mut frame);
            gateway.write_all(&frame).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(300)).await;
        for _ in 0..5 {
            assert!(matches!(events.next().await, Some(Event::Unknown(_))));
        }
        assert_eq!(events.closed(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_takes_nothing_ends_by_its_silence_and_not_never() {
        let (app, gateway) = tokio::io::duplex(1);
        let (reader, writer) = tokio::io::split(app);
        let said = v1::Opened { heartbeat_seconds: 10, ..Default::default() };
        let (session, mut events) = start(Opened { reader: FrameReader::new(reader), writer, said }, 2);
        assert_eq!(events.next().await, None);
        assert_eq!(session.closed(), Some(&Closed::HeartbeatTimeout));
        session.close().await;
        drop(gateway);
    }
}
