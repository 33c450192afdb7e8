//! Which files are for their owner's eyes only, and which of them aren't.

use std::{
    fmt,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::CA_KEY;
use crate::config::{Config, HepConfig, SwitchKind};

/// What others than the owner can do something with.
const OTHERS: u32 = 0o077;

/// A file that only its owner should read and write, and that others can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
    /// Its mode.
    pub mode: u32,
}

impl fmt::Display for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, what, mode } = self;
        write!(f, "{}: others than its owner may read or write the {what} (mode {mode:04o}): chmod 600", path.display())
    }
}

/// Of all files of a gateway that only their owner should read and write, those that others can: the config itself, the
/// password files of feeds, the CA's key if it is named or kept here, the audit log's key, and while the TLS door is open its key and the ledger.
///
/// A file that isn't there, or can't be looked at, is none of them: whoever reads it says so.
pub fn shared_files(config: &Config, path: &Path) -> Vec<SharedFile> {
    let beside = config.tls.client_ca.with_file_name(CA_KEY);
    let mut files = vec![(path, "config"), (&beside, "CA's private key"), (&config.audit.key, "audit log's key")];
    let own = config.tls.own_ca.as_ref().and_then(|own| own.key.as_deref());
    files.extend(own.filter(|own| *own != beside).map(|own| (own, "CA's private key")));
    if config.doors.tls.is_some() {
        files.extend([(config.tls.key.as_path(), "private key"), (&config.tls.ledger, "ledger")]);
    }
    files.extend(config.switches.iter().filter_map(|switch| match &switch.kind {
        SwitchKind::Hep(HepConfig { password_file, .. }) => Some((password_file.as_deref()?, "password")),
        SwitchKind::Replay { .. } | SwitchKind::Simulated(_) => None,
    }));
    let shared = |(path, what): (&Path, &'static str)| {
        let mode = path.metadata().ok()?.mode() & 0o7777;
        (mode & OTHERS != 0).then(|| SharedFile { path: path.into(), what, mode })
    };
    files.into_iter().filter_map(shared).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// What is found if all files have this mode.
    fn found(mode: u32, settings: &str) -> Vec<&'static str> {
        let folder = tempfile::tempdir().unwrap();
        for name in [
            "callgate.toml",
            "audit.key",
            "ca.key",
            "other.key",
            "gateway.key",
            "ledger.jsonl",
            "hep.password",
            "ca.pem",
        ] {
            fs::write(folder.path().join(name), "").unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let config = Config::parse(settings, "callgate.toml", folder.path(), std::iter::empty()).unwrap();
        shared_files(&config, &folder.path().join("callgate.toml")).iter().map(|file| file.what).collect()
    }

    #[test]
    fn each_private_file_is_looked_at_and_no_other() {
        let feed = "[[switch]]\nname = \"pbx\"\nkind = \"hep\"\npassword_file = \"hep.password\"";
        for mode in [0o640, 0o604, 0o620] {
            assert_eq!(
                found(mode, feed),
                ["config", "CA's private key", "audit log's key", "private key", "ledger", "password"],
                "{mode:o}"
            );
        }
        let own = "[tls]\nown_ca = \"ca.pem\"\nown_ca_key = \"other.key\"";
        assert_eq!(found(0o640, own).iter().filter(|what| **what == "CA's private key").count(), 2);
        assert_eq!(found(0o600, feed), [""; 0]);
        assert_eq!(
            found(0o644, "mode = \"non-secure\""),
            ["config", "CA's private key", "audit log's key"],
            "the TLS door has no files yet"
        );
    }

    #[test]
    fn what_is_not_there_is_not_shared() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::parse("", "callgate.toml", folder.path(), std::iter::empty()).unwrap();
        assert_eq!(shared_files(&config, &folder.path().join("callgate.toml")), []);
    }

    #[test]
    fn it_says_which_file_and_what_to_do() {
        let file = SharedFile { path: "x/gateway.key".into(), what: "private key", mode: 0o644 };
        let said = "x/gateway.key: others than its owner may read or write the private key (mode 0644): chmod 600";
        assert_eq!(file.to_string(), said);
    }
}
