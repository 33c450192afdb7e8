//! What the API answers.

use bytes::Bytes;
use hyper::{HeaderMap, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};

use super::AdminError;

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

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Why a request was refused (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, thiserror::Error)]
#[error("{code} ({number}): {}", said(title, detail))]
pub struct Problem {
    /// What is wrong, the same for all of its kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is special of this one.
    #[serde(default)]
    pub detail: String,
    /// The stable name (R43).
    pub code: String,
    /// The stable number.
    pub number: i32,
    /// The rule behind it.
    pub rule: String,
    /// What to change.
    pub mend: String,
}

impl Problem {
    /// Whether what was asked for can't be, whatever the gateway has: the arguments are to be mended.
    pub fn is_input(&self) -> bool {
        matches!(self.status, 400 | 413 | 414 | 422)
    }

    /// Whether it was changed between its reading and its change.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == StatusCode::PRECONDITION_FAILED.as_u16()
    }
}

impl Answer {
    /// What was answered, if it is no refusal.
    pub(super) fn of_success(self) -> Result<Self, AdminError> {
        if self.status.is_success() {
            return Ok(self);
        }
        match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => Err(AdminError::Refused(Box::new(problem))),
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

fn said<'a>(title: &'a str, detail: &'a str) -> &'a str {
    if detail.is_empty() { title } else { detail }
}
