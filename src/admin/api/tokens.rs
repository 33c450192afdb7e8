//! Tokens of accounts, for programs. Everybody has to do with their own, and administrators with all.

use std::sync::Arc;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    access::account_of,
    answer::{Changed, Gone, Made, Told, place},
    extract::{Asked, Body, Condition, Named},
    page::{Page, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::{
        Actor, By, Caller, Refused, Standing, State as Everything,
        accounts::{AccountChange, Role, Token, TokenKind},
    },
    directory::Of,
    model::{AccountName, TokenName},
};

const LEAST: Least = Least::Role(Role::Reader);

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(LEAST, Kind::List, routes!(list_tokens)).add(LEAST, Kind::Create, routes!(create_token)).add(
        LEAST,
        Kind::Take,
        routes!(remove_token),
    )
}

/// A token of an account; the token itself was told when it was made
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountToken {
    /// What the account calls it
    #[schema(example = "backup-job")]
    pub name: String,
    /// What one may do by it
    pub role: Role,
    /// When it was made
    #[schema(format = DateTime)]
    pub created_at: String,
    /// Its last moment
    #[schema(format = DateTime)]
    pub not_after: String,
    /// Whether one is let in by it: its time isn't over, and its account was not changed since
    pub counts: bool,
}

/// A token that is to be made
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewToken {
    /// What the account calls it
    #[schema(value_type = String, pattern = "^[a-zA-Z0-9._@-]{1,64}$", example = "backup-job")]
    name: TokenName,
    /// What one may do by it: no more than the account
    role: Role,
    /// For how many days
    #[schema(minimum = 1, maximum = 366, example = 90)]
    days: u32,
}

/// A token that was made
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeToken {
    /// For `Authorization: Bearer`. It is told here and nowhere else
    #[schema(value_type = String, format = Password)]
    pub token: Told,
    /// What is known of it from now on
    pub about: AccountToken,
}

list_query! {
    /// Which tokens
    TokenQuery of "tokens" {
        /// Only those that count, or only those that don't
        counts: bool,
    }
}

/// List the tokens of an account
///
/// One's own; an administrator, anybody's.
#[utoipa::path(
    get, path = "/v1/accounts/{account}/tokens", tag = "accounts",
    params(("account" = String, Path, description = "The account's name"), TokenQuery),
    responses((status = 200, description = "A page of tokens, by name", body = Page<AccountToken>)),
)]
async fn list_tokens(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(account): Named<AccountName>,
    Asked(query): Asked<TokenQuery>,
) -> Result<Json<Page<AccountToken>>, Problem> {
    may(&caller, &account)?;
    api.account(&account)?;
    let state = api.administration.state();
    let shown = state
        .accounts
        .tokens_of(&account)
        .filter_map(|(name, _)| Some((name.as_str(), shown(&state, &account, name)?)));
    let items = shown.filter(|(_, token)| query.counts.is_none_or(|counts| token.counts == counts));
    Ok(Json(query.window()?.page(items, |_, token| token)))
}

/// Make a token
///
/// For oneself; an administrator, for anybody. By a token none is made: it would outlast the one that it came from.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/tokens", tag = "accounts", request_body = NewToken,
    params(("account" = String, Path, description = "The account's name")),
    responses((status = 201, description = "The token", body = Changed<MadeToken>)),
)]
async fn create_token(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(account): Named<AccountName>,
    Body(NewToken { name, role, days }): Body<NewToken>,
) -> Result<Made<MadeToken>, Problem> {
    may(&caller, &account)?;
    if caller.by == By::Token {
        return Err(Problem::forbidden("by a token no token is made: log in, or show a certificate"));
    }
    let token = Token::draw(TokenKind::Api).ok_or(Refused::Randomness)?;
    let new = crate::admin::accounts::NewToken { hash: token.hash(), role, days };
    let change = AccountChange::AddToken(account.clone(), name.clone(), new);
    let done = api.change(&caller.actor, change, Of::New).await?;
    let about = shown(&api.administration.state(), &account, &name)
        .ok_or_else(|| Problem::not_found(format_args!("token {name:?} of {account:?}")))?;
    let location = place("accounts", &[account.as_str(), "tokens", name.as_str()]);
    Ok(Made(location, Changed::new(done, MadeToken { token: token.into(), about })))
}

/// Remove a token
///
/// One's own; an administrator, anybody's; by a token of a lower role only itself. Nobody is let in by it from then on.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}/tokens/{token}", tag = "accounts",
    params(
        ("account" = String, Path, description = "The account's name"),
        ("token" = String, Path, description = "What the account calls it"),
    ),
    responses((status = 200, description = "It is gone", body = Gone)),
)]
async fn remove_token(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named((account, token)): Named<(AccountName, TokenName)>,
    condition: Condition,
) -> Result<Gone, Problem> {
    may(&caller, &account)?;
    if let Actor::Account(Standing { token: Some(own), .. }) = &caller.actor
        && caller.role != Role::Administrator
        && own.name != token
    {
        return Err(Problem::forbidden("by a token none is removed but itself: log in, or show a certificate"));
    }
    let change = AccountChange::RemoveToken(account, token);
    Ok(api.change(&caller.actor, change, condition.if_any()).await?.into())
}

/// Whether somebody has to do with the tokens of this account.
fn may(caller: &Caller, account: &AccountName) -> Result<(), Problem> {
    if caller.role == Role::Administrator || account_of(caller) == Some(account) {
        return Ok(());
    }
    Err(Problem::forbidden(format!("tokens of others are for the role {}", Role::Administrator)))
}

fn shown(state: &Everything, account: &AccountName, name: &TokenName) -> Option<AccountToken> {
    let (owner, token) = (state.accounts.account(account)?, state.accounts.token(account, name)?);
    let record = &token.record;
    Some(AccountToken {
        name: name.to_string(),
        role: record.role,
        created_at: record.created_at.clone(),
        not_after: record.not_after.clone(),
        counts: record.counts(&owner.record, state.accounts.epoch(), OffsetDateTime::now_utc()),
    })
}
