//! What happens around every operation: bounds, who is let in, creations that come again, and the answer's last touches.

use std::{error::Error, sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use callgate_wire::v1::ErrorCode;
use http_body_util::LengthLimitError;
use metrics::counter;

use super::{
    Api, MAX_BODY,
    idempotency::{MAX_KEY, Turn},
    problem::{Problem, RefusedWith},
    routes::Least,
};
use crate::{
    admin::{By, Caller, accounts::Token},
    http::Peer,
};

/// The longest path and the longest query, in bytes (R41a).
const MAX_PATH: usize = 2_048;
const MAX_QUERY: usize = 4_096;

/// The outermost: nothing gets in that is too long, and nothing out that may be kept by anybody.
pub(super) async fn around(request: Request, next: Next) -> Response {
    let uri = request.uri();
    let is_too_long = uri.path().len() > MAX_PATH || uri.query().is_some_and(|query| query.len() > MAX_QUERY);
    let mut response = if is_too_long {
        let detail = format!("a path has up to {MAX_PATH} bytes, a query up to {MAX_QUERY}");
        Problem::new(StatusCode::URI_TOO_LONG, ErrorCode::BodyTooLarge, detail).into_response()
    } else {
        next.run(request).await
    };
    if let Some(RefusedWith(code)) = response.extensions().get() {
        counter!("callgate_admin_refusals_total", "code" => code.as_str_name()).increment(1);
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Lets in who may ask for this operation, and nobody else. It is the only place that does.
pub(super) async fn authorise(State(api): State<Arc<Api>>, mut request: Request, next: Next) -> Response {
    // A path that is in no table is nobody's.
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    let least = match path {
        Some(path) => api.table.get(&(method.clone(), path)).copied(),
        None => None,
    };
    let Some(least) = least else { return unknown_method().await.into_response() };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        tracing::error!("a request came without its peer");
        return Problem::of(ErrorCode::Internal, "").into_response();
    };
    let Least::Role(role) = least else { return next.run(request).await };
    let token = match bearer(&request) {
        Ok(token) => token,
        Err(problem) => return problem.into_response(),
    };
    let caller = match api.gate.admit(&peer, token.as_ref(), Instant::now()) {
        Ok(caller) => caller,
        Err(denied) => return Problem::from(denied).into_response(),
    };
    if caller.role < role {
        let detail = format!("needs the role {role}, and this is {}", caller.role);
        return Problem::of(ErrorCode::AdminNotAllowed, detail).into_response();
    }
    if caller.by == By::Certificate && method != Method::GET && is_of_another_page(request.headers()) {
        let detail = "a browser sends it for a page of another origin, and shows the certificate for it: log in, and show the token";
        return Problem::forbidden(detail).into_response();
    }
    let key = request.headers().get(IDEMPOTENCY_KEY).cloned();
    request.extensions_mut().insert(caller.clone());
    match key {
        Some(key) if method == Method::POST => once(&api, &caller, &key, request, next).await,
        _ => next.run(request).await,
    }
}

/// Whether a browser asks for a page that isn't of this origin. It shows its user's certificate for whatever page, while a token
/// is sent only by who has it.
fn is_of_another_page(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "none" | "same-origin"),
        (None, Some(origin)) => origin.strip_prefix("https://") != text("host"),
        (None, None) => false,
    }
}

/// There is no such path.
pub(super) async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, ErrorCode::NotFound, "there is no such path")
}

/// There is, and not with this method.
pub(super) async fn unknown_method() -> Problem {
    let detail = "this path isn't asked with this method: Allow has those that are";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::RequestNotUnderstood, detail)
}

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Does what the request asks for, unless it was done by an earlier one with this key.
async fn once(api: &Api, caller: &Caller, key: &HeaderValue, request: Request, next: Next) -> Response {
    let key = match key.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => key.to_owned(),
        _ => {
            let detail = format!("Idempotency-Key: 1 to {MAX_KEY} printable ASCII characters");
            return Problem::bad_request(detail).into_response();
        }
    };
    let (parts, body) = request.into_parts();
    let body = match read(body).await {
        Ok(body) => body,
        Err(problem) => return problem.into_response(),
    };
    let path = parts.uri.to_string();
    let turn = api.creations.turn(&caller.actor, &key, &[path.as_bytes(), &body], Instant::now()).await;
    match turn {
        Err(problem) => problem.into_response(),
        Ok(Turn::Again(answer)) => answer,
        Ok(Turn::First(keep)) => {
            // To its end, even if the client goes away: it will come again and ask what became of it.
            let made = tokio::spawn(async move {
                let answer = next.run(Request::from_parts(parts, Body::from(body))).await;
                let (parts, body) = answer.into_parts();
                let Ok(body) = to_bytes(body, usize::MAX).await else {
                    return Problem::of(ErrorCode::Internal, "").into_response();
                };
                keep.keep(parts.status, &parts.headers, &body);
                Response::from_parts(parts, Body::from(body))
            });
            made.await.unwrap_or_else(|_| Problem::of(ErrorCode::Internal, "").into_response())
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    to_bytes(body, MAX_BODY).await.map_err(|error| {
        if is_too_large(&error) {
            return Problem::of(ErrorCode::BodyTooLarge, format!("up to {MAX_BODY} bytes are allowed"));
        }
        Problem::bad_request("the body could not be read")
    })
}

/// Whoever reads a body wraps the error of who read it first.
fn is_too_large(error: &(dyn Error + 'static)) -> bool {
    error.is::<LengthLimitError>() || error.source().is_some_and(is_too_large)
}

/// The token in `Authorization`.
fn bearer(request: &Request) -> Result<Option<Token>, Problem> {
    let mut values = request.headers().get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| Token::told(token.trim().into()))
    });
    match (token, values.next()) {
        (Some(token), None) => Ok(Some(token)),
        _ => Err(Problem::of(ErrorCode::AdminNotAuthenticated, "Authorization: one Bearer token is understood")),
    }
}
