//! A gateway for trying out: what `init` makes, a simulated switch, and two apps with their certificates.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use time::OffsetDateTime;

use super::{
    CA_CERTIFICATE, CA_KEY, Ca, Existing, InitOptions, Issued, Ledger, TrustError, Validity,
    files::{beside, sync_folder},
    setup::{LEDGER, fill},
    write_private, write_public,
};
use crate::model::{InstanceId, UserName};

/// The users of a gateway for trying out: the first gets keys, the second doesn't. Each has an app, instance `1`.
pub const TRY_OUT_USERS: [&str; 2] = ["app", "viewer"];

const INSTANCE: &str = "1";
const CONFIG: &str = include_str!("try_out.toml");
const DAYS: u32 = 365;

/// Makes a gateway's folder for trying out: all of it, or nothing.
///
/// It is made beside its place and moved there as a whole, so nobody ever finds half of it.
///
/// # Errors
/// [`TrustError::Occupied`]: something is there already, other than an empty folder. Or a file can't be written.
pub fn try_out(folder: &Path, now: OffsetDateTime) -> Result<(), TrustError> {
    if !is_free(folder) {
        return Err(TrustError::Occupied { folder: folder.into() });
    }
    let made = Made(beside(folder)?);
    fill(&made.0, &InitOptions::default(), CONFIG, now)?;
    let ca = Ca::load(&made.0.join(CA_CERTIFICATE), &made.0.join(CA_KEY))?;
    let ledger = Ledger::open(made.0.join(LEDGER))?;
    for user in TRY_OUT_USERS {
        let (user, instance) = (user.parse()?, INSTANCE.parse()?);
        let issued = ca.issue_app(&user, &instance, Validity::days(now, DAYS)?, now, &ledger)?;
        write_identity(&made.0, &user, &instance, &issued, Existing::Keep)?;
    }
    // This takes the place of an empty folder, and of nothing else.
    fs::rename(&made.0, folder).map_err(|cause| match cause.kind() {
        ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists | ErrorKind::NotADirectory => {
            TrustError::Occupied { folder: folder.into() }
        }
        _ => TrustError::Unwritable { path: folder.into(), cause },
    })?;
    sync_folder(folder).map_err(|cause| TrustError::Unwritable { path: folder.into(), cause })
}

/// Where an app's certificate and its key lie in a folder: `USER-INSTANCE.pem` and `USER-INSTANCE.key`.
pub fn identity_files(folder: &Path, user: &UserName, instance: &InstanceId) -> (PathBuf, PathBuf) {
    // A user name may hold what makes a poor file name.
    let user: String =
        user.as_str().chars().map(|c| if c.is_alphanumeric() || "-_@.".contains(c) { c } else { '_' }).collect();
    (folder.join(format!("{user}-{instance}.pem")), folder.join(format!("{user}-{instance}.key")))
}

/// Writes an app's certificate (0644) and its key (0600) to their [places](identity_files).
///
/// # Errors
/// [`TrustError::Exists`], [`TrustError::Unwritable`].
pub fn write_identity(
    folder: &Path,
    user: &UserName,
    instance: &InstanceId,
    issued: &Issued,
    existing: Existing,
) -> Result<(), TrustError> {
    let (certificate, key) = identity_files(folder, user, instance);
    write_private(&key, issued.key_pem.as_bytes(), existing)?;
    write_public(&certificate, issued.certificate_pem.as_bytes(), existing)
}

fn is_free(folder: &Path) -> bool {
    match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == ErrorKind::NotFound && is_not_there(folder.symlink_metadata()),
    }
}

/// A link that leads nowhere is there.
fn is_not_there(metadata: io::Result<fs::Metadata>) -> bool {
    metadata.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A folder of our own that is removed unless it was moved to its place.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        // Its name is random: what has it is ours.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::{
        config::{self, Config},
        model::Group,
    };

    const NAMES: [&str; 10] = [
        "app-1.key",
        "app-1.pem",
        "ca.key",
        "ca.pem",
        "callgate.toml",
        "gateway.key",
        "gateway.pem",
        "ledger.jsonl",
        "viewer-1.key",
        "viewer-1.pem",
    ];

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn all_of_it_is_there_and_private_files_are_private() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("callgate");
        for empty_is_there in [false, true] {
            if empty_is_there {
                fs::remove_dir_all(&folder).unwrap();
                fs::create_dir(&folder).unwrap();
            }
            try_out(&folder, OffsetDateTime::now_utc()).unwrap();
            assert_eq!(names(&folder), NAMES);
            assert_eq!(names(root.path()), ["callgate"], "nothing is left beside it");
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), 0o700);
            for private in NAMES.iter().filter(|name| !name.ends_with(".pem")) {
                assert_eq!(mode(&folder.join(private)), 0o600, "{private}");
            }
            assert_eq!(Ledger::open(folder.join(LEDGER)).unwrap().records().unwrap().len(), 2);
        }
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("callgate");
        let refused = || {
            let error = try_out(&folder, OffsetDateTime::now_utc()).unwrap_err();
            assert!(matches!(error, TrustError::Occupied { .. }), "{error}");
            assert_eq!(names(root.path()), ["callgate"]);
        };
        fs::write(&folder, "a file").unwrap();
        refused();
        fs::remove_file(&folder).unwrap();
        symlink("nowhere", &folder).unwrap();
        refused();
        fs::remove_file(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("README.md"), "sources").unwrap();
        refused();
        assert_eq!(names(&folder), ["README.md"]);
    }

    #[test]
    fn the_config_is_a_good_one_on_the_loopback_and_with_the_users_that_it_says() {
        let config = Config::parse(CONFIG, "try_out.toml", Path::new("."), std::iter::empty()).unwrap();
        for door in [config.doors.clear, config.doors.tls] {
            assert!(door.unwrap().ip().is_loopback());
        }
        let [app, viewer] = TRY_OUT_USERS.map(|name| config.directory.user(name).unwrap());
        assert!(app.groups.allow_keys() && !viewer.groups.allow_keys());
        for user in [app, viewer] {
            assert!(user.groups.contains(Group::ControlOfAllDevices) && user.groups.contains(Group::SecureConnection));
        }
        assert!(matches!(config.switches[0].kind, config::SwitchKind::Simulated(_)));
        assert_eq!(config.directory.devices().count(), 100);
    }
}
