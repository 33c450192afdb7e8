//! Connections: TLS handshake, opening, and the first answer.

use std::{
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet},
    time::timeout,
};

use super::{
    lab::Lab,
    load::Client,
    process,
    results::{HandshakeResults, HandshakeRow, Peer, least, median},
    server::Server,
};

/// More apps than are ever connected at once: an instance opens again only when its last session is long gone.
const APPS: usize = 256;

#[derive(clap::Args)]
pub struct Handshake {
    /// How often each is measured, by turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many connections are measured in a round
    #[arg(long, default_value_t = 3000)]
    handshakes: usize,
    /// How many at once
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Handshake {
    /// A short one, of which the figures are worth nothing.
    pub fn check() -> Self {
        Self { rounds: 1, handshakes: 100, at_once: 16, out: None }
    }

    pub fn run(self) {
        process::raise_open_files();
        let lab = Lab::new(APPS);
        process::pin(process::LOAD_CORE);
        let peers = [Peer::BareBatch, Peer::Callgate];
        let mut rows = peers.map(|peer| HandshakeRow { peer, cpu_micros: Vec::new(), per_second: Vec::new() });
        for _ in 0..self.rounds {
            for row in &mut rows {
                self.measure(&lab, row);
            }
        }
        for row in &rows {
            println!(
                "{:24} {:7.1} ({:.1}) us/connection {:>6.0}/s  {:.2} of {}",
                row.peer.name(),
                median(&row.cpu_micros),
                least(&row.cpu_micros),
                median(&row.per_second),
                median(&row.cpu_micros) / median(&rows[0].cpu_micros),
                rows[0].peer.name(),
            );
        }
        if let Some(path) = &self.out {
            let (handshakes, at_once) = (self.handshakes, self.at_once);
            let rows = rows.into();
            process::write(path, &HandshakeResults { machine: process::machine(), handshakes, at_once, rows });
        }
    }

    fn measure(&self, lab: &Lab, row: &mut HandshakeRow) {
        let server = Server::start(row.peer, lab.folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            self.connect(row.peer, &server, lab, self.handshakes / 10).await;
            let (before, started) = (server.remote.used().cpu_nanos, Instant::now());
            self.connect(row.peer, &server, lab, self.handshakes).await;
            let elapsed = started.elapsed();
            // What a connection leaves behind is cleared away by then.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let cpu = server.remote.used().cpu_nanos - before;
            row.cpu_micros.push(cpu as f64 / 1000.0 / self.handshakes as f64);
            row.per_second.push(self.handshakes as f64 / elapsed.as_secs_f64());
        });
        server.stop();
    }

    async fn connect(&self, peer: Peer, server: &Server, lab: &Lab, handshakes: usize) {
        let (permits, mut tasks) = (Rc::new(Semaphore::new(self.at_once)), JoinSet::new());
        for number in 0..handshakes {
            let (permits, address, app) = (Rc::clone(&permits), server.tls, lab.apps[number % APPS].clone());
            tasks.spawn_local(async move {
                let _permit = permits.acquire().await.unwrap();
                let mut client = Client::connect(address, app).await;
                client.open(peer, number % APPS).await;
                if peer.is_bare() {
                    // Its first answer stands for the opening.
                    client.subscribe(peer).await;
                }
                client.reset();
            });
        }
        timeout(Duration::from_secs(120), tasks.join_all()).await.expect("connections open in time");
    }
}
