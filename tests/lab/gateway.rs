//! The gateway as an operator runs it: the binary, set up by its own commands, with a live HEP feed.

use std::{fmt::Write as _, fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::PathBuf};

use callgate::directory::ScramVerifier;

use super::{
    apps::{APPS, Apps},
    common::{PASSWORD, served::callgate, tap::Tap},
    pbx::{HEP_PASSWORD, Kind},
    phone::PHONES,
    place::Place,
    process::Process,
};

/// A gateway that serves.
pub struct Served {
    process: Process,
    folder: PathBuf,
    /// The clear door, behind the tap that keeps what it sends.
    clear: Tap,
    tls: String,
}

impl Served {
    /// Starts it; when this returns, both doors and the feed are open.
    pub async fn start(place: &Place, kind: Kind) -> Self {
        let folder = place.folder().join("gateway");
        fs::create_dir(&folder).unwrap();
        run(&folder, &["init", "."]);
        let secret = folder.join("hep.password");
        fs::write(&secret, HEP_PASSWORD).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(folder.join("callgate.toml"), config(place, kind)).unwrap();
        for app in APPS.iter().filter(|app| app.secure) {
            run(&folder, &["cert", "issue", "--folder", ".", "--user", app.user, "--instance", "1"]);
        }
        run(&folder, &["serve", "--config", "callgate.toml", "--check"]);

        let binary = env!("CARGO_BIN_EXE_callgate");
        let process = Process::start("callgate", binary, |command| {
            command.current_dir(&folder).args(["--log-level", "trace", "serve", "--config", "callgate.toml"])
        });
        let clear: SocketAddr = process.wait_for("door=\"clear\" address=").parse().unwrap();
        let tls = process.wait_for("door=\"tls\" address=");
        Self { clear: Tap::before(clear).await, process, folder, tls }
    }

    pub fn clear(&self) -> SocketAddr {
        self.clear.address()
    }

    pub fn tls(&self) -> &str {
        &self.tls
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }

    /// Closes the sessions and stops the gateway: what it logged, and what its clear door sent.
    pub async fn stop(self, apps: Apps) -> (String, Vec<u8>) {
        apps.close().await;
        let (status, log) = self.process.stop("TERM");
        assert!(status.success(), "{status}");
        (log, self.clear.finish().await)
    }
}

fn run(folder: &std::path::Path, arguments: &[&str]) {
    let output = callgate(folder, arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn config(place: &Place, kind: Kind) -> String {
    let mut config = format!(
        "[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n[metrics]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [[switch]]\nname = \"pbx\"\nkind = \"hep\"\nlisten = \"127.0.0.1:{}\"\npbx = [\"udp:127.0.0.1:{}\"]\n",
        place.hep(),
        place.sip()
    );
    if kind != Kind::Kamailio {
        // Kamailio's siptrace has no password to send.
        config.push_str("password_file = \"hep.password\"\n");
    }
    for (which, (name, _)) in (0..).zip(PHONES) {
        let address = place.phone_sip(which);
        writeln!(config, "[[device]]\nname = \"{name}\"\naddresses = [\"udp:127.0.0.1:{address}\"]").unwrap();
    }
    let verifier = ScramVerifier::generate(PASSWORD, 4096).unwrap().to_line();
    for app in APPS {
        let groups: Vec<_> = app.groups.iter().map(|group| group.name()).collect();
        writeln!(config, "[[user]]\nname = {:?}\ngroups = {groups:?}\ndevices = [\"1001\", \"1002\"]", app.user)
            .unwrap();
        if !app.secure {
            writeln!(config, "password = {:?}", &*verifier).unwrap();
        }
    }
    config
}
