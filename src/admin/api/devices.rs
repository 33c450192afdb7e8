//! Devices and their lines, as somebody described them, and restrictions (R13). How they stand now is in `live`.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
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
    directory::{self, Cascade, Change, DeviceRecord, Of},
    hub::contains_ignore_ascii_case,
    model::{Address, DeviceName, LineNumber},
    store::Version,
};

const OPERATOR: Least = Least::Role(Role::Operator);
const READER: Least = Least::Role(Role::Reader);

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_devices))
        .add(OPERATOR, Kind::Create, routes!(create_device))
        .add(READER, Kind::Read, routes!(read_device))
        .add(OPERATOR, Kind::Put, routes!(put_device))
        .add(OPERATOR, Kind::Take, routes!(remove_device))
}

/// A device
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Its name
    #[schema(example = "1001")]
    pub name: String,
    /// Somebody described it; a device that only a switch makes up has no ETag, and can be described
    pub described: bool,
    /// For people
    pub description: String,
    /// Where it is reached; calls of these addresses are its calls
    #[schema(example = json!(["udp:192.0.2.7:5060"]))]
    pub addresses: Vec<String>,
    /// Its lines, by number
    pub lines: Vec<Line>,
    /// No app sees it (R13)
    pub restricted: bool,
}

/// A line of a device
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its number, unique within the device
    #[schema(minimum = 1, maximum = 65_535, example = 1)]
    pub number: u32,
    /// For people
    #[serde(default)]
    #[schema(max_length = 64)]
    pub label: String,
    /// No app sees it (R13)
    #[serde(default)]
    pub restricted: bool,
}

/// A device that is to be made
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// Its name
    #[schema(value_type = String, min_length = 1, max_length = 128, example = "1001")]
    name: DeviceName,
    /// For people
    #[serde(default)]
    #[schema(max_length = 512)]
    description: String,
    /// Where it is reached: `udp:` or `tcp:` or `tls:`, IP address and port
    #[serde(default)]
    #[schema(value_type = Vec<String>, max_items = 64, example = json!(["udp:192.0.2.7:5060"]))]
    addresses: Vec<Address>,
    /// Its lines; none stands for line 1
    #[serde(default)]
    #[schema(max_items = 64)]
    lines: Vec<Line>,
    /// No app is to see it
    #[serde(default)]
    restricted: bool,
}

/// What a device is to be
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDeviceSettings {
    /// For people
    #[schema(max_length = 512)]
    description: String,
    /// Where it is reached: `udp:` or `tcp:` or `tls:`, IP address and port
    #[schema(value_type = Vec<String>, max_items = 64, example = json!(["udp:192.0.2.7:5060"]))]
    addresses: Vec<Address>,
    /// Its lines; none stands for line 1
    #[schema(max_items = 64)]
    lines: Vec<Line>,
    /// No app is to see it
    restricted: bool,
}

list_query! {
    /// Which devices
    DeviceQuery of "devices" {
        /// Only those that are restricted, or only those that aren't
        restricted: bool,
        /// Only those that somebody described, or only those that a switch makes up
        described: bool,
        /// Only those that this user sees
        #[param(max_length = 128)]
        user: String,
        /// Only names that contain this, whatever the case of ASCII letters
        #[param(max_length = 128)]
        contains: String,
    }
}

/// List devices
#[utoipa::path(
    get, path = "/v1/devices", tag = "devices", params(DeviceQuery),
    responses((status = 200, description = "A page of devices, by name", body = Page<Device>)),
)]
async fn list_devices(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<DeviceQuery>,
) -> Result<Json<Page<Device>>, Problem> {
    let window = query.window()?;
    let state = api.administration.state();
    let seen: Option<BTreeSet<&DeviceName>> = match query.user.as_deref() {
        None => None,
        Some(name) => {
            let user = state.directory.user(name);
            let user = user.ok_or_else(|| Problem::not_found(format_args!("user {name:?}")))?;
            Some(state.directory.devices_of(user).map(|device| &device.name).collect())
        }
    };
    let is_meant = |device: &&Arc<directory::Device>| {
        query.restricted.is_none_or(|wanted| device.restricted == wanted)
            && query.described.is_none_or(|wanted| state.records.devices.contains_key(&device.name) == wanted)
            && seen.as_ref().is_none_or(|seen| seen.contains(&device.name))
            && query.contains.as_deref().is_none_or(|part| contains_ignore_ascii_case(device.name.as_str(), part))
    };
    let devices = state.directory.devices().filter(is_meant).map(|device| (device.name.as_str(), device));
    Ok(Json(window.page(devices, |_, device| shown(&state, device))))
}

/// Describe a device
///
/// One that a switch makes up, or that only its calls made known, can be described, too.
#[utoipa::path(
    post, path = "/v1/devices", tag = "devices", request_body = NewDevice,
    responses((status = 201, description = "The device", body = Changed<Device>)),
)]
async fn create_device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Body(new): Body<NewDevice>,
) -> Result<Made<Device>, Problem> {
    let NewDevice { name, description, addresses, lines, restricted } = new;
    let change = put(name.clone(), NewDeviceSettings { description, addresses, lines, restricted });
    let done = api.change_directory(&caller, &change, Of::New, Cascade::Nothing).await?;
    Ok(Made(place("devices", &[name.as_str()]), Changed::new(done, api.device(&name)?.1)))
}

/// Read a device
#[utoipa::path(
    get, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "Its name")),
    responses((status = 200, description = "The device", body = Device)),
)]
async fn read_device(State(api): State<Arc<Api>>, Named(name): Named<DeviceName>) -> Result<Response, Problem> {
    Ok(match api.device(&name)? {
        (Some(version), device) => Versioned(version, device).into_response(),
        (None, device) => Json(device).into_response(),
    })
}

/// Describe or change a device
///
/// A restriction is in effect at every open session before it is answered (R15). Addresses count for calls that begin from
/// then on.
#[utoipa::path(
    put, path = "/v1/devices/{device}", tag = "devices", request_body = NewDeviceSettings,
    params(("device" = String, Path, description = "Its name")),
    responses(
        (status = 200, description = "The device as it is now", body = Changed<Device>),
        (status = 201, description = "The device, which is described now", body = Changed<Device>),
    ),
)]
async fn put_device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<DeviceName>,
    condition: Condition,
    Body(settings): Body<NewDeviceSettings>,
) -> Result<Put<Device>, Problem> {
    let of = condition.of_any()?;
    let is_there = api.administration.state().records.devices.contains_key(&name);
    let change = put(name.clone(), settings);
    let done = api.put_directory(&caller, &change, of, CascadeQuery::default(), is_there).await?;
    Ok(Put::of(of, place("devices", &[name.as_str()]), Changed::new(done, api.device(&name)?.1)))
}

/// Remove a device's description
///
/// It is refused while users or groups name the device, or while it or a line of it is restricted, unless `cascade` takes it from
/// them and ends that. A device that a switch makes up, or that has calls, is there again then, and nobody restricted that one.
#[utoipa::path(
    delete, path = "/v1/devices/{device}", tag = "devices",
    params(("device" = String, Path, description = "Its name"), CascadeQuery),
    responses((status = 200, description = "It is gone", body = Gone)),
)]
async fn remove_device(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Named(name): Named<DeviceName>,
    condition: Condition,
    Asked(query): Asked<CascadeQuery>,
) -> Result<Gone, Problem> {
    let change = Change::RemoveDevice(name);
    Ok(api.change_directory(&caller, &change, condition.if_any(), query.cascade()).await?.into())
}

impl Api {
    /// A device; with its version if somebody described it.
    fn device(&self, name: &DeviceName) -> Result<(Option<Version>, Device), Problem> {
        let state = self.administration.state();
        let device = state.directory.device(name.as_str());
        let device = device.ok_or_else(|| Problem::not_found(format_args!("device {name:?}")))?;
        Ok((state.records.devices.get(name).map(|stored| stored.version), shown(&state, device)))
    }
}

fn put(name: DeviceName, settings: NewDeviceSettings) -> Change {
    let NewDeviceSettings { description, addresses, lines, restricted } = settings;
    let line = |Line { number, label, restricted }| directory::Line { number: LineNumber(number), label, restricted };
    let lines = lines.into_iter().map(line).collect();
    Change::PutDevice(name, DeviceRecord { description, addresses, lines, restricted })
}

fn shown(state: &Everything, device: &directory::Device) -> Device {
    let line =
        |line: &directory::Line| Line { number: line.number.0, label: line.label.clone(), restricted: line.restricted };
    Device {
        name: device.name.to_string(),
        described: state.records.devices.contains_key(&device.name),
        description: device.description.clone(),
        addresses: device.addresses.iter().map(ToString::to_string).collect(),
        lines: device.lines.iter().map(line).collect(),
        restricted: device.restricted,
    }
}
