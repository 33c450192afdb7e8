//! What a worker is asked besides what the hub hands it, and who asks: the registry, and administration.

use std::{net::IpAddr, time::SystemTime};

use callgate_wire::v1::{self, ErrorCode};
use tokio::sync::{mpsc, oneshot};

use crate::{
    hub::SessionKey,
    model::{Door, InstanceId, UserName},
};

/// What a worker is asked to do. Each is done in one turn.
#[derive(Debug)]
pub(super) enum Order {
    /// Somebody wants the place of this session: ask it whether it is alive (R12).
    Probe(SessionKey),
    /// Tell which sessions there are.
    List(oneshot::Sender<Vec<OpenSession>>),
    /// Tell all sessions, and those that come later, that the gateway leaves, and tell how many there are (R42).
    Leave(v1::GatewayLeaving, oneshot::Sender<usize>),
    /// Close these with this code, and tell how many they were.
    Close(Which, ErrorCode, oneshot::Sender<usize>),
}

/// Some sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of this name, if it is open.
    Session(String),
    /// Those of a user.
    User(UserName),
    /// Those of an instance of a user, at whichever door.
    Instance(UserName, InstanceId),
}

/// An open session, as it was a moment ago.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenSession {
    /// Its name, as logs and records have it.
    pub session: String,
    /// Whose it is.
    pub user: UserName,
    /// Which of the user's instances.
    pub instance: InstanceId,
    /// By which door it came in.
    pub door: Door,
    /// From where.
    pub peer: IpAddr,
    /// What the app says of its software.
    pub software: String,
    /// When it was opened.
    pub opened_at: SystemTime,
    /// When its certificate ends, in seconds since 1970; `None` on the clear door.
    pub certificate_expires: Option<i64>,
    /// Bytes that wait for the app to read.
    pub queued_bytes: usize,
    /// Devices that it monitors, or has asked to.
    pub monitored_devices: usize,
    /// Events that were handed to it.
    pub deliveries: u64,
    /// Those of them that told that it doesn't get a key.
    pub denials: u64,
}

/// The open sessions of a gateway. Clones are cheap and mean the same ones.
///
/// Whoever asks waits for the workers, and they for nobody: it costs them a look at each session, between two turns.
#[derive(Debug, Clone)]
pub struct OpenSessions {
    workers: Vec<mpsc::UnboundedSender<Order>>,
}

impl OpenSessions {
    pub(super) fn new(workers: Vec<mpsc::UnboundedSender<Order>>) -> Self {
        Self { workers }
    }

    /// All of them, in the order of their names, which is that in which they were opened. One that is being handed to its
    /// worker is there a moment later.
    pub async fn list(&self) -> Vec<OpenSession> {
        let mut sessions: Vec<OpenSession> = self.ask(Order::List).await.into_iter().flatten().collect();
        sessions.sort_unstable_by(|one, other| one.session.cmp(&other.session));
        sessions
    }

    /// Closes some, each with `code` and without what waits for it. Returns how many they were. When it returns, nothing
    /// leaves to them any more. It doesn't keep anybody from opening again.
    pub async fn close(&self, which: &Which, code: ErrorCode) -> usize {
        self.ask(|done| Order::Close(which.clone(), code, done)).await.into_iter().sum()
    }

    /// Tells all of them that the gateway leaves, and where to go (R42). Returns how many they are.
    pub async fn leave(&self, word: &v1::GatewayLeaving) -> usize {
        self.ask(|done| Order::Leave(word.clone(), done)).await.into_iter().sum()
    }

    /// Asks all workers at once. One that is gone has no sessions.
    async fn ask<T>(&self, order: impl Fn(oneshot::Sender<T>) -> Order) -> Vec<T> {
        let asked: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (sender, answer) = oneshot::channel();
                let _ = worker.send(order(sender));
                answer
            })
            .collect();
        let mut answers = Vec::with_capacity(asked.len());
        for answer in asked {
            answers.extend(answer.await);
        }
        answers
    }
}
