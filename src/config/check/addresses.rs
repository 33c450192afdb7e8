//! One address has one meaning: a device's, a PBX's, or the gateway's own.

use super::{
    super::{
        Doors, HepConfig, SwitchConfig, SwitchKind,
        error::Problem,
        raw::{Raw, Setting},
    },
    address,
};
use crate::model::{Address, Transport};

/// Refuses addresses that would be two things at once.
pub(super) fn check(raw: &Raw, switches: &[SwitchConfig], doors: Doors) -> Result<(), Problem> {
    let own = own(switches, doors);
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

/// Where the gateway listens, and which setting says so.
fn own(switches: &[SwitchConfig], doors: Doors) -> Vec<(Address, String)> {
    let mut own = Vec::new();
    for (door, name) in [(doors.clear, "clear"), (doors.tls, "tls")] {
        own.extend(
            door.map(|at| (Address::new(Transport::Tcp, at.ip(), at.port()), format!("`{name}` under [doors]"))),
        );
    }
    for switch in switches {
        if let SwitchKind::Hep(HepConfig { listen, .. }) = &switch.kind {
            let address = Address::new(Transport::Udp, listen.ip(), listen.port());
            own.push((address, format!("`listen` of the switch {:?}", switch.name)));
        }
    }
    own
}
