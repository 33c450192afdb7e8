//! What handlers take of a request. Whatever isn't as it should be is a [`Problem`] that names it.

use std::future::Future;

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request, rejection::JsonRejection},
    http::{HeaderMap, HeaderName, StatusCode, header, request::Parts},
};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;
use zeroize::Zeroize;

use super::problem::Problem;
use crate::{
    admin::Caller,
    directory::{Cascade, Of},
    http::Peer,
    model::InstanceId,
    store::Version,
};

/// The body, as one JSON object. The copy that one of several pieces is read from is wiped; what the library has received it
/// into isn't (docs/SECURITY.md, "Not wiped").
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

/// What the path names.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

/// What the query asks for.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// Which state a change is a change of, by `If-Match` or `If-None-Match`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Condition(Option<Of>);

impl Condition {
    /// Of something that is there.
    ///
    /// # Errors
    /// The request doesn't say which state it means.
    pub(super) fn of_known(self) -> Result<Of, Problem> {
        match self.0 {
            Some(Of::New) => Err(Problem::bad_request("If-None-Match: * is for what is made anew")),
            Some(of) => Ok(of),
            None => Err(required("")),
        }
    }

    /// Of something that is there or is made.
    ///
    /// # Errors
    /// The request doesn't say which.
    pub(super) fn of_any(self) -> Result<Of, Problem> {
        self.0.ok_or_else(|| required(", or If-None-Match: * to make it"))
    }

    /// Of something whose change can be repeated and takes away: it may say which state it means.
    pub(super) fn if_any(self) -> Of {
        self.0.unwrap_or(Of::Latest)
    }
}

/// How a change does what stands against it
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct CascadeQuery {
    /// What needs or names it is changed with it; without this it is refused then
    #[serde(default)]
    cascade: bool,
}

impl CascadeQuery {
    pub(super) fn cascade(self) -> Cascade {
        if self.cascade { Cascade::All } else { Cascade::Nothing }
    }
}

/// The instance that is meant: the first one, if none is said, which is always good.
pub(super) fn instance_or_first(said: Option<InstanceId>) -> Result<InstanceId, Problem> {
    said.map_or_else(|| "1".parse().map_err(|error| Problem::field("instance", error)), Ok)
}

fn required(or: &str) -> Problem {
    Problem::of(ErrorCode::VersionRequired, format!("send the ETag in If-Match{or}"))
}

/// The ETag of a version.
pub(super) fn etag(version: Version) -> String {
    format!("\"v{}\"", version.0)
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = request.headers().get(header::CONTENT_TYPE).is_some_and(|content_type| {
            let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
            essence.trim().eq_ignore_ascii_case("application/json")
        });
        if !is_json {
            let detail = "Content-Type: application/json is understood, and nothing else";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorCode::RequestNotUnderstood, detail));
        }
        let bytes = Bytes::from_request(request, state).await?;
        let read = match bytes.try_into_mut() {
            Ok(mut bytes) => read_and_wipe(&mut bytes),
            Err(bytes) => read(&bytes),
        };
        read.map(Self)
    }
}

/// A body may hold a password, also one that is refused.
fn read_and_wipe<T: DeserializeOwned>(body: &mut [u8]) -> Result<T, Problem> {
    let read = read(body);
    body.zeroize();
    read
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Serde takes a list for a structure, by the order of its fields: nobody means that, and no description says it.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::of(ErrorCode::FieldInvalid, "the body is a list: one JSON object is expected"));
    }
    match Json::<T>::from_bytes(body) {
        Ok(Json(read)) => Ok(read),
        Err(JsonRejection::JsonDataError(error)) => {
            let text = error.body_text();
            let detail = text.strip_prefix("Failed to deserialize the JSON body into the target type: ");
            Err(Problem::of(ErrorCode::FieldInvalid, detail.unwrap_or(&text)))
        }
        Err(error) => Err(Problem::bad_request(error.body_text())),
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(named) = Path::from_request_parts(parts, state).await?;
        Ok(Self(named))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Query(asked) = Query::from_request_parts(parts, state).await?;
        Ok(Self(asked))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Condition {
    type Rejection = Problem;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, Problem>> + Send {
        std::future::ready(condition(&parts.headers))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, Problem>> + Send {
        let caller = parts.extensions.get::<Self>().cloned();
        std::future::ready(caller.ok_or_else(|| Problem::of(ErrorCode::AdminNotAuthenticated, "nobody was let in")))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = Problem;

    fn from_request_parts(parts: &mut Parts, _: &S) -> impl Future<Output = Result<Self, Problem>> + Send {
        let peer = parts.extensions.get::<Self>().cloned();
        std::future::ready(peer.ok_or_else(|| Problem::of(ErrorCode::Internal, "")))
    }
}

fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let text = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value
                .to_str()
                .map(|text| Some(text.trim()))
                .map_err(|_| Problem::bad_request(format!("{name}: no text"))),
            (Some(_), Some(_)) => Err(Problem::bad_request(format!("{name}: it is there twice"))),
        }
    };
    let of = match (text(header::IF_MATCH)?, text(header::IF_NONE_MATCH)?) {
        (None, None) => None,
        (Some("*"), None) => Some(Of::Latest),
        (Some(tag), None) => Some(Of::Version(version(tag)?)),
        (None, Some("*")) => Some(Of::New),
        (None, Some(_)) => return Err(Problem::bad_request("If-None-Match: * is understood, and nothing else")),
        (Some(_), Some(_)) => return Err(Problem::bad_request("If-Match or If-None-Match, and not both")),
    };
    Ok(Condition(of))
}

/// What isn't written like one of our ETags matches nothing.
fn version(tag: &str) -> Result<Version, Problem> {
    let number = tag.strip_prefix("\"v").and_then(|rest| rest.strip_suffix('"'));
    match number.and_then(|number| number.parse().ok()) {
        Some(number) => Ok(Version(number)),
        None => Err(Problem::of(ErrorCode::VersionConflict, "If-Match: it is no ETag of this API, such as \"v12\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether it is read counts")]
    struct Login {
        account: String,
        password: String,
    }

    #[test]
    fn r14_a_body_is_wiped_whatever_becomes_of_it() {
        for (body, status) in [
            (r#"{"account": "u", "password": "pencil"}"#, None),
            (r#"["u", "pencil"]"#, Some(422)),
            (r#"{"account": 1, "password": "pencil"}"#, Some(422)),
            (r#"{"password": "pencil""#, Some(400)),
        ] {
            let mut bytes = body.as_bytes().to_vec();
            let read = read_and_wipe::<Login>(&mut bytes);
            assert_eq!(read.err().map(|problem| problem.body().status), status, "{body}");
            assert!(bytes.iter().all(|byte| *byte == 0), "{body}");
        }
    }

    #[test]
    fn a_condition_is_one_state_or_that_nothing_is_there() {
        let read = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            }
            condition(&map).map(|Condition(of)| of)
        };
        assert_eq!(read(&[]).unwrap(), None);
        assert_eq!(read(&[("if-match", "*")]).unwrap(), Some(Of::Latest));
        assert_eq!(read(&[("if-match", &etag(Version(7)))]).unwrap(), Some(Of::Version(Version(7))));
        assert_eq!(read(&[("if-none-match", "*")]).unwrap(), Some(Of::New));
        for (bad, status) in [
            (&[("if-match", "W/\"v7\"")][..], 412),
            (&[("if-match", "\"7\"")], 412),
            (&[("if-match", "\"v7\", \"v8\"")], 412),
            (&[("if-none-match", "\"v7\"")], 400),
            (&[("if-match", "*"), ("if-none-match", "*")], 400),
            (&[("if-match", "\"v7\""), ("if-match", "\"v8\"")], 400),
        ] {
            assert_eq!(read(bad).unwrap_err().body().status, status, "{bad:?}");
        }
    }
}
