//! A long load: nothing is lost, and memory stays where it was.

use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use super::{
    lab::Lab,
    load::Fleet,
    process,
    results::{Peer, Shape},
    server::Server,
};

/// What memory may grow by after the first slice, for buffers that meet their largest burst late.
const SLACK: u64 = 32 * 1024 * 1024;

#[derive(clap::Args)]
pub struct Soak {
    /// How long
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How many sessions
    #[arg(long, default_value_t = 200)]
    sessions: usize,
    /// Who is loaded
    #[arg(long, default_value = "callgate-keys-unrecorded")]
    peer: Peer,
}

impl Soak {
    /// A short one.
    pub fn check() -> Self {
        Self { seconds: 3, sessions: 50, peer: Peer::CallgateKeysUnrecorded }
    }

    pub fn run(self) {
        process::raise_open_files();
        let lab = Lab::new(self.sessions);
        process::pin(process::LOAD_CORE);
        let server = Server::start(self.peer, lab.folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, self.load(&server, &lab));
        drop(runtime);
        server.stop();
    }

    /// Bursts and single events by turns.
    async fn load(&self, server: &Server, lab: &Lab) {
        let fleet = Fleet::open(self.peer, server, lab, self.sessions).await;
        let until = Instant::now() + Duration::from_secs(self.seconds);
        let slice = Duration::from_secs(self.seconds) / 20;
        let (mut deliveries, mut first) = (0, None);
        while Instant::now() < until {
            for shape in Shape::ALL {
                deliveries += fleet.load(shape.window(self.sessions), slice / 2).await.deliveries;
            }
            let resident = server.remote.used().resident_bytes;
            let first = *first.get_or_insert(resident);
            println!("{deliveries} deliveries, {} MiB resident", resident / (1024 * 1024));
            assert!(resident <= first + SLACK, "memory grew from {first} to {resident} bytes");
        }
    }
}
