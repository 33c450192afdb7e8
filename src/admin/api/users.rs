//! Application and end users, their groups, and the devices that they see (R6 to R9, R13, R14).

use std::{collections::BTreeSet, sync::Arc};

use axum::{Json, extract::State};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    answer::{Changed, Gone, Made, Put, Versioned, place},
    extract::{Asked, Body, CascadeQuery, Condition, Named},
    page::{Page, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
    secret_text::SecretText,
};
use crate::{
    admin::{Caller, State as Everything, accounts::Role},
    directory::{
        self, Cascade, Change, DevicePattern, NewPassword, Of, ScramVerifier, Stored, UserRecord, UserSettings,
    },
    hub::contains_ignore_ascii_case,
    model::{DeviceName, Group, GroupName, Groups, UserName},
    store::Version,
};

const OPERATOR: Least = Least::Role(Role::Operator);
const READER: Least = Least::Role(Role::Reader);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_users))
        .add(OPERATOR, Kind::Create, routes!(create_user))
        .add(READER, Kind::Read, routes!(read_user))
        .add(OPERATOR, Kind::Put, routes!(put_user))
        .add(OPERATOR, Kind::Take, routes!(remove_user))
        .add(OPERATOR, Kind::Change, routes!(set_user_password))
        .add(OPERATOR, Kind::Take, routes!(remove_user_password))
}

/// A user: what apps open sessions as
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Its name
    #[schema(example = "recorder")]
    pub name: String,
    /// Application or end user (R6)
    pub kind: UserKind,
    /// For people
    pub description: String,
    /// Its standard groups, by their fixed names (R7)
    #[schema(value_type = Vec<String>, example = json!(["Standard CTI Enabled"]))]
    pub groups: Groups,
    /// Groups of the operator's own, whose devices are its devices, too
    #[schema(example = json!(["Floor 1"]))]
    pub own_groups: Vec<String>,
    /// Devices by name (R13)
    #[schema(example = json!(["1001"]))]
    pub devices: Vec<String>,
    /// Devices by pattern (R13)
    #[schema(example = json!(["SEP*"]))]
    pub patterns: Vec<String>,
    /// How many devices it is associated with by all of these; restricted ones are among them
    pub associated: usize,
    /// Locked: no session opens, and none stays open (R14)
    pub locked: bool,
    /// On the TLS door its password is asked for besides its certificate (R14)
    pub password_on_tls: bool,
    /// It has a password (R14)
    pub has_password: bool,
}

/// Application or end user (R6)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// Stands for an application
    #[default]
    Application,
    /// Stands for a person
    EndUser,
}

/// A user that is to be made
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// Its name, which no other user of either kind has (R6)
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = "^[^/:]+$", example = "recorder")]
    name: UserName,
    /// Application or end user
    #[serde(default)]
    kind: UserKind,
    /// For people
    #[serde(default)]
    #[schema(max_length = 512)]
    description: String,
    /// Its standard groups; the one of SRTP key material only together with the other two (R8)
    #[serde(default)]
    #[schema(value_type = Vec<String>, example = json!(["Standard CTI Enabled"]))]
    groups: Groups,
    /// Groups of the operator's own
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    own_groups: BTreeSet<GroupName>,
    /// Devices by name
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    devices: BTreeSet<DeviceName>,
    /// Devices by pattern: `*` stands for any characters, `?` for one
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 256)]
    patterns: BTreeSet<DevicePattern>,
    /// Locked: no session opens
    #[serde(default)]
    locked: bool,
    /// On the TLS door its password is asked for besides its certificate
    #[serde(default)]
    password_on_tls: bool,
    /// Its password; without one no password is right
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 256)]
    password: Option<SecretText>,
}

/// What a user is to be; its password stays, unless it is changed with the rest
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUserSettings {
    /// Application or end user
    kind: UserKind,
    /// For people
    #[schema(max_length = 512)]
    description: String,
    /// Its standard groups
    #[schema(value_type = Vec<String>, example = json!(["Standard CTI Enabled"]))]
    groups: Groups,
    /// Groups of the operator's own
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    own_groups: BTreeSet<GroupName>,
    /// Devices by name
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    devices: BTreeSet<DeviceName>,
    /// Devices by pattern
    #[schema(value_type = Vec<String>, max_items = 256)]
    patterns: BTreeSet<DevicePattern>,
    /// Locked: no session opens, and none stays open
    locked: bool,
    /// On the TLS door its password is asked for besides its certificate: a session without it doesn't stay open
    password_on_tls: bool,
    /// A new password; without this it stays
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 256)]
    password: Option<SecretText>,
    /// It has no password any more
    #[serde(default)]
    no_password: bool,
}

/// A password that a user is to have for the clear door: itself, or what `callgate passwd` makes of it
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUserPassword {
    /// The password; only a verifier of it is kept (SCRAM-SHA-256)
    #[schema(value_type = Option<String>, format = Password, min_length = 8, max_length = 256)]
    password: Option<SecretText>,
    /// Its verifier, so that the password itself goes nowhere
    #[schema(value_type = Option<String>, format = Password, max_length = 512)]
    verifier: Option<SecretText>,
}

list_query! {
    /// Which users
    UserQuery of "users" {
        /// Only those of this kind
        kind: UserKind,
        /// Only members of this group, a standard one or one of the operator's own
        #[param(max_length = 128)]
        group: String,
        /// Only those that are associated with this device
        #[param(max_length = 128)]
        device: String,
        /// Only names that contain this, whatever the case of ASCII letters
        #[param(max_length = 128)]
        contains: String,
    }
}

/// List users
#[utoipa::path(
    get, path = "/v1/users", tag = "users", params(UserQuery),
    responses((status = 200, description = "A page of users, by name", body = Page<User>)),
)]
async fn list_users(State(api): State<Arc<Api>>, Asked(query): Asked<UserQuery>) -> Result<Json<Page<User>>, Problem> {
    let window = query.window()?;
    let state = api.administration.state();
    let is_meant = |settings: &UserSettings, user: &directory::User| {
        let in_group = |group: &str| {
            settings.groups.iter().any(|standard| standard.name() == group)
                || settings.own_groups.iter().any(|own| own.as_str() == group)
        };
        let has = |device: &str| user.groups.contains(Group::ControlOfAllDevices) || user.devices.contains(device);
        query.kind.is_none_or(|kind| kind == settings.kind.into())
            && query.group.as_deref().is_none_or(in_group)
            && query.device.as_deref().is_none_or(has)
            && query.contains.as_deref().is_none_or(|part| contains_ignore_ascii_case(user.name.as_str(), part))
    };
    let users = state.directory.users().filter_map(|user| {
        let stored = state.records.users.get(&user.name)?;
        is_meant(&stored.record.settings, user).then_some((user.name.as_str(), (stored, user)))
    });
    Ok(Json(window.page(users, |_, (stored, user)| shown(&state, stored, user))))
}

/// Make a user
#[utoipa::path(
    post, path = "/v1/users", tag = "users", request_body = NewUser,
    responses((status = 201, description = "The user", body = Changed<User>)),
)]
async fn create_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewUser>,
) -> Result<Made<User>, Problem> {
    let NewUser { name, kind, description, groups, own_groups, devices, patterns, locked, password_on_tls, password } =
        new;
    let verifier = match password {
        Some(password) => Some(api.verifier_of(password).await?),
        None => None,
    };
    let settings =
        UserSettings { kind: kind.into(), description, groups, own_groups, devices, patterns, locked, password_on_tls };
    let change = Change::AddUser(name.clone(), settings, verifier);
    let done = api.change_directory(&caller, &change, Of::New, Cascade::Nothing).await?;
    Ok(Made(place("users", &[name.as_str()]), Changed::new(done, api.user(&name)?)))
}

/// Read a user
#[utoipa::path(
    get, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "Its name")),
    responses((status = 200, description = "The user", body = User)),
)]
async fn read_user(State(api): State<Arc<Api>>, Named(name): Named<UserName>) -> Result<Versioned<User>, Problem> {
    let (version, user) = api.versioned_user(&name)?;
    Ok(Versioned(version, user))
}

/// Make or change a user
///
/// Its sessions that are open are judged by it before it is answered (R15). Taking it out of a group that the one of SRTP key
/// material needs is refused, unless `cascade` takes it out of that one, too (R8).
#[utoipa::path(
    put, path = "/v1/users/{user}", tag = "users", request_body = NewUserSettings,
    params(("user" = String, Path, description = "Its name"), CascadeQuery),
    responses(
        (status = 200, description = "The user as it is now", body = Changed<User>),
        (status = 201, description = "The user, which was made", body = Changed<User>),
    ),
)]
async fn put_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<UserName>,
    condition: Condition,
    Asked(query): Asked<CascadeQuery>,
    Body(settings): Body<NewUserSettings>,
) -> Result<Put<User>, Problem> {
    let of = condition.of_any()?;
    let is_there = api.administration.state().records.users.contains_key(&name);
    let NewUserSettings {
        kind,
        description,
        groups,
        own_groups,
        devices,
        patterns,
        locked,
        password_on_tls,
        password,
        no_password,
    } = settings;
    let settings =
        UserSettings { kind: kind.into(), description, groups, own_groups, devices, patterns, locked, password_on_tls };
    let change = match (password, no_password) {
        (None, false) => Change::PutUser(name.clone(), settings),
        (None, true) => Change::PutUserWithPassword(name.clone(), settings, None),
        (Some(password), false) => {
            Change::PutUserWithPassword(name.clone(), settings, Some(api.verifier_of(password).await?))
        }
        (Some(_), true) => return Err(Problem::field("password", "a new one or no_password, and not both")),
    };
    let done = api.put_directory(&caller, &change, of, query, is_there).await?;
    Ok(Put::of(of, place("users", &[name.as_str()]), Changed::new(done, api.user(&name)?)))
}

/// Remove a user
///
/// Its sessions are closed. It is refused while certificates of it count, unless `cascade` revokes them.
#[utoipa::path(
    delete, path = "/v1/users/{user}", tag = "users",
    params(("user" = String, Path, description = "Its name"), CascadeQuery),
    responses((status = 200, description = "It is gone", body = Gone)),
)]
async fn remove_user(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<UserName>,
    condition: Condition,
    Asked(query): Asked<CascadeQuery>,
) -> Result<Gone, Problem> {
    let change = Change::RemoveUser(name);
    Ok(api.change_directory(&caller, &change, condition.if_any(), query.cascade()).await?.into())
}

/// Set a user's password for the clear door
///
/// It counts for whoever opens from then on, and closes no session.
#[utoipa::path(
    put, path = "/v1/users/{user}/password", tag = "users", request_body = NewUserPassword,
    params(("user" = String, Path, description = "Its name")),
    responses((status = 200, description = "The user as it is now", body = Changed<User>)),
)]
async fn set_user_password(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<UserName>,
    condition: Condition,
    Body(new): Body<NewUserPassword>,
) -> Result<Changed<User>, Problem> {
    let of = condition.of_known()?;
    let verifier = match (new.password, new.verifier) {
        (Some(password), None) => api.verifier_of(password).await?,
        (None, Some(line)) => {
            let verifier: Result<ScramVerifier, _> = line.into_secret().parse();
            Arc::new(verifier.map_err(|error| Problem::field("verifier", error))?)
        }
        _ => return Err(Problem::field("password", "either it or its verifier is needed, and not both")),
    };
    let change = Change::SetPassword(name.clone(), Some(verifier));
    let done = api.change_directory(&caller, &change, of, Cascade::Nothing).await?;
    Ok(Changed::new(done, api.user(&name)?))
}

/// Take a user's password away
///
/// Nobody opens as this user on the clear door any more; sessions that are open stay so.
#[utoipa::path(
    delete, path = "/v1/users/{user}/password", tag = "users",
    params(("user" = String, Path, description = "Its name")),
    responses((status = 200, description = "The user as it is now", body = Changed<User>)),
)]
async fn remove_user_password(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<UserName>,
    condition: Condition,
) -> Result<Changed<User>, Problem> {
    let change = Change::SetPassword(name.clone(), None);
    let done = api.change_directory(&caller, &change, condition.if_any(), Cascade::Nothing).await?;
    Ok(Changed::new(done, api.user(&name)?))
}

impl Api {
    fn user(&self, name: &UserName) -> Result<User, Problem> {
        self.versioned_user(name).map(|(_, user)| user)
    }

    fn versioned_user(&self, name: &UserName) -> Result<(Version, User), Problem> {
        let state = self.administration.state();
        match (state.records.users.get(name), state.directory.user(name.as_str())) {
            (Some(stored), Some(user)) => Ok((stored.version, shown(&state, stored, user))),
            _ => Err(Problem::not_found(format_args!("user {name:?}"))),
        }
    }
}

fn shown(state: &Everything, stored: &Stored<UserRecord>, user: &directory::User) -> User {
    let UserSettings { kind, description, groups, own_groups, devices, patterns, locked, password_on_tls } =
        &stored.record.settings;
    let associated = match groups.contains(Group::ControlOfAllDevices) {
        true => state.directory.devices().count(),
        false => user.devices.len(),
    };
    User {
        name: user.name.to_string(),
        kind: (*kind).into(),
        description: description.clone(),
        groups: *groups,
        own_groups: own_groups.iter().map(ToString::to_string).collect(),
        devices: devices.iter().map(ToString::to_string).collect(),
        patterns: patterns.iter().map(ToString::to_string).collect(),
        associated,
        locked: *locked,
        password_on_tls: *password_on_tls,
        has_password: stored.record.password.is_some(),
    }
}

impl Api {
    /// It takes some time, by its purpose: so it waits for its turn, as the hashes of accounts' passwords do.
    async fn verifier_of(&self, password: SecretText) -> Result<Arc<ScramVerifier>, Problem> {
        let password =
            NewPassword::typed(&password.into_secret()).map_err(|error| Problem::field("password", error))?;
        let make = move || password.verifier(ScramVerifier::DEFAULT_ITERATIONS);
        let made = self.gate.passwords().work(make).await?;
        Ok(Arc::new(made.map_err(|error| Problem::of(ErrorCode::Internal, error.to_string()))?))
    }
}

impl From<UserKind> for directory::UserKind {
    fn from(kind: UserKind) -> Self {
        match kind {
            UserKind::Application => Self::Application,
            UserKind::EndUser => Self::EndUser,
        }
    }
}

impl From<directory::UserKind> for UserKind {
    fn from(kind: directory::UserKind) -> Self {
        match kind {
            directory::UserKind::Application => Self::Application,
            directory::UserKind::EndUser => Self::EndUser,
        }
    }
}
