//! How devices, calls and streams stand at this moment: what they are called and how secure they are, and never a key (R19, R20).

use std::{net::SocketAddr, sync::Arc};

use axum::{Json, extract::State};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    extract::{Asked, Named},
    page::{Page, Window, list_query},
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::accounts::Role,
    cti::OpenSessions,
    hub::{self, CallView, DeviceView, HubHandle, Look, Protected, StreamView},
    model::{self, DeviceName},
    trust::Ends,
};

const READER: Least = Least::Role(Role::Reader);
/// How many devices one look takes: the hub turns to its events between two.
const DEVICES_AT_ONCE: usize = 256;

pub(super) fn routes(routes: Routes) -> Routes {
    routes
        .add(READER, Kind::List, routes!(list_live_devices))
        .add(READER, Kind::Read, routes!(read_live_device))
        .add(READER, Kind::List, routes!(list_calls))
        .add(READER, Kind::List, routes!(list_streams))
}

/// What of a gateway that runs is looked at.
#[derive(Debug, Clone)]
pub struct Live {
    /// The open sessions.
    pub sessions: OpenSessions,
    /// Devices, calls and streams.
    pub hub: HubHandle,
    /// When the certificates in force end; `None` while nothing listens for TLS.
    pub ends: watch::Receiver<Option<Ends>>,
}

/// A device as it stands now
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveDevice {
    /// Its name; of one that nobody described, its address
    #[schema(example = "1001")]
    pub name: String,
    /// Somebody described it, or a switch makes it up; the others are known by their calls only
    pub configured: bool,
    /// The number of its last event (R40); 0 if there was none
    pub number: u64,
    /// How many sessions monitor it
    pub monitors: usize,
    /// Its calls in progress, oldest first
    pub calls: Vec<LiveCall>,
}

/// A call in progress, as one of its devices sees it
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveCall {
    /// The gateway's name of it, as in events and records
    #[schema(example = "c0000000000001")]
    pub call: String,
    /// The device that sees it so
    #[schema(example = "1001")]
    pub device: String,
    /// The device's line
    pub line: u32,
    /// Its state
    pub state: CallState,
    /// Whether its media are SRTP
    pub security: CallSecurity,
    /// Who began it, as the device sees it
    pub direction: CallDirection,
    /// The caller, as SIP shows it: proven by nothing
    pub calling: Party,
    /// The called party, as SIP shows it
    pub called: Party,
    /// The switch that reported it
    #[schema(example = "pbx")]
    pub switch: String,
    /// What the switch calls it, if it has a name of its own
    pub switch_call: Option<String>,
    /// The SIP Call-ID
    pub sip_call_id: String,
    /// Its streams
    pub streams: Vec<LiveStream>,
}

/// A stream: one direction of one media line of a call, as one of its devices sees it. It never has a key
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LiveStream {
    /// The gateway's name of it, as in events and records
    #[schema(example = "m0000000000001")]
    pub stream: String,
    /// Its call
    #[schema(example = "c0000000000001")]
    pub call: String,
    /// The device that sees it so
    #[schema(example = "1001")]
    pub device: String,
    /// The set of key material in force, counted from 1 (R22); null if it is not SRTP
    pub generation: Option<u32>,
    /// What was told when it flowed last; null if it has not flowed yet
    pub opened: Option<Opened>,
}

/// What was told of a stream when it began to flow
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Opened {
    /// It flows now, and is not on hold
    pub flows: bool,
    /// As the device sees it
    pub direction: StreamDirection,
    /// What the media line carries
    #[schema(example = "audio")]
    pub media: String,
    /// Where the media go
    #[schema(value_type = String, example = "192.0.2.7:40000")]
    pub destination: SocketAddr,
    /// How it is protected
    pub protection: Protection,
    /// The crypto suite; null unless the gateway knows the key
    #[schema(example = "AES_CM_128_HMAC_SHA1_80")]
    pub suite: Option<String>,
}

/// A party of a call
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Party {
    /// The SIP URI
    #[schema(example = "sip:1001@192.0.2.1")]
    pub uri: String,
    /// The display name
    pub name: String,
}

/// The names of a kind of thing, the same as the model's.
macro_rules! mirrored {
    ($(#[$doc:meta])* $name:ident of $model:path { $($(#[$variant_doc:meta])* $variant:ident: $from:pat,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "kebab-case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl From<$model> for $name {
            fn from(of_model: $model) -> Self {
                use $model as M;
                match of_model {
                    $($from => Self::$variant,)*
                }
            }
        }
    };
}

mirrored! {
    /// A call's state, as its device sees it
    CallState of model::CallState {
        /// The device is being called, and has not rung yet
        Offered: M::Offered,
        /// The device calls, and the other end has not rung yet
        Dialing: M::Dialing,
        /// The called end rings
        Alerting: M::Alerting,
        /// Answered
        Connected: M::Connected,
        /// Put on hold by this device
        Held: M::Held,
        /// Put on hold by the other end
        HeldByRemote: M::HeldByRemote,
        /// Over
        Ended: M::Ended(_),
    }
}

mirrored! {
    /// Whether a call's media are SRTP (R19)
    CallSecurity of hub::CallSecurity {
        /// It has no media stream yet
        NoMedia: M::NoMedia,
        /// At least one stream is not SRTP
        NotSecure: M::NotSecure,
        /// Every stream is SRTP
        Secure: M::Secure,
    }
}

mirrored! {
    /// Who began a call, as its device sees it
    CallDirection of model::CallDirection {
        /// The device called
        Outgoing: M::Outgoing,
        /// The device was called
        Incoming: M::Incoming,
        /// The feed began in the middle of the call
        Unknown: M::Unknown,
    }
}

mirrored! {
    /// The direction of media, as the device sees it
    StreamDirection of model::StreamDirection {
        /// The device sends
        Sent: M::Sent,
        /// The device receives
        Received: M::Received,
    }
}

mirrored! {
    /// How a stream is protected
    Protection of Protected {
        /// It is not SRTP
        None: M::No,
        /// It is SRTP, and the gateway knows the key
        Keyed: M::Keyed(_),
        /// It is SRTP, and the switch side doesn't know the key
        KeyUnknown: M::KeyUnknown,
    }
}

list_query! {
    /// Which devices
    LiveDeviceQuery of "live/devices" {
        /// Only names that contain this, whatever the case of ASCII letters
        #[param(max_length = 128)]
        contains: String,
        /// Only those that have calls
        busy: bool,
    }
}

list_query! {
    /// Which calls or streams
    LiveQuery of "live" {
        /// Only those of this device
        #[param(max_length = 128)]
        device: String,
        /// Only those of this call
        #[param(max_length = 64)]
        call: String,
    }
}

/// List devices as they stand
#[utoipa::path(
    get, path = "/v1/live/devices", tag = "live", params(LiveDeviceQuery),
    responses((status = 200, description = "A page of devices, by name", body = Page<LiveDevice>)),
)]
async fn list_live_devices(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<LiveDeviceQuery>,
) -> Result<Json<Page<LiveDevice>>, Problem> {
    let window = query.window()?;
    let contains = query.contains.clone().unwrap_or_default();
    let look = Look { contains, busy: query.busy.unwrap_or_default(), ..Look::default() };
    let live = api.live()?;
    Ok(Json(gather(&live.hub, &window, look, |device| vec![(device.device.to_string(), device.into())]).await))
}

/// Read how a device stands
#[utoipa::path(
    get, path = "/v1/live/devices/{device}", tag = "live",
    params(("device" = String, Path, description = "Its name")),
    responses((status = 200, description = "The device", body = LiveDevice)),
)]
async fn read_live_device(
    State(api): State<Arc<Api>>,
    Named(name): Named<DeviceName>,
) -> Result<Json<LiveDevice>, Problem> {
    let look = Look { from: Some(name.clone()), limit: 1, ..Look::default() };
    let seen = api.live()?.hub.look(look).await.devices.pop().filter(|device| device.device == name);
    seen.map(|device| Json(device.into())).ok_or_else(|| Problem::not_found(format_args!("device {name:?}")))
}

/// List calls in progress
///
/// A call that two devices have a part in is there twice, as each of them sees it.
#[utoipa::path(
    get, path = "/v1/live/calls", tag = "live", params(LiveQuery),
    responses((status = 200, description = "A page of calls, by device", body = Page<LiveCall>)),
)]
async fn list_calls(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Json<Page<LiveCall>>, Problem> {
    let window = query.window()?;
    let calls = |device: DeviceView| {
        let calls = LiveDevice::from(device).calls.into_iter().filter(|call| query.means(&call.device, &call.call));
        calls.map(|call| (format!("{}\0{}", call.device, call.call), call)).collect()
    };
    Ok(Json(gather(&api.live()?.hub, &window, query.look(), calls).await))
}

/// List streams of calls in progress
#[utoipa::path(
    get, path = "/v1/live/streams", tag = "live", params(LiveQuery),
    responses((status = 200, description = "A page of streams, by device and call", body = Page<LiveStream>)),
)]
async fn list_streams(
    State(api): State<Arc<Api>>,
    Asked(query): Asked<LiveQuery>,
) -> Result<Json<Page<LiveStream>>, Problem> {
    let window = query.window()?;
    let streams = |device: DeviceView| {
        let calls = LiveDevice::from(device).calls.into_iter().filter(|call| query.means(&call.device, &call.call));
        let streams = calls.flat_map(|call| call.streams);
        streams.map(|stream| (format!("{}\0{}\0{}", stream.device, stream.call, stream.stream), stream)).collect()
    };
    Ok(Json(gather(&api.live()?.hub, &window, query.look(), streams).await))
}

impl Api {
    /// What is looked at of the gateway.
    ///
    /// # Errors
    /// None runs.
    pub(super) fn live(&self) -> Result<&Live, Problem> {
        self.live.as_ref().ok_or_else(|| Problem::of(ErrorCode::GatewayNotRunning, ""))
    }
}

impl LiveQuery {
    fn look(&self) -> Look {
        Look { contains: self.device.clone().unwrap_or_default(), busy: true, ..Look::default() }
    }

    fn means(&self, device: &str, call: &str) -> bool {
        self.device.as_deref().is_none_or(|wanted| wanted == device)
            && self.call.as_deref().is_none_or(|wanted| wanted == call)
    }
}

/// Looks at devices until the page is full. `items` have keys that begin with the device's name, and are in their order.
async fn gather<T>(
    hub: &HubHandle,
    window: &Window,
    mut look: Look,
    items: impl Fn(DeviceView) -> Vec<(String, T)>,
) -> Page<T> {
    let last_device = window.after.as_deref().and_then(|after| after.split('\0').next());
    look.from = last_device.and_then(|name| name.parse().ok());
    look.limit = DEVICES_AT_ONCE;
    let mut gathered: Vec<(String, T)> = Vec::new();
    loop {
        let seen = hub.look(look.clone()).await;
        let behind = |(key, _): &(String, T)| window.after.as_ref().is_none_or(|after| key > after);
        gathered.extend(seen.devices.into_iter().flat_map(&items).filter(behind));
        // One more than the page has says that there is another page.
        if gathered.len() > window.limit || seen.resume.is_none() {
            return window.page(gathered.into_iter(), |_, item| item);
        }
        look.from = seen.resume;
    }
}

impl From<DeviceView> for LiveDevice {
    fn from(view: DeviceView) -> Self {
        let DeviceView { device, configured, number, monitors, calls } = view;
        let calls = calls.into_iter().map(|call| live_call(&device, call)).collect();
        Self { name: device.to_string(), configured, number, monitors, calls }
    }
}

fn live_call(device: &DeviceName, view: CallView) -> LiveCall {
    let CallView { call, line, state, security, streams } = view;
    let party = |party: &model::Party| Party { uri: party.uri.clone(), name: party.name.clone() };
    LiveCall {
        call: call.id.to_string(),
        device: device.to_string(),
        line: line.0,
        state: state.into(),
        security: security.into(),
        direction: call.direction.into(),
        calling: party(&call.calling),
        called: party(&call.called),
        switch: call.switch.to_string(),
        switch_call: call.switch_call.clone(),
        sip_call_id: call.sip_call_id.clone(),
        streams: streams.into_iter().map(|stream| live_stream(device, call.id, stream)).collect(),
    }
}

fn live_stream(device: &DeviceName, call: model::CallId, view: StreamView) -> LiveStream {
    let StreamView { stream, generation, opened } = view;
    let opened = opened.map(|hub::Opened { direction, media, destination, protected, flows }| Opened {
        flows,
        direction: direction.into(),
        media: media.to_string(),
        destination,
        suite: match protected {
            Protected::Keyed(suite) => Some(suite.name().into()),
            Protected::No | Protected::KeyUnknown => None,
        },
        protection: protected.into(),
    });
    LiveStream {
        stream: stream.to_string(),
        call: call.to_string(),
        device: device.to_string(),
        generation: generation.map(|generation| generation.0),
        opened,
    }
}
