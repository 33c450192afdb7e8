//! Who got which key when, by the audit log (R21).
//!
//! For readers: records have no key, and who is to check others should need no right to change anything.

use std::{io, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::timeout};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    extract::Asked,
    page::{Window, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::accounts::Role,
    audit::{Bound, Came, Found, Part, Query, Reached, Search, Stopped, beginning, search},
};

/// How many searches run at once.
pub(super) const SEARCHES: usize = 2;
/// How long one waits for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How much of the log one request reads, and for how long (R41a).
const BYTES: u64 = 32 * 1024 * 1024;
const TIME: Duration = Duration::from_secs(2);

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::Search, routes!(find_disclosures))
}

/// A part of what was found
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disclosures {
    /// What became of keys, in the order of the log
    pub items: Vec<Disclosure>,
    /// By these records nothing was given after all, whatever `items` say here or said in earlier parts
    pub void: Vec<VoidRecords>,
    /// The last record that was looked at; null if there was none
    pub reached: Option<ReachedRecord>,
    /// Why the part ends there
    pub stopped: SearchStopped,
    /// The cursor of the next part, which may have no items; null if there is no more
    #[schema(example = "ZGlzY2xvc3VyZXMAMS4yMDQ4LjcuMA")]
    pub next: Option<String>,
}

/// A key, a session, and what became of it
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disclosure {
    /// The record's number
    pub n: u64,
    /// When
    #[schema(format = DateTime)]
    pub time: String,
    /// What became of it
    pub outcome: DisclosureOutcome,
    /// The session
    #[schema(example = "s0000000000001")]
    pub session: String,
    /// Its user
    #[schema(example = "recorder")]
    pub user: String,
    /// Its instance
    #[schema(example = "1")]
    pub instance: String,
    /// By which door it came in
    #[schema(example = "tls")]
    pub door: String,
    /// The device
    #[schema(example = "1001")]
    pub device: String,
    /// The call
    #[schema(example = "c660ea429d7e10")]
    pub call: String,
    /// The stream
    #[schema(example = "m660ea429d7e11")]
    pub stream: String,
    /// The generation of its keys (R22)
    pub generation: u64,
    /// The suite
    #[schema(example = "AES_CM_128_HMAC_SHA1_80")]
    pub suite: String,
    /// How the stream stands for the session (R17)
    #[schema(example = "KEYS_AVAILABLE")]
    pub indicator: String,
    /// Why there is no key; empty if there is
    pub reason: String,
    /// The rule that decided
    #[schema(example = "R16")]
    pub rule: String,
    /// Names the key, and doesn't tell it
    #[schema(example = "4be1c07a95d2f386")]
    pub fingerprint: String,
}

/// What became of a key
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisclosureOutcome {
    /// The session has it
    Disclosed,
    /// The session doesn't get it
    Refused,
    /// A disclosure that an earlier part told, or one outside of the time that is asked for, came to nothing: the key didn't
    /// leave. It is the latest one of the same session, device, stream and generation
    TakenBack,
    /// It was on record as disclosed, and didn't leave
    Withheld,
}

/// Records by which nothing was given
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VoidRecords {
    /// The number of the first one
    pub first: u64,
    /// The number of the last one
    pub last: u64,
}

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

list_query! {
    /// Which disclosures
    DisclosureQuery of "disclosures" {
        /// Only of this call, as events and records name it
        #[param(max_length = 128)]
        call: String,
        /// Only to this user
        #[param(max_length = 128)]
        user: String,
        /// Only of this device
        #[param(max_length = 128)]
        device: String,
        /// Only to this session
        #[param(max_length = 128)]
        session: String,
        /// Only to this instance
        #[param(max_length = 128)]
        instance: String,
        /// Not before this time, in UTC: 2026-11-29, 2026-11-29T10 or 2026-11-29T10:44:35
        #[param(max_length = 32, example = "2026-11-29")]
        from: String,
        /// Not after this time, of which what is given counts as a whole
        #[param(max_length = 32, example = "2026-11-29")]
        to: String,
        /// Refusals, too
        refused: bool,
    }
}

/// Find who got which key
///
/// By the audit log, the oldest first, a bounded part of it at a time: ask on with `next` until that is null. A key was disclosed to
/// a session if an item says `disclosed`, and no `void` and no `taken-back` of a later part says otherwise. No answer has a key.
/// Whether the records are right is said by `callgate audit verify`.
#[utoipa::path(
    get, path = "/v1/disclosures", tag = "live", params(DisclosureQuery),
    responses((status = 200, description = "A part of what there is", body = Disclosures)),
)]
async fn find_disclosures(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<DisclosureQuery>,
) -> Result<Json<Disclosures>, Problem> {
    let window = query.window()?;
    let asked = Search {
        refused: query.refused.unwrap_or_default(),
        after: reached(&window)?,
        query: Query {
            from: time("from", query.from.as_deref())?,
            to: time("to", query.to.as_deref())?,
            call: query.call,
            user: query.user,
            device: query.device,
            session: query.session,
            instance: query.instance,
        },
    };
    let limit = window.limit;
    let part = api.read_log(move |folder| search(folder, asked, &bound(limit))).await?;
    let Part { found, void, last, stopped, next } = part;
    Ok(Json(Disclosures {
        items: found.into_iter().map(Into::into).collect(),
        void: void.into_iter().map(Into::into).collect(),
        reached: last.map(|(n, time)| ReachedRecord { n, time }),
        stopped: stopped.into(),
        next: next.map(|reached| window.cursor(&reached.to_string())),
    }))
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

impl From<Found> for Disclosure {
    fn from(found: Found) -> Self {
        let Found { n, time, outcome, session, user, instance, door, device, call, stream, .. } = found;
        let Found { generation, suite, indicator, reason, rule, fingerprint, .. } = found;
        let outcome = match outcome {
            Came::Disclosed => DisclosureOutcome::Disclosed,
            Came::Refused => DisclosureOutcome::Refused,
            Came::TakenBack => DisclosureOutcome::TakenBack,
            Came::Withheld => DisclosureOutcome::Withheld,
        };
        Self {
            n,
            time,
            outcome,
            session,
            user,
            instance,
            door,
            device,
            call,
            stream,
            generation,
            suite,
            indicator,
            reason,
            rule,
            fingerprint,
        }
    }
}

impl From<RangeInclusive<u64>> for VoidRecords {
    fn from(records: RangeInclusive<u64>) -> Self {
        let (first, last) = records.into_inner();
        Self { first, last }
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
