//! Where one test's programs live: a folder, a block of free ports, and the templates of the repository.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;

/// The ports that one test takes, below those that the system gives to clients.
const BLOCK: u16 = 100;
const BLOCKS: u16 = 100;
const FIRST: u16 = 20_000;

/// Where a test lives.
pub struct Place {
    folder: TempDir,
    base: u16,
}

impl Place {
    pub fn new() -> Self {
        // Tests of one process take blocks one after the other, and processes begin at different ones.
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = tempfile::Builder::new().prefix("callgate-lab-").tempdir().unwrap();
        let begin = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
        let base = (0..BLOCKS)
            .map(|_| FIRST + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % BLOCKS * BLOCK)
            .find(|base| (*base..base + BLOCK).all(is_free))
            .expect("a hundred free ports on the loopback");
        Self { folder, base }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the PBX takes SIP.
    pub fn sip(&self) -> u16 {
        self.base
    }

    /// Where the gateway takes HEP.
    pub fn hep(&self) -> u16 {
        self.base + 1
    }

    /// Where a phone takes SIP. It opens the port above for TLS, too.
    pub fn phone_sip(&self, phone: u16) -> u16 {
        self.base + 2 + 2 * phone
    }

    /// Where a phone takes commands.
    pub fn phone_commands(&self, phone: u16) -> u16 {
        self.base + 6 + phone
    }

    pub fn phone_rtp(&self, phone: u16) -> RangeInclusive<u16> {
        self.base + 10 + 30 * phone..=self.base + 39 + 30 * phone
    }

    pub fn pbx_rtp(&self) -> RangeInclusive<u16> {
        self.base + 70..=self.base + 99
    }

    /// Every port that RTP can come to.
    pub fn rtp(&self) -> RangeInclusive<u16> {
        self.base + 10..=self.base + 99
    }

    /// Writes a template of the lab, filled in, below the folder.
    pub fn write(&self, template: &str, words: &[(&str, &str)]) -> PathBuf {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/lab").join(template);
        let mut text = fs::read_to_string(&from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        for (word, value) in words {
            text = text.replace(&format!("@{word}@"), value);
        }
        let is_word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        assert!(!text.split('@').any(is_word), "{template} has words that nobody fills in");
        let to = self.folder().join(template);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, text).unwrap();
        to
    }
}

fn is_free(port: u16) -> bool {
    UdpSocket::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}
