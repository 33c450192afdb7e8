//! The description of the API: OpenAPI 3.1, made from the handlers. `docs/openapi.json` is what this makes.

use serde_json::json;
use utoipa::PartialSchema;
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, ResponseBuilder,
    security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    tag::TagBuilder,
};

use super::problem::{PROBLEM_JSON, Problem, ProblemBody};

/// The security schemes.
pub(super) const BEARER: &str = "bearer";
pub(super) const MUTUAL_TLS: &str = "mutualTls";

const ABOUT: &str = "\
Who may do what at a Callgate gateway: users, groups, devices and certificates, changed while sessions run; accounts and \
tokens of the administration itself; and what happens now.

A change is answered when it is in effect: when no key can leave by the old rights any more (R15). What only takes rights \
away is done even while the audit log can't be written; what grants any is refused then.

What is changed must be what was read: send its `ETag` in `If-Match`, or the request is refused with 428, and with 412 if it \
was changed meanwhile. Every refusal is a problem (RFC 9457) with a stable code and number, the same as in logs, metrics and \
records.

Over the local unix socket root and the gateway's own user are administrators, without a token.";

const TAGS: &[(&str, &str)] = &[
    ("access", "Setting up, logging in, and who one is"),
    ("accounts", "Accounts of the administration, and their tokens; and a backup of it all"),
    ("users", "Application and end users"),
    ("groups", "Standard groups, and groups of devices of one's own"),
    ("devices", "Devices and their lines"),
    ("certificates", "The ledger: which certificates count"),
    ("live", "What happens now: sessions, calls, streams, health; and which keys were disclosed"),
];

const PROBLEMS: &[(u16, &str)] = &[
    (400, "The request, its path, query or a header is not what it should be"),
    (401, "Nobody is let in by what was shown"),
    (403, "The role doesn't allow it"),
    (404, "There is no such thing, or the config doesn't have what it needs"),
    (409, "Something stands against it: the name is taken, or others need it"),
    (412, "It is not at the version that the request names"),
    (413, "The body is too large"),
    (414, "The path or the query is too long"),
    (415, "The body is not JSON"),
    (422, "A value is not allowed, or the idempotency key was used for another request"),
    (428, "The request doesn't say which version it is a change of"),
    (429, "Too many tries failed, or too many passwords wait to be checked"),
    (500, "A fault of the gateway"),
    (503, "The store or the audit log can't be written, or the change is not acknowledged"),
];

/// The name of the answer to a head that is too long.
pub(super) const HEAD_TOO_LONG: &str = "HeadTooLong";

/// The name of the answer of this status among the components.
pub(super) fn problem_name(status: u16) -> String {
    format!("Problem{status}")
}

/// The document as text, for people too.
pub(super) fn text(openapi: &OpenApi) -> String {
    // Texts and numbers: nothing of it can fail.
    let mut text = openapi.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The document without any operation.
pub(super) fn frame() -> OpenApi {
    let mut components = ComponentsBuilder::new()
        .schema("Problem", ProblemBody::schema())
        .security_scheme(
            BEARER,
            SecurityScheme::Http(
                HttpBuilder::new()
                    .scheme(HttpAuthScheme::Bearer)
                    .description(Some("The token of a login, or a token of an account"))
                    .build(),
            ),
        )
        .security_scheme(
            MUTUAL_TLS,
            SecurityScheme::MutualTls {
                description: Some("A client certificate that an account lists".into()),
                deprecated: None,
                extensions: None,
            },
        );
    for (status, description) in PROBLEMS {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .example(Some(example(*status)))
            .build();
        let response = ResponseBuilder::new().description(*description).content(PROBLEM_JSON, content).build();
        components = components.response(problem_name(*status), response);
    }
    let head = ResponseBuilder::new()
        .description("The head of the request is longer than 16 KiB: it isn't read, and this has no body");
    components = components.response(HEAD_TOO_LONG, head.build());
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new()
        .title("Callgate administration")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license))
        .build();
    let tags = TAGS.iter().map(|(name, about)| TagBuilder::new().name(*name).description(Some(*about)).build());
    OpenApiBuilder::new().info(info).components(Some(components.build())).tags(Some(tags.collect::<Vec<_>>())).build()
}

/// A problem of this status as it can come.
fn example(status: u16) -> serde_json::Value {
    use callgate_wire::v1::ErrorCode;
    let (code, detail) = match status {
        400 => (ErrorCode::PageTokenInvalid, "cursor: it is none of this list"),
        401 => (ErrorCode::AdminNotAuthenticated, "account and password, or the token, are not good"),
        403 => (ErrorCode::AdminNotAllowed, "needs the role operator, and this is reader"),
        404 => (ErrorCode::NotFound, "there is no user \"recorder\""),
        409 => (ErrorCode::StillReferenced, "device \"1001\" is named by user \"recorder\""),
        412 => (ErrorCode::VersionConflict, "user \"recorder\" is at version 12, and not at 11"),
        413 => (ErrorCode::BodyTooLarge, "up to 1048576 bytes are allowed"),
        414 => (ErrorCode::BodyTooLarge, "a path has up to 2048 bytes, a query up to 4096"),
        415 => (ErrorCode::RequestNotUnderstood, "Content-Type: application/json is understood, and nothing else"),
        422 => (ErrorCode::FieldInvalid, "devices: there is no device \"1009\""),
        428 => (ErrorCode::VersionRequired, "send the ETag in If-Match"),
        429 => (ErrorCode::AdminLockedOut, "too many tries from this address failed"),
        503 => (ErrorCode::AuditUnavailable, "the change can't be recorded: the audit log can't be written"),
        _ => (ErrorCode::Internal, ""),
    };
    let status = axum::http::StatusCode::from_u16(status).unwrap_or_default();
    serde_json::to_value(Problem::new(status, code, detail).body()).unwrap_or_else(|_| json!({}))
}
