//! What listens, how secure it is, and for whom (R4, R5).

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

use super::{
    super::{
        AdminConfig, Doors, HttpConfig, HttpListen,
        error::{Origin, Problem, list},
        raw::{self, List, Setting},
    },
    network, written,
};
use crate::model::{AllowedNetworks, Mode, Network, SecurityLevel, Service, Strength};

const CLOSED: &str = "closed";
/// The longest path of a unix socket, in bytes: `sun_path` holds it with a byte of zero behind it.
const MAX_SOCKET: usize = 107;

/// The doors, and what of their settings doesn't count.
///
/// A door is open if its level has it, its address isn't "closed", and the mode has it: each of the three closes it. So the
/// level counts before an address, and an address that somebody wrote for nothing is told.
pub(super) fn doors(raw: &raw::Doors, mode: Mode) -> Result<(Doors, Vec<String>), Problem> {
    let level = level(&raw.security_level, Service::Cti, "doors.security_level")?;
    let (clear, tls) = (door(&raw.clear)?, door(&raw.tls)?);
    let strength = level.strength();
    let doors = Doors {
        clear: clear.filter(|_| level.is_clear()),
        // R2: whatever stands there, there is no TLS door in non-secure mode.
        tls: tls.filter(|_| strength.is_some() && mode == Mode::Mixed),
        strength: strength.unwrap_or(Strength::Low),
    };
    let name = level.name();
    let none_is_open = doors.clear.is_none() && doors.tls.is_none() && level != SecurityLevel::Disabled;
    if none_is_open && mode == Mode::NonSecure && !level.is_clear() {
        let message = format!(
            "no door is open: `doors.security_level` is {name:?}, and non-secure mode has no TLS door: write \
             \"unsecure+secure\", or mode = \"mixed\" (R4)"
        );
        return Err(Problem::new(&raw.security_level.origin, message));
    }
    if none_is_open && mode == Mode::NonSecure {
        return Err(Problem::new(&raw.clear.origin, "no door is open: non-secure mode has only the clear one (R2)"));
    }
    if none_is_open && level == SecurityLevel::UnsecureAndSecure {
        let message =
            "no door is open: open `doors.clear` or `doors.tls`, or write doors.security_level = \"disabled\"";
        return Err(Problem::new(written(&[&raw.clear.origin, &raw.tls.origin]), message));
    }
    if none_is_open {
        let (closed, address) = if level.is_clear() { ("tls", &raw.clear) } else { ("clear", &raw.tls) };
        let message = format!(
            "no door is open: `doors.security_level` is {name:?}, which closes `doors.{closed}`, and this closes the other \
             one: write an address, or another level (R4)"
        );
        return Err(Problem::new(&address.origin, message));
    }
    if let (Some(clear), Some(tls)) = (doors.clear, doors.tls)
        && clear == tls
        && clear.port() != 0
    {
        let origin = written(&[&raw.tls.origin, &raw.clear.origin]);
        return Err(Problem::new(origin, format!("both doors can't be at {tls}")));
    }
    let useless = |setting: &Setting<String>, door: &str, address: Option<SocketAddr>, is_open: bool| {
        let is_written = !matches!(setting.origin, Origin::Default);
        let address = address.filter(|_| is_written && !is_open)?;
        Some(format!(
            "doors.{door} is {address}, and doors.security_level {name:?} closes that door: write \"closed\", or another level \
             (R4)"
        ))
    };
    let overruled =
        [useless(&raw.clear, "clear", clear, level.is_clear()), useless(&raw.tls, "tls", tls, strength.is_some())];
    Ok((doors, overruled.into_iter().flatten().collect()))
}

/// The metrics page: in the clear or by TLS at `listen`; at the level of both, by TLS at `listen_tls`. "closed" closes it at
/// any level.
pub(super) fn metrics(raw: &raw::Metrics) -> Result<HttpConfig, Problem> {
    let level = level(&raw.security_level, Service::Metrics, "metrics.security_level")?;
    let tls = Some(&raw.listen_tls).filter(|setting| !setting.value.is_empty());
    http(&raw.security_level.origin, level, &raw.listen, tls, &raw.networks, "metrics")
}

/// The administration: by TLS for those elsewhere, and at a unix socket whatever the level is.
///
/// Where nobody says where it listens and no TLS door is open it doesn't, since the files of `[tls]` need not be there.
pub(super) fn admin(raw: &raw::Admin, doors: &Doors, base_dir: &Path) -> Result<AdminConfig, Problem> {
    let level = level(&raw.security_level, Service::Admin, "admin.security_level")?;
    let mut https = http(&raw.security_level.origin, level, &raw.listen, None, &raw.networks, "admin")?;
    if doors.tls.is_none() && matches!(raw.listen.origin, Origin::Default) {
        https.listen = HttpListen::Closed;
    }
    let socket = base_dir.join(&raw.socket.value);
    // With what is put behind its name while it is made (`NAME.new`).
    let len = socket.as_os_str().len() + ".new".len();
    if len > MAX_SOCKET {
        let message = format!(
            "`admin.socket` is {}, and the path of a unix socket has up to {} bytes: name a shorter one",
            socket.display(),
            MAX_SOCKET - ".new".len()
        );
        return Err(Problem::new(&raw.socket.origin, message));
    }
    Ok(AdminConfig { https, socket })
}

fn http(
    level_origin: &Origin,
    level: SecurityLevel,
    listen: &Setting<String>,
    listen_tls: Option<&Setting<String>>,
    networks: &Setting<List>,
    section: &str,
) -> Result<HttpConfig, Problem> {
    let address = place(listen)?;
    let other = listen_tls.map(|setting| Ok((setting, place(setting)?))).transpose()?;
    let name = level.name();
    if let Some((setting, _)) = other
        && level != SecurityLevel::UnsecureAndSecure
    {
        let message = format!(
            "`{section}.listen_tls` is for the level \"unsecure+secure\" only: at {name:?} there is one address, `{section}.listen`"
        );
        return Err(Problem::new(&setting.origin, message));
    }
    let open = match (level.is_clear(), level.strength(), address) {
        (false, None, _) => HttpListen::Closed,
        (_, _, None) => HttpListen::Closed,
        (true, None, Some(clear)) => HttpListen::Clear(clear),
        (false, Some(strength), Some(tls)) => HttpListen::Tls(tls, strength),
        (true, Some(strength), Some(clear)) => match other {
            Some((_, Some(tls))) if tls != clear || tls.port() == 0 => HttpListen::Both { clear, tls, strength },
            Some((setting, Some(tls))) => {
                return Err(Problem::new(&setting.origin, format!("`{section}.listen` is at {tls} already")));
            }
            Some((_, None)) => HttpListen::Clear(clear),
            None => {
                let message = format!("at the level {name:?} `{section}.listen_tls` says where TLS is: write it, too");
                return Err(Problem::new(level_origin, message));
            }
        },
    };
    let allowed = networks.value.iter().map(network).collect::<Result<Vec<_>, _>>()?;
    if allowed.is_empty() {
        let outside = [(open.clear(), listen), (open.tls().map(|(tls, _)| tls), listen_tls.unwrap_or(listen))];
        for (address, setting) in outside {
            if let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) {
                let message = format!(
                    "this is {address}, and without `{section}.networks` only this machine may connect (R5): name who may, such \
                     as networks = [\"192.0.2.10\", \"198.51.100.0/24\"], or listen on the loopback"
                );
                return Err(Problem::new(&setting.origin, message));
            }
        }
    }
    let networks = if allowed.is_empty() { loopback() } else { allowed };
    Ok(HttpConfig { listen: open, networks: AllowedNetworks::Only(networks) })
}

/// This machine.
pub(super) fn loopback() -> Vec<Network> {
    vec![Network::around(Ipv4Addr::LOCALHOST.into(), 8), Network::around(Ipv6Addr::LOCALHOST.into(), 128)]
}

/// R4: a level that the service may have.
fn level(raw: &Setting<String>, service: Service, key: &str) -> Result<SecurityLevel, Problem> {
    let names = |levels: &[SecurityLevel]| levels.iter().map(|level| level.name()).collect::<Vec<_>>();
    let Some(level) = SecurityLevel::ALL.into_iter().find(|level| level.name() == raw.value) else {
        // No near name is offered: that of `secure` could be one without TLS.
        let known = list(names(service.levels()));
        return Err(Problem::new(&raw.origin, format!("unknown level `{}`: known are {known}", raw.value)));
    };
    if !service.levels().contains(&level) {
        let allowed = names(service.levels()).join("\", \"");
        let message = format!("{key} is {:?}: the {} service can be \"{allowed}\" (R4)", raw.value, service.name());
        return Err(Problem::new(&raw.origin, message));
    }
    Ok(level)
}

fn door(raw: &Setting<String>) -> Result<Option<SocketAddr>, Problem> {
    if raw.value == CLOSED {
        return Ok(None);
    }
    raw.value.parse().map(Some).map_err(|_| {
        let example = "an IP address and a port from 0 to 65535, such as \"127.0.0.1:2749\" or \"[::]:2749\"";
        Problem::new(&raw.origin, format!("{:?} is no door: write {example}, or \"closed\"", raw.value))
    })
}

fn place(raw: &Setting<String>) -> Result<Option<SocketAddr>, Problem> {
    if raw.value == CLOSED {
        return Ok(None);
    }
    raw.value.parse().map(Some).map_err(|_| {
        let example = "an IP address and a port from 0 to 65535, such as \"127.0.0.1:9464\" or \"[::1]:9464\"";
        Problem::new(&raw.origin, format!("{:?} is nowhere to listen: write {example}, or \"closed\"", raw.value))
    })
}
