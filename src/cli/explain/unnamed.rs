//! Devices that no config names: what they are called, and how they get a name.

use std::net::IpAddr;

use anyhow::Result;
use callgate::{
    config::Config,
    directory::User,
    model::{Address, Transport, UserName},
};

use super::{CONTROL, OFFERED};
use crate::cli::exit::Unusable;

/// What a device is called that no config names: by its address.
pub(super) fn called(config: &Config, user: &UserName, device: &str) -> Result<String> {
    let Ok(address) = device.parse::<Address>() else {
        let devices = config.directory.devices().map(|device| device.name.as_str());
        return Err(match device.parse::<IpAddr>() {
            Ok(ip) => {
                let (one, other) = (Address::new(Transport::Udp, ip, 5060), Address::new(Transport::Tcp, ip, 5060));
                let like = format!("such as --device {one}, or --device {other}");
                Unusable(format!("a device that isn't configured is called by its address with the port, {like}"))
                    .into()
            }
            Err(_) => unknown("device", device, devices),
        });
    };
    if let Some(device) = config.directory.devices().find(|device| device.addresses.contains(&address)) {
        let name = &device.name;
        return Err(Unusable(format!(
            "{address} is an address of the device {name:?}, and apps see it by that name: callgate explain --user {user} \
             --device {name}"
        ))
        .into());
    }
    if let Some(switch) = config.switches.iter().find(|switch| switch.pbx.contains(&address)) {
        return Err(Unusable(format!(
            "{address} is the PBX itself, by `pbx` of the switch {:?}, and no app sees it: name a device that calls by it",
            switch.name
        ))
        .into());
    }
    Ok(address.to_string())
}

/// A device that isn't configured can't be associated with anybody: its address is no name that `devices` takes.
pub(super) fn how_to_name(config: &Config, user: &User, address: &str) -> String {
    let ip = address.parse::<Address>().map_or_else(|_| address.into(), |address| address.socket.ip().to_string());
    let called = [format!("phone-{ip}"), format!("phone-{address}")];
    let name = called.iter().find(|name| config.directory.device(name).is_none()).map_or(address, String::as_str);
    let who = "no device in the config has this address. Until it has a name there, only users who control all devices \
               see it (R13)";
    let device = format!("  [[device]]\n  name = {name:?}\n  addresses = [{address:?}]");
    if user.groups.contains(CONTROL) {
        return format!("{who}, as this user does. To name it, add to the config\n\n{device}");
    }
    let devices: Vec<_> = user.devices.iter().map(|name| format!("{:?}", name.as_str())).collect();
    let devices = [devices, vec![format!("{name:?}")]].concat().join(", ");
    let user = &user.name;
    format!(
        "{who}. To name it, add to the config\n\n{device}\n\nand to the user {user:?} there\n\n  devices = [{devices}]\n\nThen \
         look again: callgate explain --user {user} --device {name}"
    )
}

/// Nobody is called so, but perhaps nearly so.
pub(super) fn unknown<'a>(what: &str, name: &str, names: impl Iterator<Item = &'a str>) -> anyhow::Error {
    let mut names: Vec<(f64, &str)> = names.map(|known| (strsim::jaro_winkler(name, known), known)).collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<_> = names.iter().take(OFFERED).map(|(_, known)| *known).collect();
    let nearest = match nearest.as_slice() {
        [] => format!("it has no {what} at all: add a [[{what}]] to it"),
        [name] => format!("the nearest is {name}"),
        names => format!("the nearest are {}", names.join(", ")),
    };
    Unusable(format!("the config has no {what} {name:?}; {nearest}")).into()
}
