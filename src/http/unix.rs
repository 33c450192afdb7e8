//! A place for a unix socket: taken safely, whatever lies there.
//!
//! Beside the socket lies a lock, `NAME.lock`, that is held for as long as somebody listens. Who has it may replace what a
//! gateway that is gone has left; a socket that somebody listens at is never taken away.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 64;

/// Where a unix socket is to be, and who may connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPlace {
    /// The socket. Its folder is there.
    pub path: PathBuf,
    /// Its mode: 0600 for the gateway's own user only, 0660 for its group as well. Root may always.
    pub mode: u32,
}

/// Why a unix socket can't be where it is to be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody listens there.
    #[error("{}: another process listens there: stop it, or name another path", .0.display())]
    InUse(PathBuf),
    /// Something else lies there, and is left alone.
    #[error("{}: there is something that is no socket: take it away, or name another path", .0.display())]
    NoSocket(PathBuf),
    /// The system doesn't allow it.
    #[error("{}: can't be listened at: {error}", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A unix socket that listens. It takes its file with it.
pub(super) struct UnixSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// What it is: a file that somebody else has put there meanwhile is left alone.
    inode: u64,
    _lock: File,
}

impl UnixSocket {
    /// # Errors
    /// [`SocketError`].
    pub(super) fn bind(place: &UnixPlace) -> Result<Self, SocketError> {
        let path = place.path.as_path();
        let system = |error: io::Error| SocketError::System { path: path.into(), error };
        let lock = beside(path, ".lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock).map_err(system)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SocketError::InUse(path.into())),
            Err(error) => return Err(system(error.into())),
        }
        match fs::symlink_metadata(path) {
            Ok(there) if !there.file_type().is_socket() => return Err(SocketError::NoSocket(path.into())),
            // Another program than ours has no lock, and yet may listen.
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::InUse(path.into())),
            _ => {}
        }
        // Made beside its place, with its mode, and moved there before it listens: nobody connects before.
        let new = beside(path, ".new");
        let _ = fs::remove_file(&new);
        let listener = (|| {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
            socket.bind(&SockAddr::unix(&new)?)?;
            fs::set_permissions(&new, Permissions::from_mode(place.mode))?;
            fs::rename(&new, path)?;
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            UnixListener::from_std(socket.into())
        })();
        let listener = listener.inspect_err(|_| drop(fs::remove_file(&new))).map_err(system)?;
        let inode = fs::symlink_metadata(path).map_err(system)?.ino();
        Ok(Self { listener, path: path.into(), inode, _lock: lock })
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| there.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use super::*;

    #[tokio::test]
    async fn a_live_socket_is_never_stolen_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let place = UnixPlace { path: folder.path().join("admin.sock"), mode: 0o660 };
        let first = UnixSocket::bind(&place).unwrap();
        assert_eq!(fs::metadata(&place.path).unwrap().mode() & 0o7777, 0o660);
        assert!(matches!(UnixSocket::bind(&place), Err(SocketError::InUse(_))));
        assert!(UnixStream::connect(&place.path).is_ok(), "the first one goes on");
        drop(first);
        assert!(!place.path.exists(), "it takes its file with it");

        // What a process that was killed has left.
        drop(net::UnixListener::bind(&place.path).unwrap());
        let again = UnixSocket::bind(&place).unwrap();
        assert!(UnixStream::connect(&place.path).is_ok());
        drop(again);

        // Another program, that has no lock.
        let other = net::UnixListener::bind(&place.path).unwrap();
        assert!(matches!(UnixSocket::bind(&place), Err(SocketError::InUse(_))));
        drop(other);
        fs::remove_file(&place.path).unwrap();

        fs::write(&place.path, "precious").unwrap();
        assert!(matches!(UnixSocket::bind(&place), Err(SocketError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_file_that_somebody_else_put_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = UnixPlace { path: folder.path().join("admin.sock"), mode: 0o600 };
        let socket = UnixSocket::bind(&place).unwrap();
        fs::rename(&place.path, folder.path().join("moved")).unwrap();
        fs::write(&place.path, "theirs").unwrap();
        drop(socket);
        assert!(place.path.exists());
        let missing = UnixPlace { path: folder.path().join("none/admin.sock"), mode: 0o600 };
        assert!(matches!(UnixSocket::bind(&missing), Err(SocketError::System { .. })));
    }
}
