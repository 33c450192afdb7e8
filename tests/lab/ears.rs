//! What is on the wire: the media, captured by `tcpdump` into memory.

use std::{fs::File, path::PathBuf, process::Stdio};

use callgate::switch::capture::{Capture, Packet};

use super::{place::Place, process::Process};

/// A running capture of all media ports. SIP and HEP, with their keys, are not in it.
pub struct Ears {
    tcpdump: Process,
    file: PathBuf,
}

impl Ears {
    /// When this returns, every packet is captured.
    pub fn open(place: &Place) -> Self {
        let file = place.folder().join("media.pcap");
        let rtp = place.rtp();
        // Written by us: where tcpdump gives up being root, it could not write there.
        let to = File::create(&file).unwrap();
        let tcpdump = Process::start("tcpdump", "tcpdump", |command| {
            // Room for thousands of packets: with the usual snap length it would be a few.
            command.args(["-i", "lo", "-n", "-U", "--immediate-mode", "-s", "2048", "-B", "8192", "-w", "-"]);
            command.arg(format!("udp portrange {}-{}", rtp.start(), rtp.end())).stdout(Stdio::from(to))
        });
        tcpdump.wait_for("listening on");
        Self { tcpdump, file }
    }

    /// What was heard: RTP and SRTP only.
    pub fn close(self) -> Vec<Packet> {
        self.tcpdump.stop("INT");
        let packets = Capture::open(&self.file).unwrap().map(Result::unwrap);
        packets.filter(Packet::is_rtp).collect()
    }
}
