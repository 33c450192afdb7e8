//! How the load tells the server's process what to publish, and asks what that cost.
//!
//! To the server: 8 bytes, little-endian; how many events may have been published in all, or [`ASK`]. Back, for each
//! [`ASK`]: CPU nanoseconds and resident bytes, 8 bytes each.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    ops::Range,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net,
};

use super::process;

const ASK: u64 = u64::MAX;

/// What the server's process has used.
#[derive(Debug, Clone, Copy)]
pub struct Used {
    pub cpu_nanos: u64,
    pub resident_bytes: u64,
}

/// The load's end.
pub struct Remote(TcpStream);

impl Remote {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    /// So many events may have been published.
    pub fn permit(&self, events: u64) {
        (&self.0).write_all(&events.to_le_bytes()).unwrap();
    }

    /// Ends the server.
    pub fn end(&self) {
        self.0.shutdown(Shutdown::Both).unwrap();
    }

    pub fn used(&self) -> Used {
        self.permit(ASK);
        let mut answer = [0; 16];
        (&self.0).read_exact(&mut answer).unwrap();
        let (cpu, resident) = answer.split_at(8);
        Used {
            cpu_nanos: u64::from_le_bytes(cpu.try_into().unwrap()),
            resident_bytes: u64::from_le_bytes(resident.try_into().unwrap()),
        }
    }
}

/// The server's end.
pub struct Control {
    stream: net::TcpStream,
    published: u64,
}

impl Control {
    pub fn new(stream: net::TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, published: 0 }
    }

    /// The numbers of the events to publish next, from 0. `None`: it is over.
    pub async fn next(&mut self) -> Option<Range<u64>> {
        loop {
            let mut word = [0; 8];
            self.stream.read_exact(&mut word).await.ok()?;
            let permitted = u64::from_le_bytes(word);
            if permitted == ASK {
                let mut answer = process::cpu_nanos().to_le_bytes().to_vec();
                answer.extend(process::resident_bytes().to_le_bytes());
                self.stream.write_all(&answer).await.ok()?;
            } else {
                let events = self.published..permitted;
                self.published = permitted;
                return Some(events);
            }
        }
    }
}
