//! The switches of the settings.

use std::{collections::HashSet, net::SocketAddr, path::Path};

use super::{
    super::{
        HepConfig, SwitchConfig, SwitchKind,
        error::{Origin, Problem},
        raw::{self, Setting},
    },
    address, network, number, optional, parsed, services, unknown, word,
};
use crate::{
    model::{SecurityLevel, Service, Suite},
    switch::sim::SimSettings,
};

const HEP: &str = "hep";
const REPLAY: &str = "replay";
const SIMULATED: &str = "simulated";

const HEP_LISTEN: &str = "127.0.0.1:9060";
const HEP_QUEUE_BYTES: usize = 8 << 20;

pub(super) fn switches(raw: &[raw::Switch], base_dir: &Path) -> Result<Vec<SwitchConfig>, Problem> {
    let mut names = HashSet::new();
    let mut switches: Vec<SwitchConfig> = Vec::new();
    for switch in raw {
        let kinds: [(&str, KindOf); 3] = [(HEP, hep), (REPLAY, replay), (SIMULATED, simulated)];
        let kind = word(&switch.kind, "kind of switch", &kinds)?;
        let config = SwitchConfig {
            name: parsed(&switch.name)?,
            kind: kind(switch, base_dir)?,
            pbx: switch.pbx.iter().map(address).collect::<Result<_, _>>()?,
        };
        if !names.insert(config.name.clone()) {
            return Err(Problem::new(&switch.name.origin, format!("there are two switches called {:?}", config.name)));
        }
        if is_disabled(switch)? {
            continue;
        }
        if let SwitchKind::Hep(HepConfig { listen, .. }) = &config.kind {
            let other = switches
                .iter()
                .find(|other| matches!(&other.kind, SwitchKind::Hep(other) if collide(other.listen, *listen)));
            if let Some(SwitchConfig { name, .. }) = other {
                let origin = switch.listen.as_ref().map_or(&switch.kind.origin, |listen| &listen.origin);
                return Err(Problem::new(
                    origin,
                    format!("the switch {name:?} listens at {listen} already: give each feed a port of its own"),
                ));
            }
        }
        switches.push(config);
    }
    Ok(switches)
}

type KindOf = fn(&raw::Switch, &Path) -> Result<SwitchKind, Problem>;

/// Every key that not every kind has.
fn own_keys(raw: &raw::Switch) -> [(&'static str, Option<&Origin>); 19] {
    fn origin<T>(setting: &Option<Setting<T>>) -> Option<&Origin> {
        setting.as_ref().map(|setting| &setting.origin)
    }
    [
        ("capture", origin(&raw.capture)),
        ("speed", origin(&raw.speed)),
        ("delay_seconds", origin(&raw.delay_seconds)),
        ("pbx", raw.pbx.first().map(|setting| &setting.origin)),
        ("devices", origin(&raw.devices)),
        ("calls_per_second", origin(&raw.calls_per_second)),
        ("call_seconds", origin(&raw.call_seconds)),
        ("ring_seconds", origin(&raw.ring_seconds)),
        ("secure_percent", origin(&raw.secure_percent)),
        ("unanswered_percent", origin(&raw.unanswered_percent)),
        ("hold_percent", origin(&raw.hold_percent)),
        ("rekey_percent", origin(&raw.rekey_percent)),
        ("suites", raw.suites.as_ref().and_then(|suites| Some(&suites.first()?.origin))),
        ("seed", origin(&raw.seed)),
        ("listen", origin(&raw.listen)),
        ("security_level", origin(&raw.security_level)),
        ("networks", raw.networks.first().map(|setting| &setting.origin)),
        ("password_file", origin(&raw.password_file)),
        ("queue_bytes", origin(&raw.queue_bytes)),
    ]
}

/// Refuses keys of other kinds: what looks as if it counted must count.
fn only(raw: &raw::Switch, known: &[&str]) -> Result<(), Problem> {
    for (key, origin) in own_keys(raw) {
        if let Some(origin) = origin.filter(|_| !known.contains(&key)) {
            let kind = &raw.kind.value;
            return Err(Problem::new(origin, format!("a switch of kind `{kind}` has no `{key}`: take it out")));
        }
    }
    Ok(())
}

/// R4: what comes over UDP can't be secure.
fn is_disabled(raw: &raw::Switch) -> Result<bool, Problem> {
    let Some(level) = &raw.security_level else { return Ok(false) };
    match Service::SwitchFeed.levels().iter().find(|allowed| allowed.name() == level.value) {
        Some(level) => Ok(*level == SecurityLevel::Disabled),
        None => Err(Problem::new(
            &level.origin,
            format!("security_level is {:?}: a feed over UDP can be \"unsecure\" or \"disabled\" (R4)", level.value),
        )),
    }
}

fn hep(raw: &raw::Switch, base_dir: &Path) -> Result<SwitchKind, Problem> {
    only(raw, &["listen", "security_level", "networks", "password_file", "queue_bytes", "pbx"])?;
    let text = raw.listen.as_ref().map_or(HEP_LISTEN, |listen| &listen.value);
    let origin = raw.listen.as_ref().map_or(&raw.kind.origin, |listen| &listen.origin);
    let listen: SocketAddr = text.parse().map_err(|_| {
        let example = "an IP address and a port from 0 to 65535, such as \"127.0.0.1:9060\" or \"0.0.0.0:9060\"";
        Problem::new(origin, format!("{text:?} is nowhere to listen: write {example}"))
    })?;
    let mut networks = raw.networks.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    if networks.is_empty() {
        if !listen.ip().to_canonical().is_loopback() {
            return Err(Problem::new(
                origin,
                format!(
                    "listen is {listen}, and without `networks` only this machine may send (R5): name who sends, such as \
                     networks = [\"192.0.2.10\", \"198.51.100.0/24\"], or listen on the loopback"
                ),
            ));
        }
        networks = services::loopback();
    }
    let queue_bytes = raw.queue_bytes.as_ref().map(|bytes| number(bytes, "queue_bytes", 1 << 20, 1 << 30));
    Ok(SwitchKind::Hep(HepConfig {
        listen,
        networks,
        password_file: raw.password_file.as_ref().map(|path| base_dir.join(&path.value)),
        queue_bytes: queue_bytes.transpose()?.unwrap_or(HEP_QUEUE_BYTES),
    }))
}

/// Whether two sockets can't be at these addresses at once.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && same_ip
}

fn simulated(raw: &raw::Switch, _: &Path) -> Result<SwitchKind, Problem> {
    const DAY: i64 = 86_400;
    const PERCENT: (i64, i64) = (0, 100);
    let calls = ["devices", "calls_per_second", "call_seconds", "ring_seconds", "suites", "seed"];
    let shares = ["secure_percent", "unanswered_percent", "hold_percent", "rekey_percent"];
    only(raw, &[&calls[..], &shares].concat())?;

    let percent = |setting: &Option<Setting<i64>>, what, default| optional(setting.as_ref(), what, PERCENT, default);
    let default = SimSettings::default();
    let devices = (0, SimSettings::MAX_DEVICES.into());
    Ok(SwitchKind::Simulated(SimSettings {
        devices: optional(raw.devices.as_ref(), "devices", devices, default.devices)?,
        calls_per_second: match &raw.calls_per_second {
            None => default.calls_per_second,
            Some(rate) if (0.0..=SimSettings::MAX_RATE).contains(&rate.value) => rate.value,
            Some(rate) => {
                let (value, max) = (rate.value, SimSettings::MAX_RATE);
                return Err(Problem::new(&rate.origin, format!("calls_per_second is {value}: from 0 to {max}")));
            }
        },
        call_seconds: optional(raw.call_seconds.as_ref(), "call_seconds", (1, DAY), default.call_seconds)?,
        ring_seconds: optional(raw.ring_seconds.as_ref(), "ring_seconds", (0, 300), default.ring_seconds)?,
        secure_percent: percent(&raw.secure_percent, "secure_percent", default.secure_percent)?,
        unanswered_percent: percent(&raw.unanswered_percent, "unanswered_percent", default.unanswered_percent)?,
        hold_percent: percent(&raw.hold_percent, "hold_percent", default.hold_percent)?,
        rekey_percent: percent(&raw.rekey_percent, "rekey_percent", default.rekey_percent)?,
        suites: match &raw.suites {
            None => default.suites,
            Some(suites) => suites.iter().map(suite).collect::<Result<_, _>>()?,
        },
        seed: optional(raw.seed.as_ref(), "seed", (0, i64::MAX), default.seed)?,
    }))
}

fn suite(raw: &Setting<String>) -> Result<Suite, Problem> {
    raw.value.parse().map_err(|_| {
        let known = Suite::ALL.map(Suite::name);
        Problem::new(&raw.origin, unknown("crypto suite", &raw.value, &known))
    })
}

fn replay(raw: &raw::Switch, base_dir: &Path) -> Result<SwitchKind, Problem> {
    only(raw, &["capture", "speed", "delay_seconds", "pbx"])?;
    let Some(capture) = &raw.capture else {
        return Err(Problem::new(&raw.kind.origin, "a replay needs `capture`, the file to play"));
    };
    let speed = raw.speed.as_ref().map_or(1.0, |speed| speed.value);
    match &raw.speed {
        Some(raw) if !(speed.is_finite() && (0.0..=1000.0).contains(&speed)) => Err(Problem::new(
            &raw.origin,
            format!("speed is {speed}: from 0 (at once) to 1000; 1 is as it was recorded"),
        )),
        _ => {
            let delay_seconds = optional(raw.delay_seconds.as_ref(), "delay_seconds", (0, 3600), 0)?;
            Ok(SwitchKind::Replay { capture: base_dir.join(&capture.value), speed, delay_seconds })
        }
    }
}
