//! Refusals as answers: RFC 9457, with the name and number that each has everywhere (R43).

use std::borrow::Cow;

use axum::{
    extract::rejection::{BytesRejection, PathRejection, QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::admin::{
    Denied, Refused,
    accounts::{Busy, PasswordError},
};

/// The content type of problems.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// Why a request was refused (RFC 9457)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem
    #[serde(rename = "type")]
    #[schema(example = "urn:callgate:error:VERSION_CONFLICT")]
    pub kind: String,
    /// What is wrong, the same for all of this kind
    #[schema(value_type = String, example = "It was changed since it was read, and that change would be lost.")]
    pub title: Cow<'static, str>,
    /// The HTTP status
    #[schema(example = 412)]
    pub status: u16,
    /// What is special of this one
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schema(example = "user \"recorder\" is at version 12, and not at 11")]
    pub detail: String,
    /// The stable name, the same in logs, metrics and records
    #[schema(value_type = String, example = "VERSION_CONFLICT")]
    pub code: Cow<'static, str>,
    /// The stable number
    #[schema(example = 802)]
    pub number: i32,
    /// The rule behind it
    #[schema(value_type = String, example = "R43")]
    pub rule: Cow<'static, str>,
    /// What to change
    #[schema(value_type = String, example = "Read it again, and repeat the change on what it is now.")]
    pub mend: Cow<'static, str>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    error: ErrorCode,
    detail: String,
    /// In seconds.
    retry_after: Option<u64>,
}

/// The code of a refusal, among the extensions of its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct RefusedWith(pub(super) ErrorCode);

impl Problem {
    /// A refusal of this code.
    pub(super) fn new(status: StatusCode, error: ErrorCode, detail: impl Into<String>) -> Self {
        Self { status, error, detail: detail.into(), retry_after: None }
    }

    /// As it is sent.
    pub(super) fn body(self) -> ProblemBody {
        let info = callgate_wire::lookup(self.error);
        ProblemBody {
            kind: format!("urn:callgate:error:{}", info.name()),
            title: info.text.into(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: info.name().into(),
            number: info.number(),
            rule: info.rule.into(),
            mend: info.mend.into(),
        }
    }

    /// With the status that the code has by itself.
    pub(super) fn of(error: ErrorCode, detail: impl Into<String>) -> Self {
        Self::new(status_of(error), error, detail)
    }

    /// Something in the path, the query or a header isn't what it should be.
    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorCode::RequestNotUnderstood, detail)
    }

    /// A value of the body isn't allowed.
    pub(super) fn field(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::of(ErrorCode::FieldInvalid, format!("{field}: {problem}"))
    }

    /// The role may, and yet it isn't done for who asks.
    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::of(ErrorCode::AdminNotAllowed, detail)
    }

    /// Others are before it, and it would wait too long.
    pub(super) fn busy(detail: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::of(ErrorCode::TooManyRequests, detail) }
    }

    /// There is nothing of this name.
    pub(super) fn not_found(what: impl std::fmt::Display) -> Self {
        Self::of(ErrorCode::NotFound, format!("there is no {what}"))
    }

    /// The same as the answer to a request that was only to be done if nothing was there yet.
    pub(super) fn into_precondition(mut self) -> Self {
        if self.error == ErrorCode::AlreadyExists {
            self.status = StatusCode::PRECONDITION_FAILED;
        }
        self
    }
}

/// The usual status of a code.
fn status_of(error: ErrorCode) -> StatusCode {
    match error {
        ErrorCode::NotFound | ErrorCode::NotConfigured => StatusCode::NOT_FOUND,
        ErrorCode::AlreadyExists
        | ErrorCode::GroupStillNeeded
        | ErrorCode::StandardGroup
        | ErrorCode::StillReferenced
        | ErrorCode::StillCertified
        | ErrorCode::LastAdministrator => StatusCode::CONFLICT,
        ErrorCode::VersionConflict => StatusCode::PRECONDITION_FAILED,
        ErrorCode::VersionRequired => StatusCode::PRECONDITION_REQUIRED,
        ErrorCode::FieldInvalid | ErrorCode::GroupNeedsOthers | ErrorCode::IdempotencyKeyReused => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        ErrorCode::AdminNotAuthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::AdminNotAllowed | ErrorCode::SetupTokenInvalid => StatusCode::FORBIDDEN,
        ErrorCode::AdminLockedOut | ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
        ErrorCode::AuditUnavailable
        | ErrorCode::GatewayNotRunning
        | ErrorCode::RightsNotAcknowledged
        | ErrorCode::StoreUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorCode::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::RequestNotUnderstood | ErrorCode::PageTokenInvalid | ErrorCode::InvalidArgument => {
            StatusCode::BAD_REQUEST
        }
        ErrorCode::CertificateExpired
        | ErrorCode::CertificateNotYetValid
        | ErrorCode::CertificateWrongUsage
        | ErrorCode::CertificateInvalid => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, error, retry_after, .. } = self;
        // Texts and numbers: nothing of it can fail.
        let mut body = serde_json::to_vec(&self.body()).unwrap_or_default();
        body.push(b'\n');
        let mut response = (status, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"callgate\""));
        }
        response.extensions_mut().insert(RefusedWith(error));
        response
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let code = refused.code();
        match &refused {
            // What the disk or the system said is for the log.
            Refused::Store(crate::store::StoreError::Conflict { .. }) => {
                Self::of(code, "somebody else changed it in this moment")
            }
            Refused::Store(error) => {
                tracing::error!(%error, "the store doesn't take a change");
                Self::of(code, "the gateway's log has the reason")
            }
            _ => Self::of(code, refused.to_string()),
        }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let detail = denied.to_string();
        match denied {
            Denied::Busy(busy) => busy.into(),
            Denied::LockedOut(wait) => {
                let retry_after = Some(wait.as_secs().max(1));
                Self { retry_after, ..Self::of(ErrorCode::AdminLockedOut, detail) }
            }
            Denied::NotLocalAdministrator(_) => Self::of(ErrorCode::AdminNotAllowed, detail),
            Denied::NotAuthenticated => {
                Self::of(ErrorCode::AdminNotAuthenticated, "account and password, or the token, are not good")
            }
            Denied::Password(error) => error.into(),
            Denied::Refused(refused) => refused.into(),
        }
    }
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
        Self::busy(busy.to_string())
    }
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy(busy) => busy.into(),
            PasswordError::Length(_) => Self::field("password", error),
            PasswordError::Randomness => Self::of(ErrorCode::Internal, error.to_string()),
        }
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(rejection.body_text())
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            return Self::of(ErrorCode::BodyTooLarge, format!("up to {} bytes are allowed", super::MAX_BODY));
        }
        Self::bad_request("the body could not be read")
    }
}
