//! A session with its socket, and what it waits for.

use std::{
    cell::Cell,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use callgate_wire::{FrameDecoder, MAX_FRAME_OPEN, v1::ErrorCode};
use tokio::{
    io::{Interest, Ready},
    net::TcpStream,
    sync::{Notify, mpsc::UnboundedSender},
    time::sleep_until,
};

use super::{
    Settings,
    audit::{self, Share},
    backlog::AboutRef,
    identity::Identity,
    opening::Admitted,
    orders::{OpenSession, Order},
    registry::Lease,
    session::{Action, Session},
    socket::{Connection, Received, SendError, Socket},
};
use crate::{audit::Trail, hub::SessionKey};

/// How often it is told that others want a session's place, at most.
const ALARM: Duration = Duration::from_secs(60);

/// An open session with all that belongs to it.
pub(super) struct Live<C = Socket> {
    pub(super) session: Session,
    pub(super) socket: C,
    pub(super) decoder: FrameDecoder,
    refusals: Share,
    /// It has frames that the worker sends when its turn ends.
    holds: bool,
    /// Its task waits for room in the socket, or is woken to do so.
    waits_for_room: Cell<bool>,
    lease: Lease,
    wake: Arc<Notify>,
    /// For those who ask which sessions there are.
    about: Box<AboutApp>,
    deliveries: u64,
    denials: u64,
}

/// What is known of an app besides its identity.
struct AboutApp {
    peer: IpAddr,
    software: String,
    opened_at: SystemTime,
    /// When it was told last that somebody else wanted its place.
    last_alarm: Option<Instant>,
}

impl<C: Connection> Live<C> {
    /// A session that has just been opened from `peer`. `decoder` may hold its first requests.
    pub(super) fn new(
        admitted: Admitted,
        settings: Arc<Settings>,
        socket: C,
        mut decoder: FrameDecoder,
        lease: Lease,
        peer: IpAddr,
    ) -> Self {
        decoder.set_limit(MAX_FRAME_OPEN);
        let heartbeat = Duration::from_secs(admitted.heartbeat_seconds.into());
        let session = Session::new(admitted.identity, settings, admitted.rights, heartbeat, Instant::now())
            .certified_until(admitted.certificate_expires);
        let about = AboutApp { peer, software: admitted.software, opened_at: SystemTime::now(), last_alarm: None };
        Self {
            session,
            socket,
            decoder,
            refusals: Share::default(),
            holds: false,
            waits_for_room: Cell::new(false),
            lease,
            wake: Arc::new(Notify::new()),
            about: Box::new(about),
            deliveries: 0,
            denials: 0,
        }
    }

    /// Gives up the session's place in the registry, so that its instance can open again. What is left is the socket.
    pub(super) fn leave(self) -> C {
        self.socket
    }

    /// Its name in logs and records.
    pub(super) fn name(&self) -> &Arc<str> {
        &self.lease.session
    }

    /// Sends a frame now or soon. `about` is the event in it.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) fn send(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), ErrorCode> {
        self.socket.send(frame, about).map_err(code)?;
        // What is held leaves with the turn: whether there is room is known then.
        if !self.holds {
            self.note_room();
        }
        Ok(())
    }

    /// Queues a frame that [`flush_held`](Self::flush_held) sends. Whether it is the first that is held.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) fn hold(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<bool, ErrorCode> {
        self.socket.hold(frame, about).map_err(code)?;
        Ok(!std::mem::replace(&mut self.holds, true))
    }

    /// Sends what is held now, or soon if the socket is full.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) fn flush_held(&mut self) -> Result<(), ErrorCode> {
        self.holds = false;
        self.socket.flush().map_err(code)?;
        self.note_room();
        Ok(())
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) fn flush(&mut self) -> Result<(), ErrorCode> {
        self.socket.flush().map_err(code)?;
        self.note_room();
        Ok(())
    }

    /// Wakes its task if it must wait for room from now on: once, not with every turn in which the socket is full.
    fn note_room(&self) {
        if self.socket.is_waiting() && !self.waits_for_room.replace(true) {
            self.wake();
        }
    }

    /// Records that a request was refused.
    pub(super) fn refused(&mut self, trail: &dyn Trail, code: ErrorCode, subject: &str) {
        let (name, identity) = (&self.lease.session, self.session.identity());
        audit::request_refused(trail, name, identity, code, subject, &mut self.refusals);
    }

    /// An event was handed to it.
    pub(super) fn note_delivery(&mut self, is_denied: bool) {
        self.deliveries += 1;
        self.denials += u64::from(is_denied);
    }

    /// It lives there from now on.
    pub(super) fn settle(&self, worker: &UnboundedSender<Order>, key: SessionKey) {
        self.lease.settle(worker.clone(), key);
    }

    /// The app was heard: it is alive, and who wants its place is refused (R12).
    pub(super) fn heard(&mut self, now: Instant) {
        if !self.session.on_heard(now) {
            return;
        }
        let refused = self.lease.keep();
        if refused > 0 {
            let last = &mut self.about.last_alarm;
            let is_told = last.is_none_or(|last| now.duration_since(last) >= ALARM);
            audit::conflict(&self.lease.session, self.session.identity(), refused, is_told);
            *last = last.filter(|_| !is_told).or(Some(now));
        }
    }

    /// Its deadline has come.
    pub(super) fn on_time(&mut self, now: Instant) -> Option<Action> {
        self.session.on_time(now, || self.lease.is_wanted())
    }

    /// What there is to tell of it.
    pub(super) fn open_session(&mut self) -> OpenSession {
        let Identity { user, instance, door, .. } = self.session.identity();
        OpenSession {
            session: self.lease.session.to_string(),
            user: user.name.clone(),
            instance: instance.clone(),
            door: *door,
            peer: self.about.peer,
            software: self.about.software.clone(),
            opened_at: self.about.opened_at,
            certificate_expires: self.session.expiry().map(|expiry| expiry.ends()),
            monitored_devices: self.session.monitored().count(),
            queued_bytes: self.socket.backlog().bytes(),
            deliveries: self.deliveries,
            denials: self.denials,
        }
    }

    /// Has its task look anew at what it waits for.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Live {
    /// Moves the socket to the runtime of the caller.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn adopt(self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.adopt()?, ..self })
    }

    /// An app is not silent while its bytes wait for this thread (R39). One that doesn't read, so that no more of its
    /// requests are taken, is.
    pub(super) fn note_unread(&mut self) {
        if !(self.decoder.is_ready() && self.socket.is_waiting()) && self.socket.has_unread() {
            self.heard(Instant::now());
        }
    }

    /// Takes what the socket has.
    ///
    /// # Errors
    /// The code to close with.
    pub(super) fn receive(&mut self, scratch: &mut [u8]) -> Result<(), ErrorCode> {
        match self.socket.receive(&mut self.decoder, scratch) {
            Ok(Received::Some) => {
                self.heard(Instant::now());
                Ok(())
            }
            Ok(Received::Nothing) => Ok(()),
            Ok(Received::End) | Err(_) => Err(ErrorCode::ConnectionLost),
        }
    }
}

/// What a session's task waits for.
pub(super) struct Outlook {
    tcp: Arc<TcpStream>,
    interest: Option<Interest>,
    has_requests: bool,
    deadline: Instant,
    wake: Arc<Notify>,
}

/// What a session waited for.
pub(super) enum Happened {
    /// There is something to read or room to write; `None`: the socket is broken.
    Ready(Option<Ready>),
    /// Requests that arrived before can be taken now.
    Requests,
    /// The deadline has come.
    Time,
    /// It waits for something else now.
    Changed,
}

impl Outlook {
    /// What this session waits for now. It reads no more while requests that it has read wait to be taken: an app that
    /// asks faster than it is answered is held back by TCP, and fills no memory (R41a).
    pub(super) fn of(live: &Live) -> Self {
        live.waits_for_room.set(live.socket.is_waiting());
        let is_full = live.decoder.is_ready();
        let interest = match (is_full, live.socket.is_waiting()) {
            (false, false) => Some(Interest::READABLE),
            (false, true) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, true) => Some(Interest::WRITABLE),
            (true, false) => None,
        };
        Self {
            tcp: live.socket.tcp(),
            interest,
            // Nor does it answer while answers wait: who asks much at once gets all, as fast as it reads.
            has_requests: is_full && !live.session.is_busy() && !live.socket.is_waiting(),
            deadline: live.session.deadline(),
            wake: Arc::clone(&live.wake),
        }
    }

    /// Waits.
    pub(super) async fn happen(self) -> Happened {
        if self.has_requests {
            return if Instant::now() >= self.deadline { Happened::Time } else { Happened::Requests };
        }
        let ready = async {
            match self.interest {
                Some(interest) => self.tcp.ready(interest).await.ok(),
                None => std::future::pending().await,
            }
        };
        // After a while without time for this session both may have come: what an app has sent counts before its silence.
        tokio::select! {
            biased;
            ready = ready => Happened::Ready(ready),
            () = sleep_until(self.deadline.into()) => Happened::Time,
            () = self.wake.notified() => Happened::Changed,
        }
    }
}

fn code(error: SendError) -> ErrorCode {
    match error {
        SendError::Full => ErrorCode::SlowConsumer,
        SendError::Lost => ErrorCode::ConnectionLost,
        SendError::Exhausted => ErrorCode::KeyUsageLimit,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn r39_what_an_app_has_sent_counts_before_its_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut app = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let tcp = Arc::new(listener.accept().await.unwrap().0);
        app.write_all(b"here").await.unwrap();
        tcp.readable().await.unwrap();
        for _ in 0..100 {
            let outlook = Outlook {
                tcp: Arc::clone(&tcp),
                interest: Some(Interest::READABLE),
                has_requests: false,
                // The thread had no time for it.
                deadline: Instant::now().checked_sub(Duration::from_secs(1)).unwrap(),
                wake: Arc::default(),
            };
            assert!(matches!(outlook.happen().await, Happened::Ready(Some(_))));
        }
    }

    #[tokio::test]
    async fn r39_what_the_runtime_has_not_seen_yet_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket::new(listener.accept().await.unwrap().0, None, 1000);
        assert!(!socket.has_unread());
        // Without an await, so that the runtime has no turn in which it could see them.
        let app = app.into_std().unwrap();
        (&app).write_all(b"here").unwrap();
        while !socket.has_unread() {
            std::thread::yield_now();
        }
        drop(app);
    }
}
