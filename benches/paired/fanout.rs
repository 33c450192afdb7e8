//! Deliveries: each event goes to all sessions.

use std::{path::PathBuf, time::Duration};

use tokio::task::LocalSet;

use super::{
    lab::Lab,
    load::Fleet,
    process,
    results::{FanoutResults, FanoutRow, Peer, Shape, least, median},
    server::Server,
};

#[derive(clap::Args)]
pub struct Fanout {
    /// How often each is measured, by turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How many sessions
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    sessions: Vec<usize>,
    /// Who is measured
    #[arg(long, value_delimiter = ',', default_values = ["bare-batch", "bare-shard", "callgate", "callgate-keys", "callgate-keys-unrecorded"])]
    peers: Vec<Peer>,
    /// How long each phase takes
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Fanout {
    /// A short one, of which the figures are worth nothing.
    pub fn check() -> Self {
        let peers = vec![Peer::BareBatch, Peer::BareShard, Peer::Callgate, Peer::CallgateKeys];
        Self { rounds: 1, sessions: vec![1, 10, 100], peers, seconds: 0.1, out: None }
    }

    pub fn run(self) {
        process::raise_open_files();
        let lab = Lab::new(self.sessions.iter().copied().max().unwrap_or_default());
        process::pin(process::LOAD_CORE);
        let mut rows = Vec::new();
        for &sessions in &self.sessions {
            for round in 0..self.rounds {
                for &peer in &self.peers {
                    self.measure(peer, sessions, &lab, &mut rows);
                }
                eprintln!("{sessions} sessions: round {} of {}", round + 1, self.rounds);
            }
        }
        for row in &rows {
            println!(
                "{:24} S={:<5} {:14} {:7.3} ({:.3}) us/delivery {:>9.0}/s  p50 {:6.0} us  p99 {:6.0} us  {}",
                row.peer.name(),
                row.sessions,
                format!("{:?}", row.shape),
                median(&row.cpu_micros),
                least(&row.cpu_micros),
                median(&row.deliveries_per_second),
                median(&row.p50_micros),
                median(&row.p99_micros),
                of_bare(&rows, row),
            );
        }
        if let Some(path) = &self.out {
            process::write(path, &FanoutResults { machine: process::machine(), seconds: self.seconds, rows });
        }
    }

    fn measure(&self, peer: Peer, sessions: usize, lab: &Lab, rows: &mut Vec<FanoutRow>) {
        let server = Server::start(peer, lab.folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let fleet = Fleet::open(peer, &server, lab, sessions).await;
            for shape in Shape::ALL {
                let (window, how_long) = (shape.window(sessions), Duration::from_secs_f64(self.seconds));
                // Buffers and caches as they are in the middle of a day.
                fleet.load(window, how_long / 5).await;
                let phase = fleet.load(window, how_long).await;
                let row = row(rows, peer, sessions, shape);
                row.cpu_micros.push(phase.cpu_nanos as f64 / 1000.0 / phase.deliveries as f64);
                row.deliveries_per_second.push(phase.deliveries as f64 / phase.elapsed.as_secs_f64());
                row.p50_micros.push(phase.p50_micros);
                row.p99_micros.push(phase.p99_micros);
            }
        });
        drop(runtime);
        server.stop();
    }
}

fn row(rows: &mut Vec<FanoutRow>, peer: Peer, sessions: usize, shape: Shape) -> &mut FanoutRow {
    let is_it = |row: &FanoutRow| row.peer == peer && row.sessions == sessions && row.shape == shape;
    let at = rows.iter().position(is_it).unwrap_or(rows.len());
    if at == rows.len() {
        let (cpu_micros, deliveries_per_second, p50_micros, p99_micros) = Default::default();
        rows.push(FanoutRow { peer, sessions, shape, cpu_micros, deliveries_per_second, p50_micros, p99_micros });
    }
    &mut rows[at]
}

/// The CPU time over that of the bare server, if that was measured.
fn of_bare(rows: &[FanoutRow], row: &FanoutRow) -> String {
    let bare = rows
        .iter()
        .find(|bare| bare.peer == Peer::BareBatch && bare.sessions == row.sessions && bare.shape == row.shape);
    bare.map_or_else(String::new, |bare| {
        format!("{:.2} of {}", median(&row.cpu_micros) / median(&bare.cpu_micros), Peer::BareBatch.name())
    })
}
