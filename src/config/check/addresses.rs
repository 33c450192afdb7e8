//! One address has one meaning: a device's, a PBX's, or the gateway's own.

use super::{
    super::{
        Doors, HepConfig, HttpListen, SwitchConfig, SwitchKind,
        error::Problem,
        raw::{Raw, Setting},
    },
    address,
};
use crate::model::{Address, Transport};

/// Where the gateway listens over TCP.
pub(super) struct Own {
    pub(super) doors: Doors,
    pub(super) metrics: HttpListen,
    pub(super) admin: HttpListen,
}

/// Refuses addresses that would be two things at once.
pub(super) fn check(raw: &Raw, switches: &[SwitchConfig], listen: &Own) -> Result<(), Problem> {
    let own = own(switches, listen);
    only_once(raw, &own)?;
    let not_own = |setting: &Setting<String>| {
        let address = address(setting)?;
        match own.iter().find(|(own, _)| *own == address) {
            Some((_, place)) => Err(Problem::new(
                &setting.origin,
                format!(
                    "{address} is where this gateway listens itself, by {place}: write where the other side's SIP comes from"
                ),
            )),
            None => Ok(address),
        }
    };
    for setting in raw.switch.iter().flat_map(|switch| &switch.pbx) {
        not_own(setting)?;
    }
    for device in &raw.device {
        for setting in &device.addresses {
            let address = not_own(setting)?;
            if let Some(switch) = switches.iter().find(|switch| switch.pbx.contains(&address)) {
                return Err(Problem::new(
                    &setting.origin,
                    format!(
                        "{address} is the PBX itself, by `pbx` of the switch {:?}, and so can't be the device {:?}: take it out \
                         of one of the two",
                        switch.name, device.name.value
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// Refuses a service over HTTP at an address that another service has.
fn only_once(raw: &Raw, own: &[(Address, String)]) -> Result<(), Problem> {
    let origins = [
        ("`listen` under [metrics]", &raw.metrics.listen.origin),
        ("`listen_tls` under [metrics]", &raw.metrics.listen_tls.origin),
        ("`listen` under [admin]", &raw.admin.listen.origin),
    ];
    for (n, (address, place)) in own.iter().enumerate() {
        let Some((_, origin)) = origins.iter().find(|(name, _)| name == place) else { continue };
        if let Some((_, other)) = own.iter().take(n).find(|(other, _)| other == address && address.socket.port() != 0) {
            let message =
                format!("{address} is where this gateway listens already, by {other}: give each its own port");
            return Err(Problem::new(origin, message));
        }
    }
    Ok(())
}

/// Where the gateway listens, and which setting says so.
fn own(switches: &[SwitchConfig], Own { doors, metrics, admin }: &Own) -> Vec<(Address, String)> {
    let tls = |listen: &HttpListen| listen.tls().map(|(tls, _)| tls);
    let tcp = [
        (doors.clear, "`clear` under [doors]"),
        (doors.tls, "`tls` under [doors]"),
        (metrics.clear().or(tls(metrics)), "`listen` under [metrics]"),
        (tls(metrics).filter(|_| metrics.clear().is_some()), "`listen_tls` under [metrics]"),
        (tls(admin), "`listen` under [admin]"),
    ];
    let mut own: Vec<(Address, String)> = tcp
        .into_iter()
        .filter_map(|(at, place)| Some((at?, place)))
        .map(|(at, place)| (Address::new(Transport::Tcp, at.ip(), at.port()), place.to_owned()))
        .collect();
    for switch in switches {
        if let SwitchKind::Hep(HepConfig { listen, .. }) = &switch.kind {
            let address = Address::new(Transport::Udp, listen.ip(), listen.port());
            own.push((address, format!("`listen` of the switch {:?}", switch.name)));
        }
    }
    own
}
