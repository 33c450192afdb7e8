//! Memory of sessions that are subscribed and have nothing to do.

use std::{
    path::PathBuf,
    thread::sleep,
    time::{Duration, Instant},
};

use tokio::task::LocalSet;

use super::{
    lab::Lab,
    load::connect,
    process,
    results::{MemoryResults, MemoryRow, Peer, least, median},
    server::Server,
};

/// How long nothing happens while the CPU time of that is taken.
const IDLE: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
pub struct Memory {
    /// How often each is measured, by turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many sessions
    #[arg(long, default_value_t = 2000)]
    sessions: usize,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Memory {
    /// A short one, of which the figures are worth nothing.
    pub fn check() -> Self {
        Self { rounds: 1, sessions: 50, out: None }
    }

    pub fn run(self) {
        process::raise_open_files();
        let lab = Lab::new(self.sessions);
        process::pin(process::LOAD_CORE);
        let row = |peer| MemoryRow { peer, kib_per_session: Vec::new(), idle_cpu_per_mille: Vec::new() };
        let mut rows = [Peer::BareBatch, Peer::BareShard, Peer::Callgate].map(row);
        for _ in 0..self.rounds {
            for row in &mut rows {
                self.measure(&lab, row);
            }
        }
        for row in &rows {
            println!(
                "{:24} {:6.2} ({:.2}) KiB/session  {:.2} per mille of a core",
                row.peer.name(),
                median(&row.kib_per_session),
                least(&row.kib_per_session),
                median(&row.idle_cpu_per_mille),
            );
        }
        if let Some(path) = &self.out {
            let (sessions, rows) = (self.sessions, rows.into());
            process::write(path, &MemoryResults { machine: process::machine(), sessions, rows });
        }
    }

    fn measure(&self, lab: &Lab, row: &mut MemoryRow) {
        let server = Server::start(row.peer, lab.folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let before = server.remote.used();
            let clients = connect(row.peer, &server, lab, self.sessions).await;
            let (after, started) = (server.remote.used(), Instant::now());
            sleep(IDLE);
            let idle = server.remote.used().cpu_nanos - after.cpu_nanos;
            let grown = after.resident_bytes.saturating_sub(before.resident_bytes);
            row.kib_per_session.push(grown as f64 / 1024.0 / self.sessions as f64);
            row.idle_cpu_per_mille.push(1000.0 * idle as f64 / started.elapsed().as_nanos() as f64);
            for client in clients {
                client.reset();
            }
        });
        server.stop();
    }
}
