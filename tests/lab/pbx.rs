//! The PBXs: Asterisk of two Debian suites, unpacked into a folder, and the Kamailio of this system.

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{
    place::Place,
    process::{PATIENCE, Process},
};

/// The password of both phones. It opens a PBX that lives for seconds on the loopback.
pub const PASSWORD: &str = "laboratory";
/// The password of the HEP feed.
pub const HEP_PASSWORD: &str = "feed-of-the-lab";

/// Which PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The Asterisk of this Debian suite.
    Asterisk(&'static str),
    Kamailio,
}

/// A running PBX.
pub struct Pbx(#[allow(dead_code, reason = "it stops when it is dropped")] Process);

impl Pbx {
    /// Starts it; when this returns it takes SIP.
    pub fn start(place: &Place, kind: Kind) -> Self {
        let mut process = match kind {
            Kind::Asterisk(suite) => asterisk(place, suite),
            Kind::Kamailio => kamailio(place),
        };
        wait_until_it_answers(&mut process, place.sip());
        Self(process)
    }
}

/// Runs the unpacked program with the libraries that were unpacked with it: no chroot, nothing installed.
fn asterisk(place: &Place, suite: &str) -> Process {
    let unpacked = std::env::var_os("CALLGATE_LAB").expect("CALLGATE_LAB is the folder with the unpacked PBXs");
    let root = Path::new(&unpacked).join(format!("asterisk-{suite}"));
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let libraries = ["usr/lib", "lib"].map(|folder| root.join(folder).join(&multiarch));
    let run = place.folder().join("run");
    fs::create_dir_all(&run).unwrap();
    let modules = [libraries[0].join("asterisk/modules"), root.join("usr/lib/asterisk/modules")];
    let shown = |path: &Path| path.to_str().unwrap().to_owned();
    let words = [
        ("ETC", shown(&place.folder().join("asterisk"))),
        ("RUN", shown(&run)),
        ("MODULES", shown(existing(&modules))),
        ("DATA", shown(&root.join("usr/share/asterisk"))),
        ("SIP", place.sip().to_string()),
        ("PASSWORD", PASSWORD.into()),
        ("HEP", place.hep().to_string()),
        ("HEP_PASSWORD", HEP_PASSWORD.into()),
        ("RTP_FIRST", place.pbx_rtp().start().to_string()),
        ("RTP_LAST", place.pbx_rtp().end().to_string()),
    ];
    let words = words.each_ref().map(|(word, value)| (*word, value.as_str()));
    let templates = ["extensions", "hep", "logger", "modules", "pjsip", "rtp", "asterisk"];
    let config = templates.map(|name| place.write(&format!("asterisk/{name}.conf"), &words)).into_iter().next_back();
    let paths = [shown(&libraries[0]), shown(&libraries[1]), shown(&root.join("usr/lib"))].join(":");
    Process::start("asterisk", &shown(&loader(&libraries)), |command| {
        let program = root.join("usr/sbin/asterisk");
        command.args(["--library-path", &paths]).arg(program).arg("-C").arg(config.unwrap()).arg("-f")
    })
}

/// The dynamic linker of an unpacked system. `ld-linux-*.so` may be a link to an absolute path, and so to another system.
fn loader(libraries: &[PathBuf]) -> PathBuf {
    let is_loader = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_file = fs::symlink_metadata(path).is_ok_and(|data| data.is_file());
        is_file && name.starts_with("ld-") && name.contains(".so")
    };
    let files = libraries.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten();
    files.map(|entry| entry.unwrap().path()).find(is_loader).expect("the unpacked Asterisk has a dynamic linker")
}

fn kamailio(place: &Place) -> Process {
    let multiarch = format!("/usr/lib/{}-linux-gnu/kamailio/modules", std::env::consts::ARCH);
    let modules = [PathBuf::from(multiarch), PathBuf::from("/usr/lib/kamailio/modules")];
    let (sip, hep) = (place.sip().to_string(), place.hep().to_string());
    let words = [("MODULES", existing(&modules).to_str().unwrap()), ("SIP", &sip), ("HEP", &hep)];
    let config = place.write("kamailio.cfg", &words);
    Process::start("kamailio", "kamailio", |command| {
        // -DD: it stays in the foreground, and is the parent of all its processes.
        let folder = place.folder();
        command
            .args(["-DD", "-E", "-m", "64", "-Y"])
            .arg(folder)
            .arg("-P")
            .arg(folder.join("pid"))
            .arg("-f")
            .arg(config)
    })
}

fn existing(folders: &[PathBuf]) -> &Path {
    folders.iter().find(|folder| folder.is_dir()).unwrap_or_else(|| panic!("none of {folders:?} is there"))
}

/// Asks for the PBX's options until it answers. Asterisk says 503 while its modules are loaded.
fn wait_until_it_answers(pbx: &mut Process, port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let me = socket.local_addr().unwrap();
    let start = Instant::now();
    for sequence in 1.. {
        let request = format!(
            "OPTIONS sip:127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP {me};branch=z9hG4bK{sequence}\r\nFrom: <sip:test@{me}>;tag=1\r\n\
             To: <sip:127.0.0.1:{port}>\r\nCall-ID: {sequence}@{me}\r\nCSeq: {sequence} OPTIONS\r\nMax-Forwards: 9\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let mut answer = [0; 2048];
        // While nobody listens, sending and receiving fail at once.
        match socket.send(request.as_bytes()).and_then(|_| socket.recv(&mut answer)) {
            Ok(n) if !answer[..n].starts_with(b"SIP/2.0 503") => return,
            _ => std::thread::sleep(Duration::from_millis(50)),
        }
        assert!(pbx.runs() && start.elapsed() < PATIENCE, "the PBX doesn't answer but says:\n{}", pbx.said());
    }
}
