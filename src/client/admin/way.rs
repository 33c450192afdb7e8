//! How the API is reached.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::Extension;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustix::process::geteuid;
use tokio::{net::UnixStream, sync::watch};
use tower::ServiceExt;

use super::{Admin, Problem, answer::Answer};
use crate::{
    audit::AuditLog,
    config::Config,
    gateway::{self, StartError},
    http::{Health, Peer},
};

/// How long it may take until a gateway that has its store listens at its socket, or another command has done its work.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
const ROOT: u32 = 0;
/// The longest answer.
const MAX_ANSWER: usize = 64 << 20;

/// What answers.
pub(super) enum Way {
    /// A gateway that runs.
    Socket(SendRequest<Full<Bytes>>),
    /// The API in this process.
    Process(axum::Router),
}

/// Who answers, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// The gateway that listens at this socket.
    Gateway(PathBuf),
    /// Nobody runs: this process has the store.
    Store(PathBuf),
}

/// Why something isn't done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The connection to the gateway broke: what was asked for may be done or not.
    #[error(
        "the gateway went away before it answered: {0}: look whether it was done, and start it again if it is gone"
    )]
    Gone(String),
    /// What came can't be kept here.
    #[error("what the gateway sends can't be kept: {0}")]
    NotKept(io::Error),
    /// What was answered isn't what this version knows.
    #[error("the gateway's answer can't be understood: {0}: is it of another version?")]
    NotUnderstood(String),
    /// The store is somebody else's: files that this process makes there the gateway could not open.
    #[error(
        "{}: it belongs to the user {owner}, and no gateway runs that could do it: run this command as that user, or start \
         the gateway first", path.display()
    )]
    OtherOwner {
        /// The store, or its folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Somebody else listens at the socket: nothing is told them, such as a password.
    #[error(
        "{}: the user {listener} listens there, who is neither root nor you nor the owner of the store: nothing was asked for. \
         Look whose socket it is; the gateway of this config has another `admin.socket`, or runs as another user than its \
         store belongs to", path.display()
    )]
    OtherListener {
        /// The socket.
        path: PathBuf,
        /// Who listens there.
        listener: u32,
    },
    /// The API has refused it.
    #[error(transparent)]
    Refused(Box<Problem>),
    /// The socket is there and can't be used.
    #[error(
        "{}: {error}{}", path.display(),
        if error.kind() == io::ErrorKind::PermissionDenied { ": root and the gateway's own user may administer it" } else { "" }
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// No gateway runs, and the store can't be used.
    #[error("no gateway listens at {}: {error}", socket.display())]
    Store {
        /// Where a gateway would listen.
        socket: PathBuf,
        /// Why.
        error: Box<StartError>,
    },
}

impl AdminError {
    /// What to do, where the API says so.
    pub fn mend(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => Some(&problem.0.mend),
            _ => None,
        }
    }

    /// Whether the arguments, or files that somebody can mend, are to blame.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Refused(problem) => problem.is_input(),
            Self::Store { error, .. } => error.is_input(),
            Self::OtherOwner { .. } => true,
            Self::Gone(_)
            | Self::NotKept(_)
            | Self::NotUnderstood(_)
            | Self::OtherListener { .. }
            | Self::Socket { .. } => false,
        }
    }
}

impl Admin {
    /// Reaches the gateway of this config if it runs, and its store if not.
    ///
    /// # Errors
    /// [`AdminError::Socket`], [`AdminError::OtherListener`], [`AdminError::Store`], [`AdminError::OtherOwner`].
    pub async fn connect(config: &Config) -> Result<Self, AdminError> {
        let socket = &config.admin.socket;
        let begun = Instant::now();
        loop {
            if let Some(running) = Self::running(config).await? {
                return Ok(running);
            }
            is_own(&config.store.file)?;
            match Way::in_process(config).await {
                Ok(way) => return Ok(Self { way, reached: Reached::Store(config.store.file.clone()) }),
                Err(error) if error.is_in_use() && begun.elapsed() < PATIENCE => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(AdminError::Store { socket: socket.clone(), error: Box::new(error) }),
            }
        }
    }
}

impl Admin {
    /// Reaches the gateway of this config; `None`: none runs.
    ///
    /// # Errors
    /// [`AdminError::Socket`], [`AdminError::OtherListener`].
    pub async fn running(config: &Config) -> Result<Option<Self>, AdminError> {
        let socket = &config.admin.socket;
        match UnixStream::connect(socket).await {
            Ok(stream) => {
                let unknown = |error| AdminError::Socket { path: socket.clone(), error };
                let listener = stream.peer_cred().map_err(unknown)?.uid();
                let owner = owner(&config.store.file).map(|(_, owner)| owner);
                let is_trusted = may_answer(listener, geteuid().as_raw(), owner);
                let Some(way) = Way::to(stream, is_trusted).await? else {
                    return Err(AdminError::OtherListener { path: socket.clone(), listener });
                };
                Ok(Some(Self { way, reached: Reached::Gateway(socket.clone()) }))
            }
            // Nobody listens: there is none, or a gateway that was killed has left it.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                Ok(None)
            }
            Err(error) => Err(AdminError::Socket { path: socket.clone(), error }),
        }
    }
}

impl Way {
    /// To who listens; `None`: they aren't trusted, and hear nothing.
    async fn to(stream: UnixStream, is_trusted: bool) -> Result<Option<Self>, AdminError> {
        if !is_trusted {
            return Ok(None);
        }
        let gone = |error: hyper::Error| AdminError::Gone(error.to_string());
        let (requests, connection) = handshake(TokioIo::new(stream)).await.map_err(gone)?;
        // It ends with the last request; how, the one who waits for an answer hears.
        tokio::spawn(connection);
        Ok(Some(Self::Socket(requests)))
    }

    async fn in_process(config: &Config) -> Result<Self, StartError> {
        let trail = Arc::new(AuditLog::open(config.audit.clone())?);
        let administration = gateway::administration(config, trail).await?;
        let uid = geteuid().as_raw();
        let settings = watch::channel(Arc::new(config.clone())).1;
        let api = gateway::api(
            &Arc::new(administration),
            settings,
            None,
            Some(config.audit.folder.clone()),
            Health::default(),
        )?;
        Ok(Self::Process(api.layer(Extension(Peer::Unix { uid, pid: None }))))
    }

    /// Sends a request, and waits for the whole answer.
    ///
    /// # Errors
    /// [`AdminError::Gone`].
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer, AdminError> {
        whole(self.begin(request).await?).await
    }

    /// The same, and gives what comes to `keep`, if it isn't refused.
    ///
    /// # Errors
    /// [`AdminError::Gone`], [`AdminError::NotKept`], and the refusal.
    pub(super) async fn download(
        &mut self,
        request: Request<Full<Bytes>>,
        keep: &mut (impl io::Write + Send),
    ) -> Result<(), AdminError> {
        let response = self.begin(request).await?;
        if !response.status().is_success() {
            return whole(response).await?.of_success().map(drop);
        }
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| AdminError::Gone(error.to_string()))?;
            if let Ok(bytes) = frame.into_data() {
                keep.write_all(&bytes).map_err(AdminError::NotKept)?;
            }
        }
        Ok(())
    }

    async fn begin(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Reply>, AdminError> {
        let gone = |error: hyper::Error| AdminError::Gone(error.to_string());
        match self {
            Self::Socket(requests) => {
                requests.ready().await.map_err(gone)?;
                let response = requests.send_request(request).await.map_err(gone)?;
                Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
            Self::Process(router) => {
                let Ok(response) = router.clone().oneshot(request).await;
                Ok(response.map(|body| body.map_err(BoxError::from).boxed_unsync()))
            }
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A body that comes.
type Reply = UnsyncBoxBody<Bytes, BoxError>;

async fn whole(response: Response<Reply>) -> Result<Answer, AdminError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER).collect().await.map_err(|error| AdminError::Gone(error.to_string()))?;
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}

/// Whether the store is this user's, or its folder if there is none yet.
fn is_own(store: &Path) -> Result<(), AdminError> {
    match owner(store) {
        Some((path, owner)) if owner != geteuid().as_raw() => Err(AdminError::OtherOwner { path: path.into(), owner }),
        // What isn't there, or can't be looked at, is told of when it is opened.
        _ => Ok(()),
    }
}

/// Whose the store is, or its folder if there is none yet.
fn owner(store: &Path) -> Option<(&Path, u32)> {
    // The parent of a bare name is empty.
    let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    [store, folder].into_iter().find_map(|path| Some((path, fs::metadata(path).ok()?.uid())))
}

/// Whether a listener of this user may be asked: root can do everything anyhow, and who owns the store runs its gateway.
/// Anybody else has put a socket where the gateway's should be, to hear passwords.
fn may_answer(listener: u32, me: u32, owner_of_store: Option<u32>) -> bool {
    listener == ROOT || listener == me || Some(listener) == owner_of_store
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn r38_who_is_not_trusted_reads_nothing() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        assert!(Way::to(ours, false).await.unwrap().is_none());
        assert_eq!(theirs.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[test]
    fn the_folder_of_a_bare_file_name_is_the_present_one() {
        let (folder, _) = owner(Path::new("no-store-of-this-name")).unwrap();
        assert_eq!(folder, Path::new("."));
    }

    #[test]
    fn r38_who_is_neither_root_nor_the_caller_nor_the_owner_of_the_store_is_asked_for_nothing() {
        for (listener, me, owner, expected) in [
            (0, 1000, Some(900), true),
            (1000, 1000, Some(900), true),
            (900, 0, Some(900), true),
            (1000, 0, Some(900), false),
            (1000, 0, None, false),
            (1001, 1000, Some(1000), false),
        ] {
            assert_eq!(may_answer(listener, me, owner), expected, "{listener} {me} {owner:?}");
        }
    }
}
