//! Refusals before a session is open, which are told together (R21).

use std::{net::IpAddr, sync::Arc};

use callgate_wire::v1::ErrorCode;

use crate::audit;

/// What was refused in the last minute.
pub(super) type Refusals = audit::Repeats<Kind>;

/// Refusals that were counted and not told yet.
pub(super) type Repeated = audit::Repeated<Kind>;

/// What is to be told of a refusal now.
pub(super) type Noted = audit::Noted<Kind>;

/// Refusals that are told together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Whose.
    pub(super) source: IpAddr,
    /// Of whom, if there is such a user: several apps may come from the same source.
    pub(super) user: Option<Arc<str>>,
    /// With which code.
    pub(super) code: ErrorCode,
    /// And why in truth (R14): one of few texts.
    pub(super) cause: &'static str,
}
