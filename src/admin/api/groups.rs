//! Standard groups, and groups of the operator's own (R7, R13).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{Json, extract::State, response::IntoResponse};
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
};
use crate::{
    admin::{Caller, State as Everything, accounts::Role},
    directory::{Cascade, Change, DevicePattern, GroupRecord, Of},
    model::{DeviceName, Group as Standard, GroupName},
    store::Version,
};

const OPERATOR: Least = Least::Role(Role::Operator);
const READER: Least = Least::Role(Role::Reader);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_groups))
        .add(OPERATOR, Kind::Create, routes!(create_group))
        .add(READER, Kind::Read, routes!(read_group))
        .add(OPERATOR, Kind::Put, routes!(put_group))
        .add(OPERATOR, Kind::Take, routes!(remove_group))
}

/// A group: a standard one, or devices that all its members see
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// Its name
    #[schema(example = "Floor 1")]
    pub name: String,
    /// It is there from the start, and can't be changed or removed (R7)
    pub standard: bool,
    /// For people
    pub description: String,
    /// Devices by name (R13)
    #[schema(example = json!(["1001"]))]
    pub devices: Vec<String>,
    /// Devices by pattern (R13)
    #[schema(example = json!(["SEP*"]))]
    pub patterns: Vec<String>,
    /// How many users are in it
    pub members: usize,
}

/// A group of either kind.
#[derive(Debug, Clone, Copy)]
enum Which<'a> {
    Standard(Standard),
    Own(&'a GroupName, &'a GroupRecord),
}

/// A group that is to be made
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    /// Its name; those of standard groups are theirs alone
    #[schema(value_type = String, min_length = 1, max_length = 128, pattern = "^[^/:]+$", example = "Floor 1")]
    name: GroupName,
    /// For people
    #[serde(default)]
    #[schema(max_length = 512)]
    description: String,
    /// Devices by name
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    devices: BTreeSet<DeviceName>,
    /// Devices by pattern: `*` stands for any characters, `?` for one
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 256)]
    patterns: BTreeSet<DevicePattern>,
}

/// What a group is to be
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewGroupSettings {
    /// For people
    #[schema(max_length = 512)]
    description: String,
    /// Devices by name
    #[schema(value_type = Vec<String>, max_items = 10_000)]
    devices: BTreeSet<DeviceName>,
    /// Devices by pattern
    #[schema(value_type = Vec<String>, max_items = 256)]
    patterns: BTreeSet<DevicePattern>,
}

list_query! {
    /// Which groups
    GroupQuery of "groups" {
        /// Only standard groups, or only those of the operator's own
        standard: bool,
    }
}

/// List groups
///
/// Who is in one is asked by `GET /v1/users?group=`.
#[utoipa::path(
    get, path = "/v1/groups", tag = "groups", params(GroupQuery),
    responses((status = 200, description = "A page of groups, by name", body = Page<Group>)),
)]
async fn list_groups(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<GroupQuery>,
) -> Result<Json<Page<Group>>, Problem> {
    let window = query.window()?;
    let state = api.administration.state();
    let standard = Standard::ALL.into_iter().map(|group| (group.name(), Which::Standard(group)));
    let own = state.records.groups.iter().map(|(name, stored)| (name.as_str(), Which::Own(name, &stored.record)));
    let is_meant =
        |which: &Which<'_>| query.standard.is_none_or(|wanted| wanted == matches!(which, Which::Standard(_)));
    let groups: BTreeMap<&str, Which<'_>> = standard.chain(own).filter(|(_, which)| is_meant(which)).collect();
    Ok(Json(window.page(groups.into_iter(), |_, which| which.shown(&state))))
}

/// Make a group of one's own
#[utoipa::path(
    post, path = "/v1/groups", tag = "groups", request_body = NewGroup,
    responses((status = 201, description = "The group", body = Changed<Group>)),
)]
async fn create_group(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewGroup>,
) -> Result<Made<Group>, Problem> {
    let NewGroup { name, description, devices, patterns } = new;
    let change = Change::PutGroup(name.clone(), GroupRecord { description, devices, patterns });
    let done = api.change_directory(&caller, &change, Of::New, Cascade::Nothing).await?;
    Ok(Made(place("groups", &[name.as_str()]), Changed::new(done, api.group(&name)?.1)))
}

/// Read a group
///
/// A standard one has no ETag.
#[utoipa::path(
    get, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "Its name")),
    responses((status = 200, description = "The group", body = Group)),
)]
async fn read_group(
    State(api): State<Arc<Api>>,
    Named(name): Named<GroupName>,
) -> Result<axum::response::Response, Problem> {
    Ok(match api.group(&name)? {
        (Some(version), group) => Versioned(version, group).into_response(),
        (None, group) => Json(group).into_response(),
    })
}

/// Make or change a group of one's own
///
/// The sessions of its members are judged by it before it is answered (R15).
#[utoipa::path(
    put, path = "/v1/groups/{group}", tag = "groups", request_body = NewGroupSettings,
    params(("group" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The group as it is now", body = Changed<Group>),
        (status = 201, description = "The group, which was made", body = Changed<Group>),
    ),
)]
async fn put_group(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<GroupName>,
    condition: Condition,
    Body(settings): Body<NewGroupSettings>,
) -> Result<Put<Group>, Problem> {
    let of = condition.of_any()?;
    let is_there = api.group(&name).is_ok();
    let NewGroupSettings { description, devices, patterns } = settings;
    let change = Change::PutGroup(name.clone(), GroupRecord { description, devices, patterns });
    let done = api.put_directory(&caller, &change, of, CascadeQuery::default(), is_there).await?;
    Ok(Put::of(of, place("groups", &[name.as_str()]), Changed::new(done, api.group(&name)?.1)))
}

/// Remove a group of one's own
///
/// It is refused while users are in it, unless `cascade` takes them out of it.
#[utoipa::path(
    delete, path = "/v1/groups/{group}", tag = "groups",
    params(("group" = String, Path, description = "Its name"), CascadeQuery),
    responses((status = 200, description = "It is gone", body = Gone)),
)]
async fn remove_group(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<GroupName>,
    condition: Condition,
    Asked(query): Asked<CascadeQuery>,
) -> Result<Gone, Problem> {
    let change = Change::RemoveGroup(name);
    Ok(api.change_directory(&caller, &change, condition.if_any(), query.cascade()).await?.into())
}

impl Api {
    /// A group of either kind; with its version if it can be changed.
    fn group(&self, name: &GroupName) -> Result<(Option<Version>, Group), Problem> {
        let state = self.administration.state();
        if let Ok(group) = name.as_str().parse() {
            return Ok((None, Which::Standard(group).shown(&state)));
        }
        let stored = state.records.groups.get(name);
        let stored = stored.ok_or_else(|| Problem::not_found(format_args!("group {name:?}")))?;
        Ok((Some(stored.version), Which::Own(name, &stored.record).shown(&state)))
    }
}

impl Which<'_> {
    fn shown(&self, state: &Everything) -> Group {
        let users = state.records.users.values().map(|stored| &stored.record.settings);
        match *self {
            Self::Standard(group) => Group {
                name: group.name().into(),
                standard: true,
                description: about(group).into(),
                devices: Vec::new(),
                patterns: Vec::new(),
                members: users.filter(|settings| settings.groups.contains(group)).count(),
            },
            Self::Own(name, record) => Group {
                name: name.to_string(),
                standard: false,
                description: record.description.clone(),
                devices: record.devices.iter().map(ToString::to_string).collect(),
                patterns: record.patterns.iter().map(ToString::to_string).collect(),
                members: users.filter(|settings| settings.own_groups.contains(name)).count(),
            },
        }
    }
}

/// What a standard group is for (R7).
fn about(group: Standard) -> &'static str {
    match group {
        Standard::CtiEnabled => "May open sessions at all (R9)",
        Standard::SecureConnection => "Opens on the TLS door, and on no other (R10)",
        Standard::SrtpKeyMaterial => {
            "Gets the SRTP keys of its devices, if it is in Enabled and Secure Connection, too (R8, R16)"
        }
        Standard::ControlOfAllDevices => "Sees every device that is not restricted (R13)",
        Standard::CallMonitoring => "May monitor calls; for a later capability",
        Standard::CallRecording => "May record calls; for a later capability",
        Standard::CallParkMonitoring => "May monitor parked calls; for a later capability",
        Standard::CallingNumberModification => "May modify calling numbers; for a later capability",
    }
}
