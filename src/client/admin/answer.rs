//! What the API answers.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::AdminError;
use crate::admin::api::ProblemBody;

/// An answer, whole.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Something with the mark of the state that it was read in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked<T> {
    /// What was read.
    pub it: T,
    /// Its mark, for a change of this state and no other; `None` for what can't be changed.
    pub mark: Option<Mark>,
}

/// The mark of a state: an ETag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark(pub(super) String);

/// Why a request was refused: what is special of it, or else what is wrong with all of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} ({}): {}", .0.code, .0.number, if .0.detail.is_empty() { &.0.title } else { .0.detail.as_str() })]
pub struct Problem(pub ProblemBody);

impl Problem {
    /// Whether what was asked for can't be, whatever the gateway has: the arguments are to be mended.
    pub fn is_input(&self) -> bool {
        matches!(self.0.status, 400 | 413 | 414 | 422)
    }

    /// Whether it was changed between its reading and its change.
    pub(super) fn is_conflict(&self) -> bool {
        self.0.status == StatusCode::PRECONDITION_FAILED.as_u16()
    }
}

impl Answer {
    /// What was answered, if it is no refusal.
    pub(super) fn of_success(self) -> Result<Self, AdminError> {
        if self.status.is_success() {
            return Ok(self);
        }
        match serde_json::from_slice(&self.body) {
            Ok(problem) => Err(AdminError::Refused(Box::new(Problem(problem)))),
            Err(_) => Err(AdminError::NotUnderstood(format!("it was answered with {}", self.status))),
        }
    }

    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, AdminError> {
        // What is in it, such as a token that is told once, is not repeated.
        let reason = |error: serde_json::Error| format!("at line {} of it, column {}", error.line(), error.column());
        serde_json::from_slice(&self.body).map_err(|error| AdminError::NotUnderstood(reason(error)))
    }

    pub(super) fn mark(&self) -> Option<Mark> {
        let tag = self.headers.get(header::ETAG)?;
        Some(Mark(tag.to_str().ok()?.into()))
    }
}
