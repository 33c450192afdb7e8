//! Who got which key when, by the audit log (R21).
//!
//! For readers: records have no key, and who is to check others should need no right to change anything.

use std::{ops::RangeInclusive, sync::Arc};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    extract::Asked,
    log_reading::{ReachedRecord, SearchStopped, bound, reached, time},
    page::list_query,
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::accounts::Role,
    audit::{Came, Found, Part, Query, Search, search},
};

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
