//! `callgate demo`: the whole main job on one machine, on a recorded real call.
//!
//! A fresh gateway with a CA of its own; a call between two phones over an Asterisk, played in as its switch; three
//! apps: one that may have the keys, one that may not, and one on the clear door. The first turns the recorded SRTP into
//! voices, the others get everything but the keys.

use std::{io::Cursor, path::PathBuf, sync::Arc};

use callgate_sdk::client::{Event, Indicator};

use super::voices::Folder;
pub use super::voices::{Heard, Voice};
use super::{
    ClientError,
    app::App,
    rig::{Ports, Rig},
    voices,
};
use crate::{
    directory::{Device, ScramVerifier, User, UserKind},
    model::{Address, Group, SwitchName},
    switch::{capture::Capture, feed::FeedConfig, replay::Speed},
};

/// The recorded call: `tests/data/README.md` says what happens in it.
const CALL: &[u8] = include_bytes!("../../tests/data/asterisk22-basic/call.pcap");
/// The PBX of the recorded call.
const PBX: &str = "udp:127.0.0.1:15060";
/// The phones of the recorded call.
const PHONES: [(&str, &str); 2] = [("1001", "udp:127.0.0.1:16010"), ("1002", "udp:127.0.0.1:16020")];
/// The SRTP streams of the recorded call: two phones, each with one in either direction.
const STREAMS: usize = 4;

/// The app that may have the keys, the one that may not, and the one on the clear door.
const APPS: [&str; 3] = ["recorder", "viewer", "dashboard"];
const INSTANCE: &str = "1";
/// The dashboard's password. It opens a gateway that lives for seconds on the loopback.
const PASSWORD: &str = "demo";

/// Is told each step in plain words.
pub type Narrator = Arc<dyn Fn(&str) + Send + Sync>;

/// How the demo is run.
pub struct Options {
    /// Where the voices go. The folder is made; if it is there it must be empty.
    pub folder: PathBuf,
    /// How many times as fast as it was recorded.
    pub speed: Speed,
}

/// What the demo has shown.
#[derive(Debug)]
pub struct Shown {
    /// What the first app heard.
    pub heard: Heard,
    /// What the others were told of the streams' keys.
    pub others: Vec<Other>,
    /// What was to be proven, and whether it was.
    pub proofs: Vec<(String, bool)>,
}

/// An app without the right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its user.
    pub user: &'static str,
    /// Its door.
    pub door: &'static str,
    /// How many events it got.
    pub events: usize,
    /// The indicators of the streams, in the order of the events.
    pub indicators: Vec<String>,
    /// How many keys it got.
    pub keys: usize,
}

impl Shown {
    /// Whether all was proven.
    pub fn is_proven(&self) -> bool {
        self.proofs.iter().all(|(_, holds)| *holds)
    }
}

/// Runs the demo.
///
/// # Errors
/// [`ClientError`]: a part of it could not be done at all.
pub async fn demo(options: Options, tell: Narrator) -> Result<Shown, ClientError> {
    let folder = Folder::Named(options.folder);
    folder.check()?;
    let mut rig = Rig::start(users()?, devices()?, Ports::Usual).await?;
    tell(&format!("A gateway starts, with a CA of its own in {}", rig.folder().display()));
    if let (Some(clear), Some(tls)) = rig.doors() {
        tell(&format!("  clear door on {clear}, TLS door on {tls}"));
    }

    let [recorder, viewer, dashboard] = APPS;
    let mut apps = Vec::new();
    for user in APPS {
        let (session, events) = match user == dashboard {
            true => rig.open_clear(user, INSTANCE, PASSWORD).await?,
            false => rig.open_tls(user, INSTANCE).await?,
        };
        tell(&format!("App {user}: session {} open, {} devices", session.name(), session.device_count()));
        let watcher = watcher(user, user == recorder, Arc::clone(&tell));
        let devices = PHONES.map(|(name, _)| name.to_owned()).into();
        apps.push(App::listen(session, events, devices, watcher).await?);
    }
    tell(
        "  recorder: TLS, in all three groups; viewer: TLS, not in the SRTP group; dashboard: clear door, by password",
    );

    tell("The PBX: a recorded call of 1001 to 1002 over Asterisk 22.10.1, HEP and SRTP as they were on the wire");
    let mut apps = apps.into_iter();
    let Some(first) = apps.next() else { return Err(ClientError::Closed("no app".into())) };
    let (streams, error) = voices::play(&mut rig, first, call()?, feed()?, options.speed).await?;
    if let Some(error) = error {
        return Err(error);
    }
    let mut others = Vec::new();
    let mut counted = Vec::new();
    for ((app, user), door) in apps.zip([viewer, dashboard]).zip(["tls", "clear"]) {
        let events = app.finish().await?;
        counted.push(numbers(&events));
        others.push(other(user, door, &events));
    }
    let heard = voices::write(streams, &folder)?;
    rig.stop().await;

    let same = counted.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    let proofs = proofs(&heard, &others, same);
    Ok(Shown { heard, others, proofs })
}

fn proofs(heard: &Heard, others: &[Other], same: bool) -> Vec<(String, bool)> {
    let streams = &heard.report.streams;
    let packets: u64 = streams.iter().map(|stream| stream.packets).sum();
    let authentic: u64 = streams.iter().map(|stream| stream.authentic).sum();
    let keyed = streams.iter().filter(|stream| stream.keyed).count();
    let written = heard.voices.iter().filter(|voice| matches!(voice, Voice::Written { .. })).count();
    let complete = streams.iter().all(|stream| stream.packets > 0 && stream.authentic == stream.packets);
    let refused = |other: &Other| {
        other.keys == 0
            && other.indicators.len() == STREAMS
            && other.indicators.iter().all(|indicator| indicator == "USER_NOT_AUTHORIZED")
    };
    vec![
        (
            format!("recorder got the keys of {keyed} of {STREAMS} streams"),
            keyed == STREAMS && streams.len() == STREAMS,
        ),
        (format!("{authentic} of {packets} SRTP packets authenticate with them"), complete && packets > 0),
        (format!("{written} of {STREAMS} voices are written"), written == STREAMS),
        (
            "viewer and dashboard got the same events in the same order".into(),
            same && others.iter().all(|o| o.events > 0),
        ),
        ("and of every stream USER_NOT_AUTHORIZED, and no key".into(), others.iter().all(refused)),
    ]
}

/// What an app without the right was told.
fn other(user: &'static str, door: &'static str, events: &[Event]) -> Other {
    let opened = || {
        events.iter().filter_map(|event| match event {
            Event::MediaOpened(_, media) => Some(media),
            _ => None,
        })
    };
    Other {
        user,
        door,
        events: events.len(),
        indicators: opened().map(|media| indicator(media.indicator)).collect(),
        keys: opened().filter(|media| media.keys.is_some()).count(),
    }
}

fn indicator(indicator: Indicator) -> String {
    super::app::indicator(indicator).map_or_else(|| "UNKNOWN".into(), |known| known.name().into())
}

/// By device: events of different devices may overtake each other.
fn numbers(events: &[Event]) -> Vec<(String, u64, u64)> {
    let mut numbers: Vec<_> = events
        .iter()
        .filter_map(Event::head)
        .map(|head| (head.device.clone(), head.number, head.class_number))
        .collect();
    numbers.sort();
    numbers
}

/// Tells what an app sees, of the calls only for one of them.
fn watcher(user: &'static str, with_calls: bool, tell: Narrator) -> impl FnMut(&Event) + Send + 'static {
    move |event| match event {
        Event::CallState(head, changed) if with_calls => {
            tell(&format!("  {user}: {} call {:?}", head.device, changed.state));
        }
        Event::MediaOpened(head, media) => {
            let suite = media.suite.as_deref().unwrap_or("no SRTP");
            let direction =
                if media.direction == callgate_sdk::client::MediaDirection::Sent { "sends" } else { "receives" };
            let (to, indicator) = (media.destination, indicator(media.indicator));
            tell(&format!("  {user}: {} {direction} media to {to}, {suite}: {indicator}", head.device));
        }
        _ => {}
    }
}

fn users() -> Result<Vec<User>, ClientError> {
    let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let groups = [&all[..], &all[..2], &all[..1]];
    APPS.into_iter()
        .zip(groups)
        .map(|(name, groups)| {
            let devices = PHONES.iter().map(|(device, _)| device.parse()).collect::<Result<_, _>>()?;
            let password = match groups.contains(&Group::SecureConnection) {
                true => None,
                false => Some(Arc::new(ScramVerifier::generate(PASSWORD, ScramVerifier::DEFAULT_ITERATIONS)?)),
            };
            let groups = groups.iter().copied().collect();
            let devices = Arc::new(devices);
            Ok(User {
                name: name.parse()?,
                kind: UserKind::Application,
                groups,
                devices,
                password,
                locked: false,
                password_on_tls: false,
                incarnation: 0,
            })
        })
        .collect()
}

fn devices() -> Result<Vec<Device>, ClientError> {
    PHONES
        .iter()
        .map(|(name, address)| {
            let addresses = address.parse::<Address>().into_iter().collect();
            Ok(Device { addresses, description: format!("phone {name}"), ..Device::named(name.parse()?) })
        })
        .collect()
}

fn call() -> Result<Capture, ClientError> {
    Ok(Capture::from_reader(Cursor::new(CALL))?)
}

fn feed() -> Result<FeedConfig, ClientError> {
    let name: SwitchName = "asterisk".parse()?;
    let phones = PHONES.iter().filter_map(|(name, address)| Some((address.parse().ok()?, name.parse().ok()?)));
    let pbxes = PBX.parse().into_iter().collect();
    Ok(FeedConfig { pbxes, devices: phones.collect(), ..voices::feed_config(&name) })
}
