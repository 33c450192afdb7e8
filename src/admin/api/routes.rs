//! The one list of operations: each with the least role that may ask for it, and with what its kind answers.

use std::{collections::HashMap, sync::Arc};

use axum::{Router, http::Method};
use utoipa::openapi::{
    HttpMethod, OpenApi, Ref, RefOr, Required,
    extensions::Extensions,
    header::Header,
    path::{Operation, Parameter, ParameterBuilder, ParameterIn},
    schema::{ObjectBuilder, Type},
    security::SecurityRequirement,
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{Api, document};
use crate::admin::accounts::Role;

/// Who may ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Least {
    /// Whoever can reach it: it is there to prove who one is.
    Anybody,
    /// Who is let in with this role, or more.
    Role(Role),
}

/// What an operation is like. It says what is refused, and with which answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Does something that can be repeated, or is no change of what is stored.
    Act,
    /// Changes something that is there, if it is as it was read.
    Change,
    /// Makes something anew.
    Create,
    /// Proves who somebody is.
    Prove,
    /// Makes or replaces something.
    Put,
    /// Reads.
    Read,
    /// Reads a list.
    List,
    /// Looks for something, which is work.
    Search,
    /// Takes something away, and may say of which state.
    Take,
}

/// Every operation with its least role, by method and path.
pub(super) type Table = HashMap<(Method, String), Least>;

/// Operations as they are listed.
pub(super) struct Routes {
    router: OpenApiRouter<Arc<Api>>,
    table: Table,
}

impl Routes {
    pub(super) fn new() -> Self {
        Self { router: OpenApiRouter::with_openapi(document::frame()), table: Table::new() }
    }

    /// The operations of one handler.
    pub(super) fn add(mut self, least: Least, kind: Kind, mut handler: UtoipaMethodRouter<Arc<Api>>) -> Self {
        for (path, item) in &mut handler.1.paths {
            let operations = [
                (HttpMethod::Get, &mut item.get),
                (HttpMethod::Put, &mut item.put),
                (HttpMethod::Post, &mut item.post),
                (HttpMethod::Delete, &mut item.delete),
            ];
            for (method, operation) in operations {
                let Some(operation) = operation else { continue };
                complete(operation, least, kind);
                self.table.insert((method_of(&method), path.clone()), least);
            }
        }
        Self { router: self.router.routes(handler), table: self.table }
    }

    pub(super) fn split(self) -> (Router<Arc<Api>>, OpenApi, Table) {
        let (router, openapi) = self.router.split_for_parts();
        (router, openapi, self.table)
    }
}

impl Kind {
    /// The problems that such an operation can be answered with, besides those of its own.
    fn problems(self, least: Least) -> Vec<u16> {
        let mut problems: Vec<u16> = match self {
            Self::List => vec![400, 404],
            Self::Read => vec![400, 404],
            Self::Search => vec![400, 404, 429],
            Self::Act => vec![400, 404, 409, 413, 415, 422, 429, 503],
            Self::Prove => vec![400, 401, 409, 413, 415, 422, 429, 503],
            Self::Create => vec![400, 404, 409, 413, 415, 422, 429, 503],
            Self::Change | Self::Put => vec![400, 404, 409, 412, 413, 415, 422, 428, 429, 503],
            Self::Take => vec![400, 404, 409, 412, 413, 415, 422, 503],
        };
        if least != Least::Anybody {
            problems.push(401);
        }
        problems.extend([403, 414, 500]);
        problems
    }
}

/// What all operations of a kind have in their description.
fn complete(operation: &mut Operation, least: Least, kind: Kind) {
    let responses = &mut operation.responses.responses;
    for status in kind.problems(least) {
        let reference = Ref::from_response_name(document::problem_name(status));
        responses.entry(status.to_string()).or_insert(RefOr::Ref(reference));
    }
    if matches!(kind, Kind::Read | Kind::Change | Kind::Create | Kind::Put) {
        for (status, response) in responses.iter_mut() {
            let (true, RefOr::T(response)) = (status.starts_with('2'), response) else { continue };
            let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
            header.description = Some("The version, for If-Match; absent where there is nothing to change".into());
            response.headers.insert("ETag".into(), header.into());
        }
    }
    let head = Ref::from_response_name(document::HEAD_TOO_LONG);
    responses.insert("431".into(), RefOr::Ref(head));
    let parameters = operation.parameters.get_or_insert_default();
    parameters.extend(headers_of(kind).map(RefOr::T));
    let role = match least {
        Least::Anybody => "none",
        Least::Role(role) => role.name(),
    };
    let said = format!("Least role: {role}.");
    operation.description = Some(match operation.description.take() {
        Some(description) if !description.is_empty() => format!("{description}\n\n{said}"),
        _ => said,
    });
    operation.extensions = Some(Extensions::builder().add("x-least-role", role).build());
    operation.security = Some(match least {
        Least::Anybody => vec![SecurityRequirement::default()],
        Least::Role(_) => vec![
            SecurityRequirement::new::<_, [&str; 0], &str>(document::BEARER, []),
            SecurityRequirement::new::<_, [&str; 0], &str>(document::MUTUAL_TLS, []),
        ],
    });
}

fn headers_of(kind: Kind) -> impl Iterator<Item = Parameter> {
    let header = |name: &str, description: &str, example: &str, max: usize| {
        let schema = ObjectBuilder::new().schema_type(Type::String).max_length(Some(max)).build();
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(description))
            .schema(Some(schema))
            .example(Some(example.into()))
            .build()
    };
    let if_match = |description| header("If-Match", description, "\"v12\"", 64);
    let needed = "The ETag of what is changed, or * for whatever it is now; needed";
    match kind {
        Kind::Change => vec![if_match(needed)],
        Kind::Put => vec![
            if_match("The ETag of what is replaced, or * for whatever it is now; this or If-None-Match is needed"),
            header("If-None-Match", "* to make it, and to replace nothing", "*", 64),
        ],
        Kind::Take => vec![if_match("The ETag of what is meant, if it should be that state and no other")],
        Kind::Create => vec![header(
            "Idempotency-Key",
            "For a request that may be sent again: it is done once, and answered alike for 24 hours",
            "8e03978e-40d5-43e8-bc93-6894a57f9324",
            super::idempotency::MAX_KEY,
        )],
        Kind::Act | Kind::Prove | Kind::Read | Kind::List | Kind::Search => Vec::new(),
    }
    .into_iter()
}

fn method_of(method: &HttpMethod) -> Method {
    match method {
        HttpMethod::Put => Method::PUT,
        HttpMethod::Post => Method::POST,
        HttpMethod::Delete => Method::DELETE,
        _ => Method::GET,
    }
}
