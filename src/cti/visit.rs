//! One connection on its way in: TLS handshake, Hello, Open, and over to a worker.
//!
//! It has a place among those that are being opened, and so much time; both can be taken from it at any moment.

use std::{
    future::pending,
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use callgate_wire::{
    FrameDecoder, FrameError, MAX_FRAME_BEFORE_OPEN,
    v1::{self, ErrorCode, OpenResult, open_result, to_app},
};
use metrics::{counter, histogram};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::yield_now,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    FAREWELL,
    arrivals::{Arrivals, Ticket},
    audit, encode,
    entrance::{Entrance, TlsSide, lock, tell},
    identity::Identity,
    live::Live,
    opening::{Admitted, Next, Opening, Refused},
    refusals::{Kind, Refusals},
    registry::{self, Entered, Lease},
    renewal::Renewal,
    socket::{Received, Socket, end_tcp},
    tries::network,
};
use crate::{
    model,
    policy::Rule,
    trust::{self, Shown},
};

/// What the system may keep for an app that doesn't read, in bytes, before frames wait here. It keeps twice as much, with
/// what it adds to each packet.
const SEND_BUFFER: usize = 128 * 1024;
/// Where it was refused, when the code says the rest.
const HANDSHAKE: &str = "in the TLS handshake";
const OPENING: &str = "before the session was open";

/// A place among the connections that aren't open yet, given back when dropped.
pub(super) struct Place {
    pub(super) arrivals: Arc<Mutex<Arrivals<CancellationToken>>>,
    pub(super) ticket: Ticket,
    /// Somebody else needs the place.
    pub(super) displaced: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.arrivals).leave(self.ticket);
    }
}

/// One connection on its way in.
pub(super) struct Visit {
    pub(super) entrance: Arc<Entrance>,
    pub(super) tls: Option<Arc<TlsSide>>,
    pub(super) door: model::Door,
    pub(super) peer: IpAddr,
    pub(super) deadline: Instant,
    pub(super) place: Place,
    pub(super) refusals: Arc<Mutex<Refusals>>,
}

impl Visit {
    /// Takes the connection in, or refuses it.
    pub(super) async fn receive(self, tcp: TcpStream) {
        // An event must not wait for the acknowledgement of the one before it.
        let _ = tcp.set_nodelay(true);
        // By itself the system would keep megabytes for an app that doesn't read (R41a).
        let _ = SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER);
        match self.in_time(tcp.readable()).await {
            Ok(_) => {}
            Err(code) => return self.end_silent(&tcp, code),
        }
        let mut socket = match self.in_time(self.shake_hands(tcp)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(tcp)) => return self.farewell(end_tcp(&tcp)).await,
            Err(code) => {
                if self.tls.is_some() {
                    counter!("callgate_handshakes_total", "result" => code.as_str_name()).increment(1);
                }
                return self.refused(code, HANDSHAKE, HANDSHAKE);
            }
        };
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
        match self.in_time(self.converse(&mut socket, &mut decoder)).await {
            Ok(Ok((admitted, lease))) => self.hand_over(admitted, lease, socket, decoder).await,
            Ok(Err(None)) => self.refused(ErrorCode::ConnectionLost, OPENING, OPENING),
            Ok(Err(Some(refused))) => self.refuse(socket, refused).await,
            Err(code) => self.refuse(socket, refusal(code, OPENING)).await,
        }
    }

    /// What comes of `step`, or the code to end with: it took too long, or somebody else needs the place.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, ErrorCode> {
        tokio::select! {
            biased;
            () = self.place.displaced.cancelled() => Err(ErrorCode::TooManyConnections),
            done = timeout_at(self.deadline.into(), step) => done.map_err(|_| ErrorCode::OpenTimeout),
        }
    }

    /// Ends a connection that has said nothing. That cost nothing, so it doesn't count as a try.
    fn end_silent(&self, tcp: &TcpStream, code: ErrorCode) {
        self.record(None, code, Rule(callgate_wire::lookup(code).rule), "nothing was heard", "nothing was heard", None);
        if self.tls.is_none() {
            let _ = tcp.try_write(&encode::close(code));
        }
    }

    /// The TLS handshake, on the TLS door. If it fails, that is on record.
    async fn shake_hands(&self, tcp: TcpStream) -> Result<Socket, TcpStream> {
        let max_backlog = self.entrance.settings.limits.queued_bytes_per_session;
        let Some(side) = &self.tls else { return Ok(Socket::new(tcp, None, max_backlog)) };
        let begun = Instant::now();
        let handshake = TlsAcceptor::from(Arc::clone(&side.config)).accept(tcp).into_fallible();
        match trust::witnessed(handshake).await {
            (Ok(stream), _) => {
                counter!("callgate_handshakes_total", "result" => "OK").increment(1);
                histogram!("callgate_handshake_seconds").record(begun.elapsed().as_secs_f64());
                let (tcp, tls) = stream.into_inner();
                Ok(Socket::new(tcp, Some(tls), max_backlog))
            }
            (Err((_, tcp)), Some(refused)) => {
                counter!("callgate_handshakes_total", "result" => refused.why.code().as_str_name()).increment(1);
                self.refused_certificate(&refused);
                Err(tcp)
            }
            (Err((error, tcp)), None) => {
                let code = handshake_code(&error);
                counter!("callgate_handshakes_total", "result" => code.as_str_name()).increment(1);
                self.refused(code, HANDSHAKE, &error.to_string());
                Err(tcp)
            }
        }
    }

    /// Hello to open. `None`: the connection is gone.
    async fn converse(
        &self,
        socket: &mut Socket,
        decoder: &mut FrameDecoder,
    ) -> Result<(Admitted, Lease), Option<Refused>> {
        let entrance = &self.entrance;
        // Before the ledger is asked: what it says later than these rights is later than their barrier, too.
        let current = entrance.current.load_full();
        let binding = socket.tls().and_then(trust::channel_binding);
        let certificate = match (&self.tls, socket.tls()) {
            (Some(side), Some(tls)) => {
                let identity = trust::peer_identity(tls, &side.ledger);
                // It was in the ledger a moment ago, when the handshake was verified.
                Some(
                    identity
                        .ok_or_else(|| Some(refusal(ErrorCode::CertificateNotInLedger, "gone since the handshake")))?,
                )
            }
            _ => None,
        };
        let (settings, rights) = (Arc::clone(&entrance.settings), Arc::clone(&current.rights));
        let mut opening = Opening::new(settings, rights, current.decoy.clone(), certificate, binding);
        let mut scratch = vec![0; MAX_FRAME_BEFORE_OPEN];
        socket.receive_early(decoder, &mut scratch).map_err(|_| None)?;
        loop {
            while let Some(message) =
                decoder.next_message::<v1::ToGateway>().map_err(|error| Some(bad_frame(&error)))?
            {
                let reply_to = message.request_id;
                match opening.on_message(message) {
                    Next::Reply(reply) => {
                        socket.send_all(encode::frame(reply_to, reply)).await.map_err(|_| None)?;
                    }
                    Next::Refuse(refused) => return Err(Some(refused)),
                    Next::Open(admitted) => {
                        let gone = self.gone(socket, decoder, &mut scratch);
                        let entered = self.enter(admitted, gone).await;
                        let (admitted, lease) =
                            entered.map_err(|refused| refused.map(|refused| Refused { reply_to, ..refused }))?;
                        let opened = self.opened(&admitted, &lease);
                        socket.send_all(encode::frame(reply_to, opened)).await.map_err(|_| None)?;
                        let Admitted { identity, software, .. } = &admitted;
                        audit::opened(&*self.entrance.trail, &lease.session, identity, software, self.peer);
                        return Ok((admitted, lease));
                    }
                }
            }
            socket.tcp().readable().await.map_err(|_| None)?;
            match socket.receive(decoder, &mut scratch) {
                Ok(Received::Some | Received::Nothing) => {}
                Ok(Received::End) => return Err(None),
                Err(error) => return Err(self.broken(&error)),
            }
            // Readiness spends no budget of the runtime: bytes that never end must not keep the thread.
            yield_now().await;
        }
    }

    /// With TLS 1.3 a refused client certificate of the app's making shows only with its first bytes.
    fn broken(&self, error: &io::Error) -> Option<Refused> {
        (error.kind() == io::ErrorKind::InvalidData)
            .then(|| refusal(trust::refusal_io(error), "the app broke the TLS protocol"))
    }

    /// Rights may have changed since the opening began: nobody is let in by the old ones (R15). What was proven by a
    /// password that has changed since is proven no more; a TLS handshake that is done stays so, and its certificate is
    /// looked up again.
    fn judge_anew(&self, admitted: Admitted) -> Result<Admitted, Refused> {
        let current = self.entrance.current.load();
        if current.rights.version == admitted.rights.version {
            return Ok(admitted);
        }
        let Admitted { identity, .. } = admitted;
        let name = &identity.user.name;
        let refused = |code| Refused {
            user: Some(name.to_string()),
            as_result: true,
            ..refusal(code, "rights changed while the session was being opened")
        };
        if !current.networks.allow(self.peer) {
            return Err(refused(ErrorCode::NetworkNotAllowed));
        }
        let rights = Arc::clone(&current.rights);
        let renewal = Renewal::new(rights, self.entrance.hub.device_count());
        let user = renewal.judge(&identity).map_err(&refused)?;
        let same_password = match (&identity.user.password, &user.password) {
            (Some(was), Some(is)) => was.stored_key().same_as(is.stored_key()),
            _ => false,
        };
        if identity.password_proven && !same_password {
            return Err(refused(ErrorCode::AuthenticationFailed));
        }
        Ok(Admitted { identity: Identity { user, ..identity }, rights: renewal.rights, ..admitted })
    }

    /// Takes the place of its instance, by the rights of now. If a session has it, that may take as long as a probe (R12):
    /// who is `gone` by then takes no place from those who still wait. `None`: the connection is gone.
    async fn enter(
        &self,
        admitted: Admitted,
        gone: impl Future<Output = Option<Refused>>,
    ) -> Result<(Admitted, Lease), Option<Refused>> {
        let admitted = self.judge_anew(admitted)?;
        let lease = tokio::select! {
            biased;
            lease = self.wait_for_place(&admitted.identity) => lease.map_err(|code| Refused {
                user: Some(admitted.identity.user.name.to_string()),
                as_result: true,
                ..refusal(code, registry::cause(code))
            })?,
            refused = gone => return Err(refused),
        };
        // Rights may have changed meanwhile.
        Ok((self.judge_anew(admitted)?, lease))
    }

    /// Is done when the connection has ended, with the reason if the app broke it. What the app sends on is kept, but once
    /// that is a whole message no more is read, and the end isn't noticed either.
    async fn gone(&self, socket: &mut Socket, decoder: &mut FrameDecoder, scratch: &mut [u8]) -> Option<Refused> {
        while !decoder.is_ready() {
            socket.tcp().readable().await.ok()?;
            match socket.receive(decoder, scratch) {
                Ok(Received::Some | Received::Nothing) => {}
                Ok(Received::End) => return None,
                Err(error) => return self.broken(&error),
            }
            yield_now().await;
        }
        pending().await
    }

    async fn wait_for_place(&self, identity: &Identity) -> Result<Lease, ErrorCode> {
        loop {
            match self.entrance.registry.enter(identity.door, &identity.user.name, &identity.instance)? {
                Entered::In(lease) => return Ok(lease),
                Entered::Waits(outcome) => {
                    if let Ok(outcome) = outcome.await {
                        return outcome;
                    }
                    // It has become free.
                }
            }
        }
    }

    fn opened(&self, admitted: &Admitted, lease: &Lease) -> to_app::Message {
        let identity = &admitted.identity;
        let devices = admitted.rights.device_count(&identity.user, self.entrance.hub.device_count());
        let limits = self.entrance.settings.limits;
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        // On the clear door an instance is a label, and nobody is probed for it.
        let probe = if self.door == model::Door::Tls { limits.probe_time() } else { Duration::ZERO };
        to_app::Message::OpenResult(OpenResult {
            result: Some(open_result::Result::Opened(v1::Opened {
                session: lease.session.to_string(),
                device_count: small(devices),
                heartbeat_seconds: admitted.heartbeat_seconds,
                certificate_expires_unix_seconds: admitted.certificate_expires.unwrap_or_default(),
                scram_server_final: admitted.scram_server_final.clone().into(),
                epoch: self.entrance.epoch,
                max_monitors: small(limits.monitors_per_session),
                max_requests_in_flight: small(limits.requests_in_flight),
                max_queued_bytes: limits.queued_bytes_per_session as u64,
                probe_milliseconds: u32::try_from(probe.as_millis()).unwrap_or(u32::MAX),
            })),
        })
    }

    async fn hand_over(&self, admitted: Admitted, lease: Lease, socket: Socket, decoder: FrameDecoder) {
        let settings = Arc::clone(&self.entrance.settings);
        let live = Live::new(admitted, settings, socket, decoder, lease, self.peer);
        match self.entrance.workers.iter().min_by_key(|worker| worker.load()) {
            Some(worker) => worker.adopt(live),
            None => warn!("there is no worker for an open session"),
        }
    }

    async fn refuse(&self, mut socket: Socket, refused: Refused) {
        let Refused { code, rule, cause, user, as_result, reply_to } = refused;
        let sides = self.tls.as_ref().zip(socket.tls());
        let shown = sides.and_then(|(side, tls)| trust::shown(tls, &side.ledger));
        self.record(user.as_deref(), code, rule, cause, cause, shown.as_ref());
        self.count_failure(code);
        self.farewell(async {
            if as_result {
                let result = Some(open_result::Result::Refused(v1::Error { rule: rule.0.into(), ..code.into() }));
                let result = to_app::Message::OpenResult(OpenResult { result });
                let _ = socket.send_all(encode::frame(reply_to, result)).await;
            } else if code != ErrorCode::ClosedByApp {
                let _ = socket.send_all(encode::close(code)).await;
            }
            socket.end().await;
        })
        .await;
    }

    /// Says good-bye, for as long as nobody else needs the place.
    async fn farewell(&self, words: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            _ = timeout(FAREWELL, words) => {}
            () = self.place.displaced.cancelled() => {}
        }
    }

    /// `about` is the cause without what differs from one time to the next. `shown` is the certificate, if there was one.
    fn record(
        &self,
        user: Option<&str>,
        code: ErrorCode,
        rule: Rule,
        about: &'static str,
        cause: &str,
        shown: Option<&Shown>,
    ) {
        // A name that nobody has could be another one each time.
        let rights = Arc::clone(&self.entrance.current.load().rights);
        let owner = shown.and_then(|shown| shown.owner.as_ref()).map(|(user, _)| user.as_str());
        let known = user.or(owner).and_then(|name| rights.directory.user(name)).map(|user| user.name.as_str().into());
        let kind = Kind { source: network(self.peer), user: known, code, cause: about };
        let noted = lock(&self.refusals).note(kind, Instant::now());
        let refusal = audit::Refusal { door: self.door, peer: self.peer, user, code, rule, cause, shown };
        tell(&*self.entrance.trail, noted, &refusal);
    }

    fn refused(&self, code: ErrorCode, about: &'static str, cause: &str) {
        let rule = Rule(callgate_wire::lookup(code).rule);
        self.record(None, code, rule, about, cause, None);
        self.count_failure(code);
    }

    fn refused_certificate(&self, refused: &trust::Refused) {
        let (why, code) = (refused.why, refused.why.code());
        counter!("callgate_certificates_refused_total", "reason" => why.name()).increment(1);
        let rule = Rule(callgate_wire::lookup(code).rule);
        self.record(None, code, rule, why.text(), why.text(), Some(&refused.shown));
        self.count_failure(code);
    }

    /// What counts against the source: what guessers and floods do. A full gateway, an instance that is in, and a
    /// connection that just ends, as a health check's does, are nobody's fault.
    fn count_failure(&self, code: ErrorCode) {
        let counts = match code {
            ErrorCode::InstanceAlreadyOpen | ErrorCode::ConnectionLost | ErrorCode::ClosedByApp => false,
            code => matches!(code as i32, 100..=299 | 500..=599),
        };
        if counts {
            self.entrance.registry.failed(self.peer, Instant::now());
        }
    }
}

/// An app that ends the connection in the handshake may be a health check, or one that doesn't trust the gateway.
fn handshake_code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ErrorCode::ConnectionLost
        }
        _ => trust::refusal_io(error),
    }
}

fn refusal(code: ErrorCode, cause: &'static str) -> Refused {
    Refused { code, rule: Rule(callgate_wire::lookup(code).rule), cause, user: None, as_result: false, reply_to: 0 }
}

fn bad_frame(error: &FrameError) -> Refused {
    match error {
        FrameError::TooLarge { .. } => refusal(ErrorCode::FrameTooLarge, "a frame over the limit"),
        _ => refusal(ErrorCode::FrameMalformed, "a frame that is no message"),
    }
}
