//! What the explanation says.

use super::{DoorSaid, Facts, Said, StreamSaid, unnamed};
use crate::{
    config::SwitchConfig,
    model::{Door, Group, Groups, Mode},
    policy::{Certificate, Check, Condition, Disclosure, KEY_GROUPS, OnDoor, Rule, Stream, Verdict},
};

impl Facts<'_> {
    pub(super) fn door(&self, door: &OnDoor) -> DoorSaid {
        let code = match door.verdict {
            // Before the decision comes the handshake, or the password.
            _ if door.opens || self.is_stopped_before(door) => None,
            Verdict::Admit(_) => None,
            Verdict::Refuse(code, _) => Some(code.as_str_name().into()),
        };
        let say_all = |checks: &[Check]| checks.iter().map(|check| self.said(*check, door.door)).collect();
        DoorSaid {
            door: door.door.name().into(),
            opens: door.opens,
            code,
            opening: say_all(&door.opening),
            disclosing: match self.name {
                Some(_) => say_all(&door.disclosing),
                None => say_all(&without_device(&door.disclosing)),
            },
            streams: door.streams.iter().map(|(stream, disclosure)| stream_said(*stream, *disclosure)).collect(),
        }
    }

    fn is_stopped_before(&self, door: &OnDoor) -> bool {
        let before = [Condition::Listens, Condition::Certificate, Condition::Password];
        door.opening.iter().any(|check| before.contains(&check.condition) && !check.holds)
    }

    fn said(&self, check: Check, door: Door) -> Said {
        let (saw, mend) = self.words(check.condition, check.holds, door);
        Said { rule: check.rule.into(), holds: check.holds, saw, mend: (!check.holds).then_some(mend) }
    }

    /// What was seen, and what to change if it doesn't hold.
    fn words(&self, condition: Condition, holds: bool, door: Door) -> (String, String) {
        let (user, instance) = (&self.user.name, self.instance);
        let device = self.name.as_deref().unwrap_or_default();
        match condition {
            Condition::Mode => match (self.config.mode, door) {
                (Mode::NonSecure, Door::Clear) => (
                    "the cluster security mode is non-secure: every user opens on the clear door, and no key leaves"
                        .into(),
                    "mode = \"mixed\" in the config".into(),
                ),
                (Mode::NonSecure, Door::Tls) => (
                    "the cluster security mode is non-secure: the TLS door is closed, and no key leaves".into(),
                    "mode = \"mixed\" in the config".into(),
                ),
                (Mode::Mixed, _) => ("the cluster security mode is mixed".into(), String::new()),
            },
            Condition::Listens => {
                let (address, key) = match door {
                    Door::Tls => (self.config.doors.tls, "tls = \"127.0.0.1:2749\""),
                    Door::Clear => (self.config.doors.clear, "clear = \"127.0.0.1:2748\""),
                };
                match address {
                    Some(address) => (format!("it listens on {address}"), String::new()),
                    None => ("it is closed by the config".into(), format!("{key} under [doors] in the config")),
                }
            }
            Condition::Certificate => {
                let mend = match self.case.certificate {
                    Certificate::StatusUnknown => "put the present CRL of its CA where tls.client_crl names it".into(),
                    _ => format!(
                        "callgate cert issue --user {} --instance {instance} (or `callgate cert add` with one of another CA)",
                        quoted(user.as_str())
                    ),
                };
                (self.certificate.clone(), mend)
            }
            Condition::Password => match holds {
                true if door == Door::Tls => {
                    ("the user has a password, which is asked for besides its certificate".into(), String::new())
                }
                true => ("the user has a password".into(), String::new()),
                false => (
                    "the user has no password, so that no password is right".into(),
                    self.set_user("--password"),
                ),
            },
            Condition::NotLocked => match holds {
                true => ("the user is not locked".into(), String::new()),
                false => (
                    "an administrator has locked the user: it is answered as one with a wrong password".into(),
                    format!("callgate user unlock {}", quoted(user.as_str())),
                ),
            },
            Condition::CtiEnabled => self.member(Group::CtiEnabled, holds),
            Condition::Door => self.door_words(holds, door),
            Condition::Associated => {
                let all = self.user.groups.contains(Group::ControlOfAllDevices);
                match (holds, all) {
                    (true, true) => (format!("the user is in {:?}", Group::ControlOfAllDevices.name()), String::new()),
                    (true, false) => ("the device is one of the user's".into(), String::new()),
                    (false, _) if self.device.is_none() => (
                        "no device has this address, so that it is none of the user's: no event of it is sent".into(),
                        format!(
                            "name it as the note below says, or {}",
                            self.add_groups(&[Group::ControlOfAllDevices])
                        ),
                    ),
                    (false, _) => (
                        "the device is none of the user's: no event of it is sent".into(),
                        self.set_user(&format!("--add-device {}", quoted(device))),
                    ),
                }
            }
            Condition::NotRestricted => self.restriction(holds),
            Condition::KeyGroups => match missing(self.user.groups).as_slice() {
                [] => ("the user is in all three groups that keys need".into(), String::new()),
                missing => (
                    format!("the user is not in {}", names(missing).join(" and ")),
                    format!("{}   # the SRTP group only with the other two (R8)", self.add_groups(missing)),
                ),
            },
            Condition::SecureDoor => match holds {
                true => ("keys may leave by this door".into(), String::new()),
                false => ("no key leaves by the clear door".into(), "open the session on the TLS door".into()),
            },
            Condition::Recordable => match holds {
                true => ("keys can be put on record before they leave".into(), String::new()),
                false => (
                    "the audit log can't be written, and no key leaves without a record".into(),
                    "make room for the audit log, or mend its disk: it heals by itself, and the gateway's log says what is wrong".into(),
                ),
            },
        }
    }

    /// A restriction can be on the device, on its line, or on both.
    fn restriction(&self, holds: bool) -> (String, String) {
        let name = self.name.as_deref().unwrap_or_default();
        let lines = || self.device.into_iter().flat_map(|device| &device.lines).filter(|line| line.restricted);
        if holds {
            return ("neither the device nor its line is restricted".into(), String::new());
        }
        let device = self.device.is_some_and(|device| device.restricted);
        let mut saw: Vec<String> = lines().map(|line| format!("line {} of it is restricted", line.number)).collect();
        let unrestrict = format!("callgate device unrestrict {}", quoted(name));
        let mut mend: Vec<_> = lines().map(|line| format!("{unrestrict} --line {}", line.number)).collect();
        if device {
            saw.insert(0, "the device is restricted".into());
            mend.insert(0, unrestrict);
        }
        let what = if device { "no app sees it" } else { "no app hears of its calls" };
        (format!("{}: {what}", saw.join(", and ")), mend.join(" && "))
    }

    fn member(&self, group: Group, holds: bool) -> (String, String) {
        let name = group.name();
        match holds {
            true => (format!("the user is in {name:?}"), String::new()),
            false => (format!("the user is not in {name:?}"), self.add_groups(&[group])),
        }
    }

    /// How the user gets into groups.
    fn add_groups(&self, groups: &[Group]) -> String {
        let groups: Vec<_> = groups.iter().map(|group| group.name()).collect();
        self.set_user(&format!("--add-group {}", quoted(&groups.join(","))))
    }

    /// The command that changes the user, as it is pasted into a shell.
    pub(super) fn set_user(&self, arguments: &str) -> String {
        format!("callgate user set {} {arguments}", quoted(self.user.name.as_str()))
    }

    fn door_words(&self, holds: bool, door: Door) -> (String, String) {
        let group = Group::SecureConnection.name();
        let take = self.set_user(&format!("--remove-group {}", quoted(group)));
        let is_in = self.user.groups.contains(Group::SecureConnection);
        let member = if is_in { format!("the user is in {group:?}") } else { format!("the user is not in {group:?}") };
        match (holds, door) {
            (true, _) if self.config.lenient_doors => {
                (format!("{member}; with lenient_doors both doors are for all"), String::new())
            }
            (true, _) if self.config.mode == Mode::NonSecure => {
                (format!("{member}; in non-secure mode it doesn't matter"), String::new())
            }
            (true, _) => (format!("{member}, and so this is its door"), String::new()),
            (false, Door::Tls) => (
                format!("{member}, and so may open on the clear door only"),
                format!("connect to the clear door, or {}", self.add_groups(&[Group::SecureConnection])),
            ),
            (false, Door::Clear) => (
                format!("{member}, and so may open on the TLS door only"),
                format!("connect to the TLS door, or {take}"),
            ),
        }
    }

    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .other_instance
            .iter()
            .map(|instance| {
                format!("another instance of the user has a certificate that counts: --instance {instance}")
            })
            .collect();
        match (self.device, &self.name) {
            (None, None) => notes.push(self.which_devices()),
            (None, Some(address)) => notes.push(unnamed::how_to_name(self, address)),
            (Some(device), _) => {
                let mut simulated = self.config.switches.iter().flat_map(SwitchConfig::simulated_devices);
                if device.addresses.is_empty() && !simulated.any(|name| name == device.name) {
                    notes.push(
                        "the device has no addresses, so that no call is found to be its: name them, such as addresses = \
                         [\"udp:192.0.2.7:5060\"]"
                            .into(),
                    );
                }
            }
        }
        notes
    }

    /// Whatever the device, no event of it is sent to the user.
    fn has_no_device(&self) -> bool {
        self.user.devices.is_empty() && !self.user.groups.contains(Group::ControlOfAllDevices)
    }

    fn which_devices(&self) -> String {
        let all = Group::ControlOfAllDevices;
        match (self.user.groups.contains(all), self.user.devices.len()) {
            (true, _) => format!("the user is in {:?}, and sees each device that isn't restricted (R13)", all.name()),
            (false, 0) => "no device is the user's, so that no event of any is sent (R13)".into(),
            (false, 1) => "one device is the user's: --device names it, and asks for its rules, too (R13)".into(),
            (false, devices) => {
                format!("{devices} devices are the user's: --device names one, and asks for its rules, too (R13)")
            }
        }
    }

    pub(super) fn answer(&self, doors: &[OnDoor]) -> String {
        let who = format!("{}/{}", self.user.name, self.instance);
        let device = self.name.as_deref();
        let shown = |door: Door| if door == Door::Tls { "TLS" } else { "clear" };
        let open: Vec<_> = doors.iter().filter(|door| door.opens).collect();
        let Some(best) = open.iter().find(|door| door.gets_keys()).or(open.first()) else {
            return self.why_none(&who, doors);
        };
        let names: Vec<_> = open.iter().map(|door| shown(door.door)).collect();
        let opens = format!("{who} opens on the {} door", names.join(" and the "));
        if let Some(device) = device
            && !best.sees_device()
        {
            let is_its = best.disclosing.iter().all(|check| check.condition != Condition::Associated || check.holds);
            // With its line alone restricted the app has the device in its list, and nothing happens there.
            let only_line = is_its && self.device.is_some_and(|device| !device.restricted);
            let what = if only_line { "hears of no call of" } else { "doesn't see" };
            return format!("{opens}, and {what} {device}.");
        }
        if device.is_none() && self.has_no_device() {
            return format!("{opens}, and has no device.");
        }
        let (sees, of_which) = match device {
            Some(device) => (format!(", sees {device}"), ""),
            None => (String::new(), " of devices that it sees"),
        };
        if best.gets_keys() {
            let by = if open.len() > 1 { format!(", on the {} door,", shown(best.door)) } else { String::new() };
            return format!("{opens}{sees}, and gets{by} the keys of SRTP streams{of_which} that it monitors in time.");
        }
        let why = best.streams.iter().find(|(stream, _)| *stream == Stream::InTime);
        let why = why.map_or_else(String::new, |(_, disclosure)| told(*disclosure));
        format!("{opens}{sees}, and gets no key: {why}.")
    }

    /// Of the doors that were looked at, the one that is the user's by R10 tells what to mend.
    fn why_none(&self, who: &str, doors: &[OnDoor]) -> String {
        let is_own =
            |door: &&OnDoor| door.opening.iter().all(|check| check.condition != Condition::Door || check.holds);
        let Some(door) = doors.iter().find(is_own).or(doors.first()) else { return format!("{who} opens no session.") };
        let stands = door.opening.iter().filter(|check| !check.holds);
        let why: Vec<_> = stands.map(|check| self.words(check.condition, false, door.door).0).collect();
        let name = if door.door == Door::Tls { "TLS" } else { "clear" };
        match doors.len() {
            1 => format!("{who} opens no session on the {name} door: {}.", why.join("; ")),
            _ => format!("{who} opens no session. On the {name} door: {}.", why.join("; ")),
        }
    }
}

/// Without what is asked of one device.
fn without_device(checks: &[Check]) -> Vec<Check> {
    let of_device = [Condition::Associated, Condition::NotRestricted];
    checks.iter().filter(|check| !of_device.contains(&check.condition)).copied().collect()
}

/// The groups that keys need and that aren't there.
fn missing(groups: Groups) -> Vec<Group> {
    KEY_GROUPS.into_iter().filter(|group| !groups.contains(*group)).collect()
}

/// Names of groups, each in quotes.
fn names(groups: &[Group]) -> Vec<String> {
    groups.iter().map(|group| format!("{:?}", group.name())).collect()
}

/// A word as a shell takes it, whatever stands in it.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.:@/".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn stream_said(stream: Stream, disclosure: Disclosure) -> StreamSaid {
    let stream = match stream {
        Stream::InTime => "SRTP, monitored in time",
        Stream::Late => "SRTP, monitored too late",
        Stream::Unknown => "SRTP, key not known to the switch",
        Stream::Clear => "not SRTP",
    };
    match disclosure {
        Disclosure::Nothing(Rule(rule)) => {
            StreamSaid { stream: stream.into(), indicator: None, reason: None, rule: rule.into(), mend: None }
        }
        Disclosure::Event(indication, Rule(rule)) => {
            let (indicator, reason) = indication.names();
            let mend = indication.refusal().map(|code| callgate_wire::lookup(code).mend.into());
            StreamSaid {
                stream: stream.into(),
                indicator: Some(indicator.into()),
                reason: reason.map(Into::into),
                rule: rule.into(),
                mend,
            }
        }
    }
}

fn told(disclosure: Disclosure) -> String {
    match disclosure {
        Disclosure::Nothing(_) => "no event".into(),
        Disclosure::Event(indication, Rule(rule)) => match indication.names() {
            (indicator, Some(reason)) => format!("{indicator}/{reason} ({rule})"),
            (indicator, None) => format!("{indicator} ({rule})"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r43_a_name_in_a_command_is_one_word_of_the_shell() {
        for (word, expected) in [
            ("1001", "1001"),
            ("udp:192.0.2.1:5060", "udp:192.0.2.1:5060"),
            ("floor 2", "'floor 2'"),
            ("ann's $HOME", r"'ann'\''s $HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
