//! What the simulated administrators want, in plain words, and what the rules make of it (R2, R7 to R13, R16, R17). It knows
//! none of the gateway's code.

use callgate_wire::v1::{self, ErrorCode};

use crate::model::Door;

/// In the order of their names.
pub(super) const DEVICES: [&str; 4] = ["1001", "1002", "2001", "21"];
pub(super) const PATTERNS: [&str; 4] = ["1*", "?001", "2*1", "*"];
pub(super) const USERS: [&str; 3] = ["recorder", "viewer", "dashboard"];
/// The operator's own groups.
pub(super) const OWN_GROUPS: [&str; 2] = ["ground floor", "upstairs"];

/// One version of what administrators want.
#[derive(Debug, Clone)]
pub(super) struct Wishes {
    pub(super) version: u64,
    pub(super) mixed: bool,
    pub(super) lenient: bool,
    pub(super) users: [Option<Person>; 3],
    pub(super) groups: [Option<Named>; 2],
    pub(super) devices: [Option<Phone>; 4],
    /// Added, and revoked for good.
    pub(super) certificates: Vec<Certificate>,
    /// How many users were made.
    pub(super) births: u64,
}

/// A user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Person {
    /// Who is made anew under a name is somebody else.
    pub(super) born: u64,
    pub(super) enabled: bool,
    pub(super) secure: bool,
    pub(super) srtp: bool,
    pub(super) all_devices: bool,
    pub(super) locked: bool,
    /// Needs a password on the TLS door, where no simulated app proves any.
    pub(super) password_on_tls: bool,
    pub(super) named: Named,
    pub(super) groups: [bool; 2],
}

/// Devices that a user or a group is associated with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Named {
    pub(super) devices: [bool; 4],
    pub(super) patterns: [bool; 4],
}

/// A device with lines 1 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Phone {
    pub(super) restricted: bool,
    pub(super) first_line_restricted: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Certificate {
    pub(super) user: usize,
    pub(super) revoked: bool,
}

/// Who a simulated app is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    /// Its instance.
    pub(super) number: usize,
    pub(super) user: usize,
    pub(super) born: u64,
    pub(super) door: Door,
    /// By its place among all.
    pub(super) certificate: Option<usize>,
}

/// How a stream stands at the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Clear,
    Keyed,
    /// SRTP with a key that the switch doesn't know.
    Unknown,
}

/// What an app is told of a stream (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Indicator {
    NotEncrypted,
    NotAuthorized,
    NoKeyByMode,
    NoKeyByDoor,
    TooLate,
    NotKnown,
    NotRecordable,
    Key,
}

impl Wishes {
    /// How it begins: the first two users get keys, and one device isn't there yet. All see the same devices: the first user
    /// by their names, the others by one name, and by name and pattern of a group.
    pub(super) fn first() -> Self {
        let named = |devices, patterns| Named { devices, patterns };
        let person = |born, secure| {
            let (named, groups) = match born {
                1 => (named([true, true, true, false], [false; 4]), [false; 2]),
                _ => (named([false, true, false, false], [false; 4]), [true, false]),
            };
            let (enabled, srtp) = (true, secure);
            let (all_devices, locked, password_on_tls) = (false, false, false);
            Some(Person { born, enabled, secure, srtp, all_devices, locked, password_on_tls, named, groups })
        };
        let phone = Some(Phone::default());
        let certificate = |user| Certificate { user, revoked: false };
        Self {
            version: 1,
            mixed: true,
            lenient: false,
            users: [person(1, true), person(2, true), person(3, false)],
            groups: [Some(named([true, false, false, false], [false, false, true, false])), None],
            devices: [phone, phone, phone, None],
            certificates: [0, 0, 0, 1, 1].map(certificate).into(),
            births: 3,
        }
    }

    /// Whether the session may be open, and if not, why (R2, R3, R9, R10, R14). What is revoked by now counts whatever else
    /// counts.
    ///
    /// # Errors
    /// What it is refused or closed with.
    pub(super) fn verdict(&self, who: Who, now: &Self) -> Result<(), ErrorCode> {
        let by_tls = who.door == Door::Tls;
        if by_tls && !self.mixed {
            return Err(ErrorCode::ModeNonSecure);
        }
        if who.certificate.is_some_and(|certificate| now.certificates[certificate].revoked) {
            return Err(ErrorCode::CertificateRevoked);
        }
        let Some(person) = self.person(who) else { return Err(ErrorCode::CtiNotEnabled) };
        match person {
            Person { locked: true, .. } => return Err(ErrorCode::AuthenticationFailed),
            Person { password_on_tls: true, .. } if by_tls => return Err(ErrorCode::PasswordRequired),
            Person { enabled: false, .. } => return Err(ErrorCode::CtiNotEnabled),
            _ => {}
        }
        match (person.secure, by_tls) {
            _ if self.lenient || !self.mixed => Ok(()),
            (true, false) => Err(ErrorCode::ConnectionOnInvalidPort),
            (false, true) => Err(ErrorCode::UserNotAuthorizedForSecurity),
            (true, true) | (false, false) => Ok(()),
        }
    }

    /// Whether it sees the device (R13). One that isn't known is seen by who sees all.
    pub(super) fn shows(&self, who: Who, device: usize) -> bool {
        let Some(person) = self.person(who) else { return false };
        let by_group = (0..OWN_GROUPS.len())
            .any(|group| person.groups[group] && self.groups[group].is_some_and(|named| named.means(device)));
        let associated = self.devices[device].is_some() && (person.named.means(device) || by_group);
        (person.all_devices || associated) && !self.devices[device].is_some_and(|phone| phone.restricted)
    }

    /// Whether it sees the line (R13).
    pub(super) fn shows_line(&self, who: Who, device: usize, line: u32) -> bool {
        self.shows(who, device) && !(line == 1 && self.devices[device].is_some_and(|phone| phone.first_line_restricted))
    }

    /// The known devices that it sees, each with its lines.
    pub(super) fn list(&self, who: Who) -> Vec<(usize, Vec<u32>)> {
        let devices = (0..DEVICES.len()).filter(|device| self.devices[*device].is_some() && self.shows(who, *device));
        let lines = |device| [1, 2].into_iter().filter(|line| self.shows_line(who, device, *line)).collect();
        devices.map(|device| (device, lines(device))).collect()
    }

    /// Whether it may have keys, as far as the user, the mode and the door are concerned (R16).
    pub(super) fn gives_keys(&self, who: Who) -> bool {
        let is_in_all = self.person(who).is_some_and(|person| person.enabled && person.secure && person.srtp);
        self.mixed && who.door == Door::Tls && is_in_all
    }

    /// What it is told of a stream (R17). `in_time`: it monitored before the key was first seen.
    pub(super) fn indicator(&self, who: Who, stream: Stream, in_time: bool) -> Indicator {
        let is_in_all = self.person(who).is_some_and(|person| person.enabled && person.secure && person.srtp);
        match stream {
            Stream::Clear => Indicator::NotEncrypted,
            _ if !is_in_all => Indicator::NotAuthorized,
            _ if !self.mixed => Indicator::NoKeyByMode,
            _ if who.door == Door::Clear => Indicator::NoKeyByDoor,
            _ if !in_time => Indicator::TooLate,
            Stream::Unknown => Indicator::NotKnown,
            Stream::Keyed => Indicator::Key,
        }
    }

    /// The user's standard groups, by their names.
    pub(super) fn standing(&self, who: Who) -> Vec<&'static str> {
        let person = self.person(who);
        let is_in = |is_in: fn(&Person) -> bool| person.is_some_and(is_in);
        let groups = [
            ("Standard CTI Enabled", is_in(|person| person.enabled)),
            ("Standard CTI Secure Connection", is_in(|person| person.secure)),
            ("Standard CTI Allow Reception of SRTP Key Material", is_in(|person| person.srtp)),
            ("Standard CTI Allow Control of All Devices", is_in(|person| person.all_devices)),
        ];
        groups.into_iter().filter_map(|(name, is_in)| is_in.then_some(name)).collect()
    }

    /// The user, as long as it is the same.
    pub(super) fn person(&self, who: Who) -> Option<&Person> {
        self.users[who.user].as_ref().filter(|person| person.born == who.born)
    }
}

impl Named {
    /// Whether the device is meant, by its name or by a pattern.
    fn means(&self, device: usize) -> bool {
        let by_pattern = |pattern: usize| is_like(PATTERNS[pattern].as_bytes(), DEVICES[device].as_bytes());
        self.devices[device] || (0..PATTERNS.len()).any(|pattern| self.patterns[pattern] && by_pattern(pattern))
    }
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.split_first(), name.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=name.len()).any(|skipped| is_like(rest, &name[skipped..])),
        (Some((wanted, rest)), Some((found, behind))) => (*wanted == b'?' || wanted == found) && is_like(rest, behind),
        _ => false,
    }
}

impl Indicator {
    /// As it stands in an event.
    pub(super) fn on_the_wire(self) -> (v1::Indicator, v1::UnavailableReason) {
        use v1::UnavailableReason as Reason;
        match self {
            Self::NotEncrypted => (v1::Indicator::NotEncrypted, Reason::Unspecified),
            Self::NotAuthorized => (v1::Indicator::UserNotAuthorized, Reason::Unspecified),
            Self::NoKeyByMode => (v1::Indicator::KeysUnavailable, Reason::Mode),
            Self::NoKeyByDoor => (v1::Indicator::KeysUnavailable, Reason::Door),
            Self::TooLate => (v1::Indicator::KeysUnavailable, Reason::MonitoredLate),
            Self::NotKnown => (v1::Indicator::KeysUnavailable, Reason::Switch),
            Self::NotRecordable => (v1::Indicator::KeysUnavailable, Reason::AuditUnavailable),
            Self::Key => (v1::Indicator::KeysAvailable, Reason::Unspecified),
        }
    }
}
