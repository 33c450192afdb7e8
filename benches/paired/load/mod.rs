//! The apps: raw TLS clients on one thread, and who tells the server when the next event may come.

mod board;
mod client;
mod histogram;

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    task::{JoinSet, spawn_local},
    time::timeout,
};

pub use client::Client;

use super::{control::Remote, events, lab::Lab, results::Peer, server::Server};
use board::Board;

/// How many apps connect at once.
const AT_ONCE: usize = 16;
/// Nothing takes as long as this.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sessions that are open and subscribed.
pub struct Fleet {
    board: Rc<RefCell<Board>>,
    remote: Rc<Remote>,
    sessions: usize,
}

/// What a phase of load was, and what it cost.
pub struct Phase {
    pub deliveries: u64,
    pub elapsed: Duration,
    pub cpu_nanos: u64,
    pub p50_micros: f64,
    pub p99_micros: f64,
}

impl Fleet {
    /// Opens so many sessions, each with a certificate of its own.
    pub async fn open(peer: Peer, server: &Server, lab: &Lab, sessions: usize) -> Self {
        let remote = Rc::clone(&server.remote);
        let board = Board::new(sessions, events::first_number(peer.is_bare()), Rc::clone(&remote));
        let board = Rc::new(RefCell::new(board));
        for client in connect(peer, server, lab, sessions).await {
            spawn_local(client.receive(Rc::clone(&board)));
        }
        Self { board, remote, sessions }
    }

    /// Has events published for so long, with up to `window` of them on their way at once, and waits for the last.
    pub async fn load(&self, window: u64, how_long: Duration) -> Phase {
        let (before, already) = (self.remote.used().cpu_nanos, self.board.borrow().completed());
        let started = Instant::now();
        let finished = self.board.borrow_mut().begin(window, started + how_long);
        let in_time = timeout(how_long + PATIENCE, finished.notified()).await;
        let (elapsed, board) = (started.elapsed(), self.board.borrow());
        assert!(in_time.is_ok(), "events were lost: {board}");
        Phase {
            deliveries: (board.completed() - already) * self.sessions as u64,
            elapsed,
            cpu_nanos: self.remote.used().cpu_nanos - before,
            p50_micros: board.latency.quantile(0.5),
            p99_micros: board.latency.quantile(0.99),
        }
    }
}

/// Connects and subscribes, some at once.
pub async fn connect(peer: Peer, server: &Server, lab: &Lab, sessions: usize) -> Vec<Client> {
    let (permits, mut opening) = (Rc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
    for number in 0..sessions {
        let (permits, address, app) = (Rc::clone(&permits), server.tls, lab.apps[number].clone());
        opening.spawn_local(async move {
            let _permit = permits.acquire().await.unwrap();
            let mut client = Client::connect(address, app).await;
            client.open(peer, number).await;
            client.subscribe(peer).await;
            client
        });
    }
    timeout(PATIENCE, opening.join_all()).await.expect("sessions open in time")
}
