//! `callgate serve --check`: what `serve` would refuse, and what it would take although it is surely not meant.

use std::{collections::HashSet, net::SocketAddr, path::Path};

use anyhow::{Context, Result};
use callgate::{
    audit::AuditLog,
    config::{Config, HepConfig, SwitchConfig, SwitchKind},
    directory::{Device, User},
    gateway::{check_tls_files, feed_password},
    model::{DeviceName, Group},
    policy::{Admission, Entrance, Verdict, admit},
    switch::capture::Capture,
    trust::shared_files,
};

use super::{
    exit::Unusable,
    out::{counted, remark, say},
};

/// Reads every file that the config names, and says what came out.
pub(super) fn check(config: &Config, path: &Path) -> Result<()> {
    // Not looked at where the TLS door is closed: it is meant to be opened some day, but may have no files yet.
    check_tls_files(config)?;
    AuditLog::check(&config.audit).context("[audit]")?;
    for switch in &config.switches {
        match &switch.kind {
            SwitchKind::Hep(hep) => drop(feed_password(switch, hep)?),
            SwitchKind::Replay { capture, .. } => {
                find_hep(capture).with_context(|| format!("switch {}", switch.name))?;
            }
            _ => {}
        }
    }
    say!(
        "ok {}: {}; {}; clear door {}, TLS door {}",
        path.display(),
        counted(config.switches.len(), "switch", "switches"),
        who_counts(config),
        door(config.doors.clear),
        door(config.doors.tls),
    )?;
    let shared = shared_files(config, path).into_iter().map(|file| file.to_string());
    let first = no_switch(config).map(String::from).into_iter().chain(no_own_ca(config));
    for warning in first.chain(warnings(config)).chain(shared) {
        remark!("warning: {warning}");
    }
    Ok(())
}

/// Where users and devices come from. Those of the config are for a store that is still empty.
fn who_counts(config: &Config) -> String {
    let store = config.store.file.display();
    if config.store.file.exists() {
        let others = match has_directory(config) {
            true => ", and not those of the config, which were for an empty one: `callgate user`, `callgate device`",
            false => "",
        };
        return format!("users and devices are those of the store {store}{others}");
    }
    let users = counted(config.directory.users().count(), "user", "users");
    let devices = counted(config.directory.devices().count(), "device", "devices");
    format!("the store {store} is to be made, and gets {users} and {devices} from the config")
}

fn has_directory(config: &Config) -> bool {
    config.directory.users().next().is_some() || config.directory.devices().next().is_some()
}

/// Every certificate of an app is taken for one of another CA then.
pub(super) fn no_own_ca(config: &Config) -> Option<String> {
    let own = config.tls.own_ca.as_ref().filter(|own| config.doors.tls.is_some() && !own.certificate.exists())?;
    Some(format!(
        "`tls.own_ca`: {} is not there, so that no certificate counts as the gateway's own CA's: mend the path, or set it to \"\" \
         if there is none",
        own.certificate.display()
    ))
}

/// Nothing tells such a gateway of calls.
pub(super) fn no_switch(config: &Config) -> Option<&'static str> {
    config
        .switches
        .is_empty()
        .then_some("there is no `[[switch]]`, so no call will be seen: docs/CONFIGURATION.md has its settings")
}

/// Reads on until the first HEP datagram.
fn find_hep(capture: &Path) -> Result<()> {
    let unusable = |problem: String| Unusable(format!("{}: {problem}", capture.display()));
    for packet in Capture::open(capture)? {
        if packet.map_err(|error| unusable(error.to_string()))?.is_hep() {
            return Ok(());
        }
    }
    Err(unusable("there is no HEPv3 packet in it: record the PBX's HEP traffic, too".into()).into())
}

/// What is allowed, and surely not meant.
pub(super) fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = config.overruled.clone();
    if !config.store.file.exists() {
        warnings.extend(of_directory(config));
    }
    warnings.extend(config.switches.iter().filter_map(too_few_devices));
    if let Some(clear) = config.doors.clear.filter(|door| !door.ip().to_canonical().is_loopback()) {
        warnings.push(format!(
            "the clear door {clear} is not on the loopback: who can read that network reads all events (R1)"
        ));
    }
    warnings.extend(config.switches.iter().filter_map(of_switch));
    warnings
}

/// Of the users and devices that an empty store gets.
fn of_directory(config: &Config) -> Vec<String> {
    let mut warnings: Vec<String> = config.directory.users().flat_map(|user| of_user(user, config)).collect();
    let simulated: HashSet<DeviceName> = config.switches.iter().flat_map(SwitchConfig::simulated_devices).collect();
    let has_calls = |device: &Device| !device.addresses.is_empty() || simulated.contains(&device.name);
    for device in config.directory.devices().filter(|device| !has_calls(device)) {
        let name = &device.name;
        warnings.push(format!("the device {name:?} has no addresses: no call is found to be its, so name them"));
    }
    warnings
}

/// A simulated switch whose devices can't have all of its calls.
fn too_few_devices(switch: &SwitchConfig) -> Option<String> {
    let SwitchKind::Simulated(settings) = &switch.kind else { return None };
    let (devices, busy) = (settings.devices, settings.busy_devices().ceil());
    (f64::from(devices) < busy).then(|| {
        format!(
            "the switch {:?}: its calls keep about {busy} devices busy and it has {devices}, so some calls are left out: give \
             it more `devices`, or fewer `calls_per_second`",
            switch.name
        )
    })
}

/// R42b: whoever can send datagrams from a network that is allowed could make up calls.
fn of_switch(switch: &SwitchConfig) -> Option<String> {
    let SwitchKind::Hep(HepConfig { networks, password_file: None, .. }) = &switch.kind else { return None };
    let open = networks.iter().find(|network| !network.is_loopback())?;
    Some(format!(
        "the feed {:?} has no password, and anybody in {open} can send it calls that never were (R42b): name a \
         `password_file` with the capture_password of Asterisk's hep.conf; for Kamailio, which sends none, keep `networks` \
         to its own address",
        switch.name
    ))
}

fn of_user(user: &User, config: &Config) -> Vec<String> {
    let name = &user.name;
    let mut warnings = Vec::new();
    let is_in = |group| user.groups.contains(group);
    if !is_in(Group::CtiEnabled) {
        let group = Group::CtiEnabled.name();
        warnings.push(format!("the user {name:?} can't open a session: it is not in {group:?} (R9)"));
    } else if let Some(why) = closed_doors(user, config) {
        warnings.push(format!("the user {name:?} can't open a session: {why}"));
    }
    if user.devices.is_empty() && !is_in(Group::ControlOfAllDevices) {
        let group = Group::ControlOfAllDevices.name();
        warnings.push(format!("the user {name:?} sees no device: give it devices, or the group {group:?} (R13)"));
    }
    warnings
}

/// Why no door that is open lets a user in, if none does.
fn closed_doors(user: &User, config: &Config) -> Option<&'static str> {
    let lets_in = |entrance| {
        let admission = Admission {
            mode: config.mode,
            lenient_doors: config.lenient_doors,
            groups: user.groups,
            locked: user.locked,
            password_on_tls: user.password_on_tls,
            password_proven: user.password.is_some(),
            entrance,
        };
        matches!(admit(&admission), Verdict::Admit(_))
    };
    let tls = config.doors.tls.is_some() && lets_in(Entrance::Tls { certificate_matches: true });
    let clear = config.doors.clear.is_some() && lets_in(Entrance::Clear);
    match (tls, clear) {
        (true, _) => None,
        (false, true) if user.password.is_some() => None,
        (false, true) => Some("its door is the clear one, and it has no password: `callgate passwd` makes one (R14)"),
        (false, false) => Some("its door is closed (R10)"),
    }
}

fn door(address: Option<SocketAddr>) -> String {
    address.map_or_else(|| "closed".into(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warned(text: &str) -> Vec<String> {
        warnings(&Config::parse(text, "test.toml", Path::new("."), std::iter::empty()).unwrap())
    }

    /// One user, of these groups, who sees a device with an address.
    fn user(groups: &str, more: &str) -> String {
        format!(
            "[[device]]\nname = \"1001\"\naddresses = [\"udp:192.0.2.1:5060\"]\n\
             [[user]]\nname = \"u\"\ndevices = [\"1001\"]\ngroups = [{groups}]\n{more}"
        )
    }

    const ENABLED: &str = "\"Standard CTI Enabled\"";
    const SECURE: &str = "\"Standard CTI Enabled\", \"Standard CTI Secure Connection\"";

    #[test]
    fn a_user_whom_no_door_lets_in_is_named() {
        assert_eq!(warned(&user(SECURE, "")), [""; 0]);
        let [warning] = warned(&user("", "")).try_into().unwrap();
        assert!(warning.contains("it is not in \"Standard CTI Enabled\" (R9)"), "{warning}");
        let [warning] = warned(&user(ENABLED, "")).try_into().unwrap();
        assert!(warning.contains("it has no password"), "{warning}");
        assert_eq!(warned(&format!("lenient_doors = true\n{}", user(ENABLED, ""))), [""; 0]);
        let [warning] = warned(&format!("[doors]\nclear = \"closed\"\n{}", user(ENABLED, ""))).try_into().unwrap();
        assert!(warning.contains("its door is closed (R10)"), "{warning}");
        let password = callgate::directory::ScramVerifier::generate("pencil", 4096).unwrap().to_line().to_string();
        assert_eq!(warned(&user(ENABLED, &format!("password = \"{password}\""))), [""; 0]);
    }

    #[test]
    fn users_without_devices_and_devices_without_addresses_are_named() {
        let text = format!("[[device]]\nname = \"1001\"\n[[user]]\nname = \"u\"\ngroups = [{SECURE}]");
        let [user, device] = warned(&text).try_into().unwrap();
        assert!(user.starts_with("the user \"u\" sees no device"), "{user}");
        assert!(device.starts_with("the device \"1001\" has no addresses"), "{device}");
        let all = format!("[[user]]\nname = \"u\"\ngroups = [{SECURE}, \"Standard CTI Allow Control of All Devices\"]");
        assert_eq!(warned(&all), [""; 0]);
    }

    #[test]
    fn r42b_a_feed_that_others_can_send_to_has_a_password() {
        let feed = |more: &str| warned(&format!("[[switch]]\nname = \"pbx\"\nkind = \"hep\"\n{more}"));
        assert_eq!(feed(""), [""; 0]);
        assert_eq!(feed("networks = [\"127.0.0.3\"]"), [""; 0]);
        assert_eq!(feed("networks = [\"192.0.2.0/24\"]\npassword_file = \"x\""), [""; 0]);
        let [warning] = feed("networks = [\"127.0.0.3\", \"192.0.2.0/24\"]").try_into().unwrap();
        assert!(warning.starts_with("the feed \"pbx\" has no password, and anybody in 192.0.2.0/24"), "{warning}");
    }

    #[test]
    fn r1_a_clear_door_that_others_reach_is_named() {
        for (address, warns) in
            [("127.0.0.1:2748", 0), ("[::1]:2748", 0), ("0.0.0.0:2748", 1), ("192.0.2.1:2748", 1), ("closed", 0)]
        {
            assert_eq!(warned(&format!("[doors]\nclear = \"{address}\"")).len(), warns, "{address}");
        }
    }
}
