//! Setting up, logging in and out, and who one is.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    accounts::Account,
    answer::{Changed, Made, Told, place},
    extract::Body,
    problem::Problem,
    routes::{Kind, Least, Routes},
    secret_text::SecretText,
};
use crate::{
    admin::{Actor, By, Caller, Standing, accounts::Role},
    directory::Of,
    http::Peer,
    model::AccountName,
};

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(Least::Anybody, Kind::Read, routes!(openapi))
        .add(Least::Anybody, Kind::Prove, routes!(set_up))
        .add(Least::Anybody, Kind::Prove, routes!(log_in))
        .add(Least::Role(Role::Reader), Kind::Act, routes!(log_out))
        .add(Least::Role(Role::Reader), Kind::Read, routes!(who_am_i))
        .add(Least::Role(Role::Reader), Kind::Prove, routes!(change_own_password))
        .add(Least::Role(Role::Administrator), Kind::Create, routes!(new_setup_token))
}

/// The first administrator, and the token that the gateway printed at its first start
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Setup {
    /// The setup token
    #[schema(value_type = String, format = Password, max_length = 4096, example = "cgsetup_...")]
    token: SecretText,
    /// The name that the administrator's account gets
    #[schema(value_type = String, pattern = "^[a-zA-Z0-9._@-]{1,64}$", example = "root")]
    account: AccountName,
    /// Its password
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    password: SecretText,
}

/// An account and its password
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    /// The account's name
    #[schema(max_length = 64, example = "eva")]
    account: String,
    /// Its password
    #[schema(value_type = String, format = Password, max_length = 4096)]
    password: SecretText,
}

/// A login that has begun
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// For `Authorization: Bearer`. It is told here and nowhere else
    #[schema(value_type = String, format = Password)]
    pub token: Told,
    /// What one may do by it
    pub role: Role,
    /// After so many seconds without a request it ends
    pub idle_seconds: u64,
    /// After so many seconds it ends in any case
    pub absolute_seconds: u64,
}

/// Who asks, as the gateway knows it
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Who {
    /// As records have it
    #[schema(example = "account:eva")]
    pub actor: String,
    /// The account; null for who comes over the local socket
    pub account: Option<String>,
    /// What one may do
    pub role: Role,
    /// What one was let in by
    pub by: LetInBy,
}

/// What somebody was let in by
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LetInBy {
    /// A client certificate
    Certificate,
    /// A login
    Session,
    /// Being root or the gateway's own user on its machine
    Socket,
    /// A token of an account
    Token,
}

/// A new password for one's own account
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPassword {
    /// The password of now
    #[schema(value_type = String, format = Password, max_length = 4096)]
    current: SecretText,
    /// The password from now on
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    new: SecretText,
}

/// The token by which the first administrator is made
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct NewSetupToken {
    /// It is told here and nowhere else; the one before counts no more
    #[schema(value_type = String, format = Password)]
    pub token: Told,
}

/// This description
#[utoipa::path(
    get, path = "/v1/openapi.json", tag = "access",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
async fn openapi(State(api): State<Arc<Api>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document.clone()).into_response()
}

/// Make the first administrator
///
/// Only while there is none, by the setup token.
#[utoipa::path(
    post, path = "/v1/setup", tag = "access", request_body = Setup,
    responses((status = 201, description = "The account", body = Changed<Account>)),
)]
async fn set_up(State(api): State<Arc<Api>>, peer: Peer, Body(setup): Body<Setup>) -> Result<Made<Account>, Problem> {
    let Setup { token, account, password } = setup;
    let (token, password) = (token.into_token(), password.into_password());
    let done = api.gate.set_up(&peer, &token, account.clone(), password, Instant::now()).await?;
    Ok(Made(place("accounts", &[account.as_str()]), Changed::new(done, api.account(&account)?)))
}

/// Log in
///
/// The login ends when the account changes, after a while, or by logging out.
#[utoipa::path(
    post, path = "/v1/login", tag = "access", request_body = Login,
    responses((status = 200, description = "Logged in", body = LoggedIn)),
)]
async fn log_in(State(api): State<Arc<Api>>, peer: Peer, Body(login): Body<Login>) -> Result<Json<LoggedIn>, Problem> {
    let Login { account, password } = login;
    let logged_in = api.gate.log_in(&peer, &account, password.into_password(), Instant::now()).await?;
    Ok(Json(LoggedIn {
        role: logged_in.role,
        idle_seconds: logged_in.rules.idle.as_secs(),
        absolute_seconds: logged_in.rules.absolute.as_secs(),
        token: logged_in.token.into(),
    }))
}

/// Log out
///
/// Ends the login by whose token this is asked. Who came without one stays who they are.
#[utoipa::path(
    post, path = "/v1/logout", tag = "access",
    responses((status = 204, description = "It is over")),
)]
async fn log_out(State(api): State<Arc<Api>>, caller: Caller) -> StatusCode {
    if let By::Session(hash) = caller.by {
        api.gate.end(&hash);
    }
    StatusCode::NO_CONTENT
}

/// Who one is
#[utoipa::path(
    get, path = "/v1/session", tag = "access",
    responses((status = 200, description = "Who asks", body = Who)),
)]
async fn who_am_i(caller: Caller) -> Json<Who> {
    let by = match caller.by {
        By::Certificate => LetInBy::Certificate,
        By::Session(_) => LetInBy::Session,
        By::Socket => LetInBy::Socket,
        By::Token => LetInBy::Token,
    };
    Json(Who {
        actor: caller.actor.to_string(),
        account: account_of(&caller).map(ToString::to_string),
        role: caller.role,
        by,
    })
}

/// Change one's own password
///
/// Logins and tokens of the account end.
#[utoipa::path(
    post, path = "/v1/session/password", tag = "access", request_body = NewPassword,
    responses((status = 200, description = "It counts", body = Changed<Account>)),
)]
async fn change_own_password(
    State(api): State<Arc<Api>>,
    caller: Caller,
    peer: Peer,
    Body(passwords): Body<NewPassword>,
) -> Result<Changed<Account>, Problem> {
    let Some(account) = account_of(&caller) else {
        return Err(Problem::forbidden("who comes over the local socket has no account"));
    };
    let NewPassword { current, new } = passwords;
    api.gate.prove(&peer, account.as_str(), current.into_password(), Instant::now()).await?;
    api.set_password(&caller.actor, account, new.into_password(), Of::Latest).await
}

/// Make a new setup token
///
/// Only while there is no administrator. The one before counts no more.
#[utoipa::path(
    post, path = "/v1/setup-token", tag = "access",
    responses((status = 201, description = "The token", body = Changed<NewSetupToken>)),
)]
async fn new_setup_token(State(api): State<Arc<Api>>, caller: Caller) -> Result<Made<NewSetupToken>, Problem> {
    let (token, done) = api.administration.new_setup_token(&caller.actor).await?;
    Ok(Made(place("setup", &[]), Changed::new(done, NewSetupToken { token: token.into() })))
}

/// The account that the caller is.
pub(super) fn account_of(caller: &Caller) -> Option<&AccountName> {
    match &caller.actor {
        Actor::Account(Standing { account, .. }) => Some(account),
        _ => None,
    }
}
