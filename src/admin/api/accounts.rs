//! Accounts of the administration, for who administers them.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    answer::{Changed, Gone, Made, Versioned, place},
    extract::{Asked, Body, Condition, Named},
    page::{Page, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
    secret_text::SecretText,
};
use crate::{
    admin::{
        Actor, Caller, State as Everything,
        accounts::{AccountChange, AccountSettings, Password, Role},
    },
    directory::Of,
    model::AccountName,
    store::Version,
    trust::Fingerprint,
};

const LEAST: Least = Least::Role(Role::Administrator);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(LEAST, Kind::List, routes!(list_accounts))
        .add(LEAST, Kind::Create, routes!(create_account))
        .add(LEAST, Kind::Read, routes!(read_account))
        .add(LEAST, Kind::Change, routes!(change_account))
        .add(LEAST, Kind::Take, routes!(remove_account))
        .add(LEAST, Kind::Change, routes!(set_account_password))
        .add(LEAST, Kind::Act, routes!(disable_account))
        .add(LEAST, Kind::Act, routes!(enable_account))
        .add(LEAST, Kind::Act, routes!(unlock_account))
}

/// An account of the administration
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// Its name
    #[schema(example = "eva")]
    pub name: String,
    /// What it may do
    pub role: Role,
    /// For people
    pub description: String,
    /// It may not log in, whatever it shows
    pub disabled: bool,
    /// Somebody failed to log in to it too often: from there, or from everywhere, it waits
    pub locked: bool,
    /// It can log in by a password
    pub has_password: bool,
    /// SHA-256 of the client certificates that stand for its password
    pub certificates: Vec<String>,
    /// How many tokens it has
    pub tokens: usize,
    /// When it was made
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An account that is to be made
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewAccount {
    /// Its name
    #[schema(value_type = String, pattern = "^[a-zA-Z0-9._@-]{1,64}$", example = "eva")]
    name: AccountName,
    /// What it may do
    role: Role,
    /// For people
    #[serde(default)]
    #[schema(max_length = 1024)]
    description: String,
    /// SHA-256 of the client certificates that stand for its password
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 16)]
    certificates: BTreeSet<Fingerprint>,
    /// Its password; without one it proves itself by a certificate or a token
    #[schema(value_type = Option<String>, format = Password, min_length = 12, max_length = 256)]
    password: Option<SecretText>,
}

/// What an account is to be
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewSettings {
    /// What it may do
    role: Role,
    /// For people
    #[schema(max_length = 1024)]
    description: String,
    /// SHA-256 of the client certificates that stand for its password
    #[schema(value_type = Vec<String>, max_items = 16)]
    certificates: BTreeSet<Fingerprint>,
}

/// A password that an account is to have
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetPassword {
    /// The password
    #[schema(value_type = String, format = Password, min_length = 12, max_length = 256)]
    password: SecretText,
}

list_query! {
    /// Which accounts
    AccountQuery of "accounts" {
        /// Only those of this role
        role: Role,
        /// Only those that may not log in, or only those that may
        disabled: bool,
    }
}

/// List accounts
#[utoipa::path(
    get, path = "/v1/accounts", tag = "accounts", params(AccountQuery),
    responses((status = 200, description = "A page of accounts, by name", body = Page<Account>)),
)]
async fn list_accounts(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<AccountQuery>,
) -> Result<Json<Page<Account>>, Problem> {
    let state = api.administration.state();
    let items = state.accounts.accounts().filter(|(_, stored)| {
        query.role.is_none_or(|role| stored.record.role == role)
            && query.disabled.is_none_or(|disabled| stored.record.disabled == disabled)
    });
    let items = items.map(|(name, _)| (name.as_str(), name));
    let shown = |_: &&str, name: &AccountName| api.shown(&state, name).map(|(_, account)| account);
    let Page { items, next } = query.window()?.page(items, shown);
    Ok(Json(Page { items: items.into_iter().flatten().collect(), next }))
}

/// Make an account
#[utoipa::path(
    post, path = "/v1/accounts", tag = "accounts", request_body = NewAccount,
    responses((status = 201, description = "The account", body = Changed<Account>)),
)]
async fn create_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewAccount>,
) -> Result<Made<Account>, Problem> {
    let NewAccount { name, role, description, certificates, password } = new;
    let password = match password {
        Some(password) => Some(api.gate.passwords().hash(password.into_password()).await?),
        None => None,
    };
    let settings = AccountSettings { role, description, certificates };
    let new = crate::admin::accounts::NewAccount { settings, password };
    let done = api.change(&caller.actor, AccountChange::Add(name.clone(), new), Of::New).await?;
    Ok(Made(place("accounts", &[name.as_str()]), Changed::new(done, api.account(&name)?)))
}

/// Read an account
#[utoipa::path(
    get, path = "/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account", body = Account)),
)]
async fn read_account(
    State(api): State<Arc<Api>>,
    Named(name): Named<AccountName>,
) -> Result<Versioned<Account>, Problem> {
    let (version, account) = api.versioned_account(&name)?;
    Ok(Versioned(version, account))
}

/// Change an account
///
/// Its logins and tokens end, unless only the description is different.
#[utoipa::path(
    put, path = "/v1/accounts/{account}", tag = "accounts", request_body = NewSettings,
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account as it is now", body = Changed<Account>)),
)]
async fn change_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
    condition: Condition,
    Body(settings): Body<NewSettings>,
) -> Result<Changed<Account>, Problem> {
    let NewSettings { role, description, certificates } = settings;
    let settings = AccountSettings { role, description, certificates };
    api.change_known(&caller.actor, &name, |name| AccountChange::Set(name, settings), condition.of_known()?).await
}

/// Remove an account
///
/// With its tokens; its logins end.
#[utoipa::path(
    delete, path = "/v1/accounts/{account}", tag = "accounts",
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "It is gone", body = Gone)),
)]
async fn remove_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
    condition: Condition,
) -> Result<Gone, Problem> {
    Ok(api.change(&caller.actor, AccountChange::Remove(name), condition.if_any()).await?.into())
}

/// Set an account's password
///
/// Its logins and tokens end.
#[utoipa::path(
    put, path = "/v1/accounts/{account}/password", tag = "accounts", request_body = SetPassword,
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account as it is now", body = Changed<Account>)),
)]
async fn set_account_password(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
    condition: Condition,
    Body(SetPassword { password }): Body<SetPassword>,
) -> Result<Changed<Account>, Problem> {
    api.set_password(&caller.actor, &name, password.into_password(), condition.of_known()?).await
}

/// Keep an account from logging in
///
/// Its logins and tokens end.
#[utoipa::path(
    post, path = "/v1/accounts/{account}/disable", tag = "accounts",
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account as it is now", body = Changed<Account>)),
)]
async fn disable_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
) -> Result<Changed<Account>, Problem> {
    api.change_known(&caller.actor, &name, |name| AccountChange::SetDisabled(name, true), Of::Latest).await
}

/// Let an account log in again
#[utoipa::path(
    post, path = "/v1/accounts/{account}/enable", tag = "accounts",
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account as it is now", body = Changed<Account>)),
)]
async fn enable_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
) -> Result<Changed<Account>, Problem> {
    api.change_known(&caller.actor, &name, |name| AccountChange::SetDisabled(name, false), Of::Latest).await
}

/// Let an account try again that failed to log in too often
#[utoipa::path(
    post, path = "/v1/accounts/{account}/unlock", tag = "accounts",
    params(("account" = String, Path, description = "Its name")),
    responses((status = 200, description = "The account as it is now", body = Account)),
)]
async fn unlock_account(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<AccountName>,
) -> Result<Json<Account>, Problem> {
    api.account(&name)?;
    api.gate.unlock(&caller.actor, &name)?;
    Ok(Json(api.account(&name)?))
}

impl Api {
    /// Changes accounts.
    pub(super) async fn change(
        &self,
        actor: &Actor,
        change: AccountChange,
        of: Of,
    ) -> Result<crate::admin::Done, Problem> {
        Ok(self.administration.change_account(actor, &change, of).await?)
    }

    /// Changes an account that is there after it, too.
    async fn change_known(
        &self,
        actor: &Actor,
        name: &AccountName,
        change: impl FnOnce(AccountName) -> AccountChange,
        of: Of,
    ) -> Result<Changed<Account>, Problem> {
        let done = self.change(actor, change(name.clone()), of).await?;
        Ok(Changed::new(done, self.account(name)?))
    }

    /// Sets an account's password.
    pub(super) async fn set_password(
        &self,
        actor: &Actor,
        name: &AccountName,
        password: Password,
        of: Of,
    ) -> Result<Changed<Account>, Problem> {
        let hash = self.gate.passwords().hash(password).await?;
        self.change_known(actor, name, |name| AccountChange::SetPassword(name, hash), of).await
    }

    /// The account as it is shown.
    pub(super) fn account(&self, name: &AccountName) -> Result<Account, Problem> {
        self.versioned_account(name).map(|(_, account)| account)
    }

    fn versioned_account(&self, name: &AccountName) -> Result<(Version, Account), Problem> {
        let state = self.administration.state();
        self.shown(&state, name).ok_or_else(|| Problem::not_found(format_args!("account {name:?}")))
    }

    fn shown(&self, state: &Everything, name: &AccountName) -> Option<(Version, Account)> {
        let stored = state.accounts.account(name)?;
        let record = &stored.record;
        let account = Account {
            name: name.to_string(),
            role: record.role,
            description: record.description.clone(),
            disabled: record.disabled,
            locked: self.gate.is_locked(name, Instant::now()),
            has_password: record.password.is_some(),
            certificates: record.certificates.iter().map(|certificate| certificate.to_hex()).collect(),
            tokens: state.accounts.tokens_of(name).count(),
            created_at: record.created_at.clone(),
        };
        Some((stored.version, account))
    }
}
