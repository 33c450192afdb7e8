//! The records of the audit log (R21): who opened and was refused, what was administered, and all else that is on record.
//!
//! For readers, as disclosures are.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
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
    audit::{Listed, Listing, list},
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::Search, routes!(list_records))
}

/// A part of the audit log
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditRecords {
    /// The records, in the order of the log, each with its fields as they stand there: `n`, `time`, `record` and `mac`, and what
    /// there is to say of it
    #[schema(value_type = Vec<Object>)]
    pub items: Vec<Map<String, Value>>,
    /// The last record that was looked at; null if there was none
    pub reached: Option<ReachedRecord>,
    /// Why the part ends there
    pub stopped: SearchStopped,
    /// The cursor of the next part, which may have no items; null if there is no more
    #[schema(example = "cmVjb3JkcwAxLjIwNDguNy4w")]
    pub next: Option<String>,
}

list_query! {
    /// Which records
    RecordQuery of "records" {
        /// Only of this name, as the field `record` has it
        #[param(max_length = 64, example = "administration")]
        record: String,
        /// Only those of which a value is this, such as the name of a user or device, a session, a call, or an account
        #[param(max_length = 128)]
        about: String,
        /// Not before this time, in UTC: 2026-11-29, 2026-11-29T10 or 2026-11-29T10:44:35
        #[param(max_length = 32, example = "2026-11-29")]
        from: String,
        /// Not after this time, of which what is given counts as a whole
        #[param(max_length = 32, example = "2026-11-29")]
        to: String,
    }
}

/// Read the audit log
///
/// The oldest first, a bounded part of it at a time: ask on with `next` until that is null. Who got which key is told by
/// `/v1/disclosures`, which knows what came to nothing. Whether the records are right is said by `callgate audit verify`.
#[utoipa::path(
    get, path = "/v1/records", tag = "live", params(RecordQuery),
    responses((status = 200, description = "A part of what there is", body = AuditRecords)),
)]
async fn list_records(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<RecordQuery>,
) -> Result<Json<AuditRecords>, Problem> {
    let window = query.window()?;
    let asked = Listing {
        from: time("from", query.from.as_deref())?,
        to: time("to", query.to.as_deref())?,
        after: reached(&window)?,
        record: query.record,
        about: query.about,
    };
    let limit = window.limit;
    let Listed { records, last, stopped, next } =
        api.read_log(move |folder| list(folder, asked, &bound(limit))).await?;
    Ok(Json(AuditRecords {
        items: records,
        reached: last.map(|(n, time)| ReachedRecord { n, time }),
        stopped: stopped.into(),
        next: next.map(|reached| window.cursor(&reached.to_string())),
    }))
}
