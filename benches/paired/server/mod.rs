//! The measured side: a process of its own, that publishes what the load permits.

mod administered;
mod batch;
mod gateway;
mod recorded;
mod shard;

use std::{
    ffi::OsString,
    fs::File,
    io::{BufRead, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    rc::Rc,
};

use tokio::net::TcpListener;

use super::{
    control::{Control, Remote},
    lab::Population,
    process,
    results::Peer,
};

/// The first request of a session with a bare server, and its answer.
pub const SUBSCRIBE: &[u8; 32] = b"subscribe-to-the-device-1001....";

/// A server's process, seen from the load.
pub struct Server {
    child: Child,
    pub tls: SocketAddr,
    pub remote: Rc<Remote>,
}

impl Server {
    /// Starts a server of this kind. What it logs goes into a file in `folder`, as an operator would have it.
    pub fn start(peer: Peer, folder: &Path) -> Self {
        Self::spawn(&["server".into(), peer.name().into(), folder.into()], folder)
    }

    /// Starts a gateway that is administered while it runs.
    pub fn start_administered(population: Population, folder: &Path) -> Self {
        let Population { users, sessions, instances } = population;
        let numbers = [users, sessions, instances].map(|number| number.to_string().into());
        let arguments: Vec<OsString> = ["administered".into(), folder.into()].into_iter().chain(numbers).collect();
        Self::spawn(&arguments, folder)
    }

    fn spawn(arguments: &[OsString], folder: &Path) -> Self {
        let log = File::create(folder.join("server.log")).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<u16> = line.split_whitespace().map(|port| port.parse().unwrap()).collect();
        let [tls, control] = ports[..] else { panic!("{arguments:?} didn't start: {line:?}") };
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { child, tls: address(tls), remote: Rc::new(Remote::connect(address(control))) }
    }

    /// Ends it.
    pub fn stop(mut self) {
        self.remote.end();
        assert!(self.child.wait().unwrap().success(), "the server failed");
    }
}

/// The server's process.
pub fn run(peer: Peer, folder: &Path) {
    // Before any thread is there, so that all keep to it.
    process::pin(process::SERVER_CORE);
    process::raise_open_files();
    match peer {
        Peer::BareBatch => batch::run(folder),
        Peer::BareShard => shard::run(folder),
        _ => gateway::run(peer, folder),
    }
}

/// The same of a gateway that is administered.
pub fn run_administered(population: Population, folder: &Path) {
    process::pin(process::SERVER_CORE);
    process::raise_open_files();
    administered::run(population, folder);
}

/// Says where it listens, and waits for the load.
async fn meet(tls: SocketAddr) -> Control {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    println!("{} {}", tls.port(), listener.local_addr().unwrap().port());
    std::io::stdout().flush().unwrap();
    Control::new(listener.accept().await.unwrap().0)
}
