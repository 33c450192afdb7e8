//! How requests read the audit log: in their turn, and a bounded part of it each (R41a).

use std::{io, path::Path, sync::Arc, time::Duration};

use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::timeout};
use utoipa::ToSchema;

use super::{Api, page::Window, problem::Problem};
use crate::audit::{Bound, Reached, Stopped, beginning};

/// How many searches run at once.
pub(super) const SEARCHES: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How much of the log one request reads, and for how long (R41a).
const BYTES: u64 = 32 * 1024 * 1024;
const TIME: Duration = Duration::from_secs(2);

/// A record
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReachedRecord {
    /// Its number
    pub n: u64,
    /// Its time
    #[schema(format = DateTime)]
    pub time: String,
}

/// Why a search ends where it does
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SearchStopped {
    /// Enough of the log was read for one request: it goes on at `next`
    Bound,
    /// There is no more
    End,
    /// There are as many items as were asked for: it goes on at `next`
    Full,
}

/// The beginning of a time that a parameter says.
pub(super) fn time(name: &str, text: Option<&str>) -> Result<Option<String>, Problem> {
    let wrong = |expected| Problem::bad_request(format!("{name}: {expected}"));
    text.map(|text| beginning(text).map_err(wrong)).transpose()
}

/// Where the part before has stopped.
pub(super) fn reached(window: &Window) -> Result<Option<Reached>, Problem> {
    let wrong = |_| Problem::of(ErrorCode::PageTokenInvalid, "cursor: it is none of this list");
    window.after.as_deref().map(|after| after.parse().map_err(wrong)).transpose()
}

/// How much of the log is read for one request.
pub(super) fn bound(items: usize) -> Bound {
    Bound { items, bytes: BYTES, time: TIME }
}

impl Api {
    /// Reads in the log's folder, when it is this request's turn.
    pub(super) async fn read_log<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let Some(folder) = self.audit.clone() else {
            let detail = "there is no audit log in files, as [audit] describes it, that could be searched";
            return Err(Problem::of(ErrorCode::NotConfigured, detail));
        };
        let turn = timeout(TURN, Arc::clone(&self.searches).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Problem::busy("other searches of the audit log are being done"));
        };
        let reading = spawn_blocking(move || {
            let read = read(&folder);
            drop(turn);
            read
        });
        reading.await.map_err(|_| Problem::of(ErrorCode::Internal, ""))?.map_err(|error| {
            tracing::error!(%error, "the audit log can't be searched");
            Problem::of(ErrorCode::Internal, "the audit log can't be read, and the gateway's log has the reason")
        })
    }
}

impl From<Stopped> for SearchStopped {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Bound => Self::Bound,
            Stopped::End => Self::End,
            Stopped::Full => Self::Full,
        }
    }
}
