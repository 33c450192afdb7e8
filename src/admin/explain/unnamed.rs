//! Devices that nobody described: what they are called, and how they get a name.

use std::net::IpAddr;

use super::{Facts, Unexplained, words::quoted};
use crate::{
    config::Config,
    model::{Address, Group, Transport},
};

/// How many names are offered for one that nobody knows.
const OFFERED: usize = 3;

/// What a device is called that nobody described: by its address.
pub(super) fn called(config: &Config, device: &str) -> Result<String, Unexplained> {
    let Ok(address) = device.parse::<Address>() else {
        return Err(match device.parse::<IpAddr>() {
            Ok(ip) => {
                let with_port = |transport| Address::new(transport, ip, 5060).to_string();
                Unexplained::Port { one: with_port(Transport::Udp), other: with_port(Transport::Tcp) }
            }
            Err(_) => {
                let known = nearest(device, config.directory.devices().map(|device| device.name.as_str()));
                Unexplained::Device { name: device.into(), known }
            }
        });
    };
    if let Some(device) = config.directory.devices().find(|device| device.addresses.contains(&address)) {
        return Err(Unexplained::Named { address: address.to_string(), name: device.name.to_string() });
    }
    if let Some(switch) = config.switches.iter().find(|switch| switch.pbx.contains(&address)) {
        return Err(Unexplained::Pbx { address: address.to_string(), switch: switch.name.to_string() });
    }
    Ok(address.to_string())
}

/// Names that are nearly so.
pub(super) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<(f64, &str)> = names.map(|known| (strsim::jaro_winkler(name, known), known)).collect();
    names.sort_by(|a, b| b.0.total_cmp(&a.0));
    names.iter().take(OFFERED).map(|(_, known)| (*known).to_owned()).collect()
}

/// A device that nobody described can't be associated with anybody: its address is no name that `devices` takes.
pub(super) fn how_to_name(facts: &Facts<'_>, address: &str) -> String {
    let Facts { config, user, .. } = facts;
    let ip = address.parse::<Address>().map_or_else(|_| address.to_owned(), |address| address.socket.ip().to_string());
    let called = [format!("phone-{ip}"), format!("phone-{address}")];
    let name = called.iter().find(|name| config.directory.device(name).is_none()).map_or(address, String::as_str);
    let who = "no device has this address. Until it has a name, only users who control all devices see it (R13)";
    let add = format!("callgate device add {} --address {address}", quoted(name));
    if user.groups.contains(Group::ControlOfAllDevices) {
        return format!("{who}, as this user does. To name it\n\n  {add}");
    }
    let associate = facts.set_user(&format!("--add-device {}", quoted(name)));
    format!("{who}. To name it, and associate it with the user\n\n  {add}\n  {associate}")
}
