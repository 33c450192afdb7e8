//! A refusal as an HTTP answer (RFC 9457), with the name and number that it has everywhere (R43).

use bytes::Bytes;
use callgate_wire::v1::ErrorCode;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde_json::json;

/// What the name of a code stands behind, to be the type of a problem: an identifier, and no place to look at.
const TYPE: &str = "urn:callgate:error:";

/// The answer to a request that is refused. `detail` says what is special of this one; it may be empty.
pub fn problem(status: StatusCode, code: ErrorCode, detail: &str) -> Response<Full<Bytes>> {
    let info = callgate_wire::lookup(code);
    let mut body = json!({
        "type": format!("{TYPE}{}", info.name()),
        "title": info.text,
        "status": status.as_u16(),
        "code": info.name(),
        "number": info.number(),
        "rule": info.rule,
        "mend": info.mend,
    });
    if let (false, Some(fields)) = (detail.is_empty(), body.as_object_mut()) {
        fields.insert("detail".into(), detail.into());
    }
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The same as bytes, for a connection that nothing is read from.
pub(super) fn unread(status: StatusCode, code: ErrorCode) -> Vec<u8> {
    let info = callgate_wire::lookup(code);
    let (text, mend) = (info.text, info.mend);
    let body = format!("{}: {text} {mend}\n", info.name());
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r43_a_problem_has_the_name_and_the_number_of_its_code() {
        use http_body_util::BodyExt;
        let response = problem(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BodyTooLarge, "more than 10 bytes");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:callgate:error:BODY_TOO_LARGE");
        assert_eq!((&body["code"], &body["number"]), (&"BODY_TOO_LARGE".into(), &818.into()));
        assert_eq!((&body["status"], &body["detail"]), (&413.into(), &"more than 10 bytes".into()));
        let unread = String::from_utf8(unread(StatusCode::FORBIDDEN, ErrorCode::NetworkNotAllowed)).unwrap();
        let (head, body) = unread.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 403 Forbidden\r\n") && body.starts_with("NETWORK_NOT_ALLOWED: "),
            "{unread}"
        );
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{unread}");
    }
}
