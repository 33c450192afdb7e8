//! What the process asks of the system before it does anything else.

use anyhow::{Context, Result};
use callgate::{config::Limits, cti::MOST_LEAVING, gateway::worker_count};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// Files, pipes and listeners that there are however many sessions there are.
const OTHER_FILES: u64 = 64;
/// Where requests over HTTP come in: the metrics page, the administration, and the administration's unix socket.
const HTTP_LISTENERS: usize = 3;

/// Keys are in no core dump (R20): the system writes none, and hands none to a program either.
///
/// The limit alone isn't enough: it doesn't hold where dumps go through a pipe.
pub(super) fn forbid_core_dumps() -> Result<()> {
    const WHY: &str = "core dumps can't be switched off, and one would have keys in it";
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).context(WHY)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).context(WHY)
}

/// Takes all file descriptors that the process may have, and says so if they are fewer than the sessions may need (R41a).
pub(super) fn raise_open_files(limits: &Limits) {
    let allowed = getrlimit(Resource::Nofile);
    if allowed.current != allowed.maximum
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed })
    {
        warn!(%error, "the limit of open files can't be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    let needed = needed_files(limits);
    if allowed.is_some_and(|allowed| allowed < needed) {
        warn!(
            allowed,
            needed,
            "fewer files may be open than the limits of sessions need: raise the limit of open files (ulimit -n, \
             LimitNOFILE), or lower limits.sessions, limits.opening_connections and limits.http_connections"
        );
    }
}

/// One for each session, for each connection that isn't open yet on either door, for each session that takes its leave, and
/// for each connection over HTTP.
fn needed_files(limits: &Limits) -> u64 {
    let connections = limits.sessions.saturating_add(limits.opening_connections.saturating_mul(2));
    let connections = connections.saturating_add(worker_count(limits.workers).saturating_mul(MOST_LEAVING));
    let connections = connections.saturating_add(limits.http_connections.saturating_mul(HTTP_LISTENERS));
    u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OTHER_FILES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r41a_each_session_each_connection_that_opens_each_farewell_and_each_over_http_needs_a_file() {
        let mut limits = Limits::default();
        (limits.sessions, limits.opening_connections, limits.workers, limits.http_connections) = (1000, 10, 3, 20);
        assert_eq!(needed_files(&limits), 1000 + 2 * 10 + 3 * 256 + 3 * 20 + 64);
    }
}
