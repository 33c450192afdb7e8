//! What `callgate serve` tells who started it (`sd_notify`, systemd's protocol): that it is ready, reads its config again,
//! stops, and is alive. Where nobody listens nothing is said.

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// How long a stop takes behind the time that sessions have to go elsewhere, at most.
const STOP: Duration = Duration::from_secs(30);

/// Whoever started the process, if it wants to hear of it.
pub(super) struct Notifier {
    /// `None`: nobody does.
    to: Option<(UnixDatagram, SocketAddr)>,
    /// How often it has to be told that the process is alive.
    pub(super) watchdog: Option<Duration>,
}

impl Notifier {
    /// By the variables `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(super) fn from_environment() -> Self {
        let text = |name| env::var(name).ok();
        let is_other = text("WATCHDOG_PID").is_some_and(|pid| pid != std::process::id().to_string());
        let watchdog = text("WATCHDOG_USEC").filter(|_| !is_other).and_then(|micros| micros.parse().ok());
        let to = env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty());
        Self::new(to.as_deref(), watchdog)
    }

    fn new(to: Option<&OsStr>, watchdog_micros: Option<u64>) -> Self {
        let open = |path: &OsStr| Ok::<_, io::Error>((UnixDatagram::unbound()?, address(path)?));
        let to = to.and_then(|path| {
            open(path).inspect_err(|error| warn!(?path, %error, "NOTIFY_SOCKET can't be used: nobody is told")).ok()
        });
        // Twice in each period, as systemd advises: one that comes late is no harm.
        let watchdog = watchdog_micros.filter(|micros| *micros > 0).map(|micros| Duration::from_micros(micros) / 2);
        Self { watchdog: watchdog.filter(|_| to.is_some()), to }
    }

    /// Apps and switches can come.
    pub(super) fn ready(&self) {
        self.tell("READY=1\nSTATUS=doors are open");
    }

    /// The config is read again; [`ready`](Self::ready) follows, whatever comes of it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// It stops, after so long at most.
    pub(super) fn stopping(&self, drain: Duration) {
        let told = "STOPPING=1\nSTATUS=sessions are told, and closed";
        if drain.is_zero() {
            return self.tell(told);
        }
        self.tell(&format!("{told}\nEXTEND_TIMEOUT_USEC={}", (drain + STOP).as_micros()));
    }

    /// It is alive.
    pub(super) fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, what: &str) {
        if let Some((socket, to)) = &self.to
            && let Err(error) = socket.send_to_addr(what.as_bytes(), to)
        {
            warn!(%error, what, "who started the gateway could not be told");
        }
    }
}

/// A path, or with an `@` in front a name of Linux' abstract namespace.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 256];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    #[test]
    fn all_that_happens_is_told_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("callgate-test-{}", std::process::id());
        let at_name = SocketAddr::from_abstract_name(&name).unwrap();
        for (socket, told) in [
            (UnixDatagram::bind(&path).unwrap(), path.as_os_str()),
            (UnixDatagram::bind_addr(&at_name).unwrap(), OsStr::new(&format!("@{name}"))),
        ] {
            let notifier = Notifier::new(Some(told), Some(10_000_000));
            assert_eq!(notifier.watchdog, Some(Duration::from_secs(5)));
            notifier.ready();
            assert!(hear(&socket).starts_with("READY=1\n"));
            notifier.reloading();
            let reloading = hear(&socket);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0, "{reloading}");
            notifier.alive();
            assert_eq!(hear(&socket), "WATCHDOG=1");
            notifier.stopping(Duration::ZERO);
            let stopping = hear(&socket);
            assert!(stopping.starts_with("STOPPING=1\n") && !stopping.contains("EXTEND"), "{stopping}");
            notifier.stopping(Duration::from_secs(300));
            assert!(hear(&socket).ends_with("\nEXTEND_TIMEOUT_USEC=330000000"));
        }
    }

    #[test]
    fn where_nobody_listens_nothing_happens() {
        for to in [None, Some(OsStr::new("/nonexistent/notify"))] {
            let notifier = Notifier::new(to, Some(1_000_000));
            notifier.ready();
            assert_eq!(notifier.watchdog.is_some(), to.is_some());
        }
        assert_eq!(Notifier::new(Some(OsStr::new("@x")), Some(0)).watchdog, None);
    }
}
