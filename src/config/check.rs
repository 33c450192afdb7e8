//! From what is written to what is meant: every value checked, every error at its place.

mod addresses;
mod services;
mod stop;
mod switches;

use std::{collections::HashSet, path::Path, str::FromStr, sync::Arc, time::Duration};

use super::{
    Config, Heartbeat, Limits, OwnCa, StoreFile, SwitchConfig, SwitchKind, TlsFiles,
    error::{Origin, Problem, list, nearest},
    raw::{self, Raw, Setting},
};
use crate::{
    audit,
    directory::{
        Device, Directory, DirectoryError, Line, MAX_DESCRIPTION, MAX_LABEL, MAX_LINES, ScramVerifier, User, UserKind,
    },
    model::{Address, AllowedNetworks, DeviceName, Group, LineNumber, Mode, Network, NetworkError},
};

pub(super) fn check(raw: &Raw, base_dir: &Path) -> Result<Config, Problem> {
    let mode = mode(&raw.mode.0)?;
    let switches = switches::switches(&raw.switch, base_dir)?;
    let (doors, overruled) = services::doors(&raw.doors, mode)?;
    let metrics = services::metrics(&raw.metrics)?;
    let admin = services::admin(&raw.admin, &doors, base_dir)?;
    let directory = directory(&raw.user, &raw.device, &switches)?;
    addresses::check(raw, &switches, &addresses::Own { doors, metrics: metrics.listen, admin: admin.https.listen })?;
    Ok(Config {
        mode,
        lenient_doors: raw.lenient_doors.value,
        door_networks: door_networks(&raw.door_networks)?,
        doors,
        tls: TlsFiles {
            certificate: base_dir.join(&raw.tls.certificate.value),
            key: base_dir.join(&raw.tls.key.value),
            client_ca: base_dir.join(&raw.tls.client_ca.value),
            client_crl: raw.tls.client_crl.value.iter().map(|path| base_dir.join(&path.value)).collect(),
            ledger: base_dir.join(&raw.tls.ledger.value),
            own_ca: own_ca(&raw.tls, base_dir)?,
        },
        store: StoreFile { file: base_dir.join(&raw.store.file.value) },
        audit: audit(&raw.audit, base_dir)?,
        heartbeat: heartbeat(&raw.heartbeat)?,
        stop: stop::stop(&raw.stop)?,
        limits: limits(&raw.limits)?,
        metrics,
        admin,
        overruled,
        directory: Arc::new(directory),
        switches,
    })
}

/// The CA's certificate, and its key only with it.
fn own_ca(raw: &raw::Tls, base_dir: &Path) -> Result<Option<OwnCa>, Problem> {
    let (certificate, key) = (&raw.own_ca, &raw.own_ca_key);
    match (certificate.value.as_str(), key.value.as_str()) {
        ("", "") => Ok(None),
        (certificate, "") => Ok(Some(OwnCa { certificate: base_dir.join(certificate), key: None })),
        ("", _) => {
            let message = "tls.own_ca_key is set, and tls.own_ca isn't: a list of what was revoked needs both files";
            Err(Problem::new(&key.origin, message))
        }
        (certificate, key) => {
            Ok(Some(OwnCa { certificate: base_dir.join(certificate), key: Some(base_dir.join(key)) }))
        }
    }
}

fn audit(raw: &raw::Audit, base_dir: &Path) -> Result<audit::Options, Problem> {
    const GIB: i64 = 1 << 30;
    let path = |path: &Setting<String>| base_dir.join(&path.value);
    let (folder, key, checkpoints) = (path(&raw.folder), path(&raw.key), path(&raw.checkpoints));
    for (file, setting, name) in [(&key, &raw.key, "key"), (&checkpoints, &raw.checkpoints, "checkpoints")] {
        if file.starts_with(&folder) {
            let message = format!(
                "audit.{name} is in audit.folder: who can change the log's files should not have it, too, so keep it elsewhere"
            );
            return Err(Problem::new(written(&[&setting.origin, &raw.folder.origin]), message));
        }
    }
    let milliseconds = number(&raw.flush_milliseconds, "audit.flush_milliseconds", 0, 10_000)?;
    let hours: u64 = number(&raw.segment_hours, "audit.segment_hours", 1, 8760)?;
    let keep_segments = number(&raw.keep_segments, "audit.keep_segments", 0, 1_000_000)?;
    if keep_segments == 1 {
        let message = "audit.keep_segments is 1: write 0 to keep all, or at least 2, since one is written to";
        return Err(Problem::new(&raw.keep_segments.origin, message));
    }
    let keep_days: u64 = number(&raw.keep_days, "audit.keep_days", 0, 36_500)?;
    Ok(audit::Options {
        flush: match milliseconds {
            0 => audit::Flush::Always,
            milliseconds => audit::Flush::Every(Duration::from_millis(milliseconds)),
        },
        segment_bytes: number(&raw.segment_bytes, "audit.segment_bytes", 1 << 20, GIB)?,
        segment_age: Duration::from_secs(hours * 60 * 60),
        reserve_bytes: number(&raw.reserve_bytes, "audit.reserve_bytes", 0, 16 * GIB)?,
        keep_segments: Some(keep_segments).filter(|keep| *keep > 0),
        keep_age: Some(Duration::from_secs(keep_days * 24 * 60 * 60)).filter(|keep| !keep.is_zero()),
        log: raw.log.value,
        ..audit::Options::new(folder, key, checkpoints)
    })
}

/// No near name is offered: that of `secure` would be `non-secure`, its opposite.
fn mode(raw: &Setting<String>) -> Result<Mode, Problem> {
    match raw.value.as_str() {
        "mixed" => Ok(Mode::Mixed),
        "non-secure" => Ok(Mode::NonSecure),
        other => {
            let message =
                format!("unknown mode `{other}`: known are `mixed` (with the TLS door), `non-secure` (without it)");
            Err(Problem::new(&raw.origin, message))
        }
    }
}

fn heartbeat(raw: &raw::Heartbeat) -> Result<Heartbeat, Problem> {
    let heartbeat = Heartbeat {
        default_seconds: number(&raw.default_seconds, "heartbeat.default_seconds", 1, 3600)?,
        min_seconds: number(&raw.min_seconds, "heartbeat.min_seconds", 1, 3600)?,
        max_seconds: number(&raw.max_seconds, "heartbeat.max_seconds", 1, 3600)?,
    };
    let Heartbeat { default_seconds, min_seconds, max_seconds } = heartbeat;
    if min_seconds > max_seconds {
        let message = format!("heartbeat.min_seconds is {min_seconds}, more than heartbeat.max_seconds, {max_seconds}");
        return Err(Problem::new(written(&[&raw.min_seconds.origin, &raw.max_seconds.origin]), message));
    }
    if !(min_seconds..=max_seconds).contains(&default_seconds) {
        let message = format!(
            "heartbeat.default_seconds is {default_seconds}, not between heartbeat.min_seconds, {min_seconds}, and \
             heartbeat.max_seconds, {max_seconds}"
        );
        let origins = [&raw.default_seconds.origin, &raw.min_seconds.origin, &raw.max_seconds.origin];
        return Err(Problem::new(written(&origins), message));
    }
    Ok(heartbeat)
}

fn limits(raw: &raw::Limits) -> Result<Limits, Problem> {
    const MILLION: i64 = 1_000_000;
    Ok(Limits {
        open_seconds: number(&raw.open_seconds, "limits.open_seconds", 1, 300)?,
        probe_seconds: number(&raw.probe_seconds, "limits.probe_seconds", 1, 30)?,
        opening_connections: number(&raw.opening_connections, "limits.opening_connections", 1, MILLION)?,
        sessions: number(&raw.sessions, "limits.sessions", 1, MILLION)?,
        sessions_per_user: number(&raw.sessions_per_user, "limits.sessions_per_user", 1, MILLION)?,
        monitors_per_session: number(&raw.monitors_per_session, "limits.monitors_per_session", 1, MILLION)?,
        requests_in_flight: number(&raw.requests_in_flight, "limits.requests_in_flight", 1, 65_536)?,
        queued_bytes_per_session: number(
            &raw.queued_bytes_per_session,
            "limits.queued_bytes_per_session",
            65_536,
            1 << 30,
        )?,
        tries_per_source_per_minute: number(
            &raw.tries_per_source_per_minute,
            "limits.tries_per_source_per_minute",
            1,
            MILLION,
        )?,
        workers: number(&raw.workers, "limits.workers", 0, 64)?,
        http_connections: number(&raw.http_connections, "limits.http_connections", 1, MILLION)?,
        http_connections_per_source: number(
            &raw.http_connections_per_source,
            "limits.http_connections_per_source",
            1,
            MILLION,
        )?,
        http_request_seconds: number(&raw.http_request_seconds, "limits.http_request_seconds", 1, 300)?,
    })
}

fn directory(users: &[raw::User], devices: &[raw::Device], switches: &[SwitchConfig]) -> Result<Directory, Problem> {
    let mut checked_devices = devices.iter().map(device).collect::<Result<Vec<_>, _>>()?;
    // Of those that somebody described, such as a restricted one, the description counts.
    let described: HashSet<DeviceName> = checked_devices.iter().map(|device| device.name.clone()).collect();
    let simulated = switches.iter().flat_map(SwitchConfig::simulated_devices);
    checked_devices.extend(simulated.filter(|name| !described.contains(name)).map(Device::named));
    let checked_users = users.iter().map(user).collect::<Result<Vec<_>, _>>()?;
    Directory::new(checked_users, checked_devices).map_err(|error| locate(&error, users, devices, switches))
}

fn user(raw: &raw::User) -> Result<User, Problem> {
    let password = match &raw.password {
        Some(line) => Some(Arc::new(line.value.0.parse::<ScramVerifier>().map_err(|error| {
            Problem::new(&line.origin, format!("password of the user {:?}: {error}", raw.name.value))
        })?)),
        None => None,
    };
    Ok(User {
        name: parsed(&raw.name)?,
        kind: match &raw.kind {
            None => UserKind::Application,
            Some(kind) => {
                let kinds = [("application", UserKind::Application), ("end-user", UserKind::EndUser)];
                word(kind, "kind of user", &kinds)?
            }
        },
        groups: raw.groups.iter().map(group).collect::<Result<_, _>>()?,
        devices: Arc::new(raw.devices.iter().map(parsed).collect::<Result<_, _>>()?),
        password,
        locked: false,
        password_on_tls: false,
        incarnation: 0,
    })
}

fn group(raw: &Setting<String>) -> Result<Group, Problem> {
    raw.value.parse().map_err(|_| {
        let known = Group::ALL.map(Group::name);
        Problem::new(&raw.origin, unknown("group", &raw.value, &known))
    })
}

fn device(raw: &raw::Device) -> Result<Device, Problem> {
    if let Some(line) = raw.line.get(MAX_LINES) {
        let message = format!("the device {:?} has {} lines: {MAX_LINES} are allowed", raw.name.value, raw.line.len());
        return Err(Problem::new(&line.number.origin, message));
    }
    let mut lines = Vec::new();
    for line in &raw.line {
        let number = LineNumber(number(&line.number, "a line's number", 1, 65_535)?);
        let label = text(line.label.as_ref(), "a line's label", MAX_LABEL)?;
        let restricted = line.restricted.value;
        if restricted && !number.can_be_restricted() {
            let message = format!(
                "line {number} of the device {:?} can't be restricted: switches report all calls of a device on its line {}, so \
                 it would hide nothing; restrict that line, or the device (R13)",
                raw.name.value,
                LineNumber::FIRST
            );
            return Err(Problem::new(&line.restricted.origin, message));
        }
        lines.push(Line { number, label, restricted });
    }
    Ok(Device {
        name: parsed(&raw.name)?,
        addresses: raw.addresses.iter().map(address).collect::<Result<_, _>>()?,
        lines,
        description: text(raw.description.as_ref(), "a device's description", MAX_DESCRIPTION)?,
        restricted: raw.restricted,
    })
}

/// Without any, everybody may connect to the doors: apps come from anywhere, and have to prove who they are.
fn door_networks(raw: &[Setting<String>]) -> Result<AllowedNetworks, Problem> {
    let networks = raw.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    Ok(if networks.is_empty() { AllowedNetworks::All } else { AllowedNetworks::Only(networks) })
}

fn network(raw: &Setting<String>) -> Result<Network, Problem> {
    raw.value
        .parse()
        .map_err(|error: NetworkError| Problem::new(&raw.origin, format!("{:?} is no network: {error}", raw.value)))
}

fn address(raw: &Setting<String>) -> Result<Address, Problem> {
    raw.value.parse().map_err(|_| {
        let example =
            "write transport, IP address and port, such as \"udp:192.0.2.1:5060\" or \"tcp:[2001:db8::1]:5061\"";
        Problem::new(&raw.origin, format!("{:?} is no address: {example}", raw.value))
    })
}

/// Finds what a directory complains of. Of two that are the same the later one is shown.
fn locate(error: &DirectoryError, users: &[raw::User], devices: &[raw::Device], switches: &[SwitchConfig]) -> Problem {
    let user = |name: &str| users.iter().rfind(|user| user.name.value == name);
    let device = |name: &DeviceName| devices.iter().rfind(|device| device.name.value == name.as_str());
    let mut message = error.to_string();
    let origin = match error {
        DirectoryError::DuplicateUser(name) => user(name.as_str()).map(|user| &user.name.origin),
        DirectoryError::DuplicateDevice(name) => device(name).map(|device| &device.name.origin),
        DirectoryError::DuplicateAddress { address, second, .. } => device(second)
            .and_then(|device| device.addresses.iter().rfind(|raw| raw.value.parse() == Ok(*address)))
            .map(|raw| &raw.origin),
        DirectoryError::DuplicateLine { device: name, line } => device(name)
            .and_then(|device| device.line.iter().rfind(|raw| raw.number.value == i64::from(line.0)))
            .map(|raw| &raw.number.origin),
        DirectoryError::UnknownDevice { user: name, device } => {
            let known = devices.iter().map(|device| device.name.value.as_str());
            if let Some(hint) = switches.iter().find_map(|switch| beyond_simulated(device, switch)) {
                message.push_str(&hint);
            } else if let Some(near) = nearest(device.as_str(), known) {
                message.push_str(&format!(": did you mean `{near}`?"));
            }
            user(name.as_str())
                .and_then(|user| user.devices.iter().find(|raw| raw.value == device.as_str()))
                .map(|raw| &raw.origin)
        }
        DirectoryError::KeyGroupWithoutOthers { user: name, .. } => user(name.as_str())
            .and_then(|user| user.groups.iter().find(|raw| raw.value == Group::SrtpKeyMaterial.name()))
            .map(|raw| &raw.origin),
    };
    Problem::new(origin.unwrap_or(&Origin::Default), message)
}

/// What to do about a device that is called like those of a simulated switch.
fn beyond_simulated(device: &DeviceName, switch: &SwitchConfig) -> Option<String> {
    let SwitchKind::Simulated(settings) = &switch.kind else { return None };
    let number = device.as_str().strip_prefix(switch.name.as_str())?.strip_prefix('-')?;
    number.parse::<u32>().ok()?;
    let (name, count) = (&switch.name, settings.devices);
    Some(match (switch.simulated_devices().next(), switch.simulated_devices().last()) {
        (Some(first), Some(last)) if first != last => {
            format!(
                ": the switch `{name}` has {count}, `{first}` to `{last}`: take one of them, or give it more `devices`"
            )
        }
        (Some(only), _) => format!(": the switch `{name}` has `{only}` only: take it, or give it more `devices`"),
        _ => format!(": the switch `{name}` has no devices: give it some by `devices`"),
    })
}

/// Of the places of values that don't fit together, the first that somebody wrote.
fn written<'a>(origins: &[&'a Origin]) -> &'a Origin {
    let written = origins.iter().find(|origin| !matches!(origin, Origin::Default));
    written.copied().unwrap_or(&Origin::Default)
}

fn parsed<T: FromStr<Err: std::fmt::Display>>(raw: &Setting<String>) -> Result<T, Problem> {
    raw.value.parse().map_err(|error: T::Err| Problem::new(&raw.origin, error.to_string()))
}

fn word<T: Copy>(raw: &Setting<String>, what: &str, words: &[(&str, T)]) -> Result<T, Problem> {
    match words.iter().find(|(word, _)| *word == raw.value) {
        Some((_, meaning)) => Ok(*meaning),
        None => {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            Err(Problem::new(&raw.origin, unknown(what, &raw.value, &known)))
        }
    }
}

fn unknown(what: &str, found: &str, known: &[&str]) -> String {
    match nearest(found, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{found}`: did you mean `{near}`?"),
        None => format!("unknown {what} `{found}`: known are {}", list(known.iter().copied())),
    }
}

fn text(raw: Option<&Setting<String>>, what: &str, max: usize) -> Result<String, Problem> {
    match raw {
        None => Ok(String::new()),
        Some(raw) if raw.value.len() > max => {
            let message = format!("{what} has {} bytes: up to {max} are allowed", raw.value.len());
            Err(Problem::new(&raw.origin, message))
        }
        Some(raw) => Ok(raw.value.clone()),
    }
}

fn optional<T: TryFrom<i64>>(
    raw: Option<&Setting<i64>>,
    what: &str,
    (min, max): (i64, i64),
    default: T,
) -> Result<T, Problem> {
    raw.map_or(Ok(default), |raw| number(raw, what, min, max))
}

fn number<T: TryFrom<i64>>(raw: &Setting<i64>, what: &str, min: i64, max: i64) -> Result<T, Problem> {
    let message = || Problem::new(&raw.origin, format!("{what} is {}: from {min} to {max} are allowed", raw.value));
    if !(min..=max).contains(&raw.value) {
        return Err(message());
    }
    T::try_from(raw.value).map_err(|_| message())
}
