//! Changes of users, groups and devices, as their resources ask for them.

use callgate_wire::v1::ErrorCode;

use super::{Api, extract::CascadeQuery, problem::Problem};
use crate::{
    admin::{Caller, Done},
    directory::{Cascade, Change, Of},
};

impl Api {
    /// Makes a change.
    pub(super) async fn change_directory(
        &self,
        caller: &Caller,
        change: &Change,
        of: Of,
        cascade: Cascade,
    ) -> Result<Done, Problem> {
        Ok(self.administration.change(&caller.actor, change, of, cascade).await?)
    }

    /// Makes or replaces something. `is_there`: it was there when the request came.
    pub(super) async fn put_directory(
        &self,
        caller: &Caller,
        change: &Change,
        of: Of,
        query: CascadeQuery,
        is_there: bool,
    ) -> Result<Done, Problem> {
        if of == Of::Latest && !is_there {
            // RFC 9110, 13.1.1: then a `*` isn't met.
            return Err(Problem::of(ErrorCode::VersionConflict, "If-Match: * is for what is there, and it isn't"));
        }
        self.change_directory(caller, change, of, query.cascade()).await.map_err(Problem::into_precondition)
    }
}
