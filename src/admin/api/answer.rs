//! What handlers answer with when all went well.

use std::fmt::{self, Write as _};

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use super::extract::etag;
use crate::{
    admin::{Done, accounts::Token},
    directory::Of,
    hub::Effect,
    store::Version,
};

/// What was made or changed, and what that did
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed<T> {
    /// As it is now
    pub item: T,
    /// What the change did
    pub done: Acknowledged,
    #[serde(skip)]
    version: Option<Version>,
}

/// It is gone, and what that did
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Gone {
    /// How many certificates were revoked with it
    pub revoked: usize,
    /// What the change did
    pub done: Acknowledged,
}

/// A change that is in effect
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Acknowledged {
    /// Names it in the records of the audit log
    #[schema(example = "8f0e2c8d5b7a4410")]
    pub change: String,
    /// The number of the rights that are in effect; 0 while no gateway runs
    pub rights: u64,
    /// What it did to sessions of apps
    pub effect: Effects,
}

/// What a change did to sessions of apps
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Effects {
    /// Sessions that are open after it
    pub sessions: usize,
    /// Of those, sessions that were told of a change
    pub changed: usize,
    /// Sessions that were closed
    pub closed: usize,
    /// Frames with a key that waited, and left without it or not at all
    pub withheld: usize,
}

/// A token that is told once.
pub struct Told(Token);

/// Something with the version that it has.
pub(super) struct Versioned<T>(pub(super) Version, pub(super) T);

/// Something that was made, with where it is.
pub(super) struct Made<T>(pub(super) String, pub(super) Changed<T>);

/// What a put has made or replaced.
pub(super) enum Put<T> {
    /// It is new.
    Made(Made<T>),
    /// It was there.
    Replaced(Changed<T>),
}

impl<T> Put<T> {
    /// The answer to a put of this state, of something with this path.
    pub(super) fn of(of: Of, location: String, changed: Changed<T>) -> Self {
        match of {
            Of::New => Self::Made(Made(location, changed)),
            Of::Latest | Of::Version(_) => Self::Replaced(changed),
        }
    }
}

/// The path of something, below `/v1`.
pub(super) fn place(list: &str, names: &[&str]) -> String {
    let mut path = format!("/v1/{list}");
    for name in names {
        path.push('/');
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                path.push(char::from(byte));
            } else {
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path
}

impl From<Token> for Told {
    fn from(token: Token) -> Self {
        Self(token)
    }
}

impl Serialize for Told {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.tell())
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told(..)")
    }
}

impl Told {
    /// The token itself.
    pub fn tell(&self) -> &str {
        self.0.tell()
    }
}

impl<'de> Deserialize<'de> for Told {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Token::told(String::deserialize(deserializer)?)))
    }
}

impl<T> Changed<T> {
    pub(super) fn new(done: Done, item: T) -> Self {
        Self { item, version: done.version, done: done.into() }
    }
}

impl From<Done> for Gone {
    fn from(done: Done) -> Self {
        Self { revoked: done.revoked, done: done.into() }
    }
}

impl From<Done> for Acknowledged {
    fn from(done: Done) -> Self {
        Self { change: done.change, rights: done.rights, effect: done.effect.into() }
    }
}

impl From<Effect> for Effects {
    fn from(Effect { sessions, changed, closed, withheld }: Effect) -> Self {
        Self { sessions, changed, closed, withheld }
    }
}

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let Self(version, item) = self;
        with_headers(Json(item).into_response(), [(header::ETAG, Some(etag(version)))])
    }
}

impl<T: Serialize> IntoResponse for Changed<T> {
    fn into_response(self) -> Response {
        let version = self.version;
        with_headers(Json(self).into_response(), [(header::ETAG, version.map(etag))])
    }
}

impl<T: Serialize> IntoResponse for Made<T> {
    fn into_response(self) -> Response {
        let Self(location, changed) = self;
        let mut response = with_headers(changed.into_response(), [(header::LOCATION, Some(location))]);
        *response.status_mut() = StatusCode::CREATED;
        response
    }
}

impl<T: Serialize> IntoResponse for Put<T> {
    fn into_response(self) -> Response {
        match self {
            Self::Made(made) => made.into_response(),
            Self::Replaced(changed) => changed.into_response(),
        }
    }
}

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}

/// Names of the API are ASCII, or percent-encoded: they can stand in a header.
fn with_headers<const N: usize>(mut response: Response, headers: [(HeaderName, Option<String>); N]) -> Response {
    for (name, value) in headers {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
