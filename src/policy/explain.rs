//! Why a user's app gets keys or doesn't: every condition, in the order of the decisions, and what is decided.
//!
//! It decides nothing by itself. What stands against something is found by asking [`admit`] and [`disclose`], mending the
//! fact that they named, and asking again: so an explanation can't say anything else than what the gateway does.

use callgate_wire::v1::ErrorCode;

use super::{
    Admission, Disclosure, Entrance, Indication, MediaAccess, Reason, StreamProtection, Verdict, admit, disclose,
};
use crate::model::{Door, Group, Groups, Mode};

/// All that is known of a user's app and a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// The cluster security mode (R2).
    pub mode: Mode,
    /// Whether both kinds of users may use both doors (R10).
    pub lenient_doors: bool,
    /// Whether the clear door listens (R1).
    pub clear_listens: bool,
    /// Whether the TLS door listens.
    pub tls_listens: bool,
    /// The user's groups (R7).
    pub groups: Groups,
    /// Whether the user has a password (R14).
    pub has_password: bool,
    /// Whether it needs it on the TLS door, too.
    pub password_on_tls: bool,
    /// An administrator has locked the user (R14).
    pub locked: bool,
    /// What the ledger says of the certificate of this user and instance (R3, R11).
    pub certificate: Certificate,
    /// The device is associated with the user by its name (R13).
    pub associated: bool,
    /// The device, or its line that has the calls, is restricted (R13).
    pub restricted: bool,
    /// Whether the audit log can be written (R21).
    pub recordable: bool,
}

/// What the ledger knows of the certificates of a user and instance: the best of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// There is one that counts.
    Counts,
    /// There is one that has expired.
    Expired,
    /// There is none.
    None,
    /// There is one that was revoked.
    Revoked,
    /// There is one that needs the CRL of its CA, which is missing or out of date.
    StatusUnknown,
}

/// A condition, and the thing that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Condition {
    /// The mode lets the TLS door be open, and keys leave (R2).
    Mode,
    /// The door listens (R1).
    Listens,
    /// There is a certificate that counts (R3, R11).
    Certificate,
    /// There is a password (R14).
    Password,
    /// The user is not locked (R14).
    NotLocked,
    /// The user is in the group that sessions need (R9).
    CtiEnabled,
    /// The door is the one of users with, or without, a secure connection (R10).
    Door,
    /// The device is associated with the user, or it controls all of them (R13).
    Associated,
    /// Neither the device nor its line is restricted (R13).
    NotRestricted,
    /// The user is in all three groups that keys need (R8, R16).
    KeyGroups,
    /// No key leaves by the clear door (R16).
    SecureDoor,
    /// A key is on record before it leaves (R21).
    Recordable,
}

/// A condition that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Which.
    pub condition: Condition,
    /// Its rule.
    pub rule: &'static str,
    /// Whether it holds.
    pub holds: bool,
}

/// How a session on one door would fare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnDoor {
    /// The door.
    pub door: Door,
    /// What opening needs, in the order in which it is asked.
    pub opening: Vec<Check>,
    /// What the decision says, once the app has proven who it is.
    pub verdict: Verdict,
    /// Whether a session opens: the door listens, the app can prove who it is, and the decision is to admit.
    pub opens: bool,
    /// What seeing the device and its keys needs, in the order in which it is asked.
    pub disclosing: Vec<Check>,
    /// What such a session is told of each kind of stream.
    pub streams: Vec<(Stream, Disclosure)>,
}

/// A kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Not SRTP.
    Clear,
    /// SRTP, and the device was monitored before its key was first seen.
    InTime,
    /// SRTP, and the device was monitored too late.
    Late,
    /// SRTP with a key that the switch side doesn't know.
    Unknown,
}

impl Stream {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::InTime, Self::Late, Self::Unknown, Self::Clear];
}

impl OnDoor {
    /// Whether a session on this door opens and gets the keys of an SRTP stream that it monitored in time.
    pub fn gets_keys(&self) -> bool {
        let keys = |(stream, disclosure): &(Stream, Disclosure)| {
            *stream == Stream::InTime && matches!(disclosure, Disclosure::Event(Indication::KeysAvailable, _))
        };
        self.opens && self.streams.iter().any(keys)
    }

    /// Whether a session on this door opens and hears of the device.
    pub fn sees_device(&self) -> bool {
        self.opens && !self.streams.iter().any(|(_, disclosure)| matches!(disclosure, Disclosure::Nothing(_)))
    }
}

/// Explains how a session of this case would fare on each door, the TLS door first.
pub fn explain(case: &Case) -> [OnDoor; 2] {
    [Door::Tls, Door::Clear].map(|door| on_door(case, door))
}

fn on_door(case: &Case, door: Door) -> OnDoor {
    let entrance = match door {
        Door::Clear => Entrance::Clear,
        // R3: without a certificate that counts the handshake fails, so that there is nothing to decide.
        Door::Tls => Entrance::Tls { certificate_matches: case.certificate == Certificate::Counts },
    };
    let admission = Admission {
        mode: case.mode,
        lenient_doors: case.lenient_doors,
        groups: case.groups,
        locked: case.locked,
        password_on_tls: case.password_on_tls,
        password_proven: case.has_password,
        entrance,
    };
    let against = against_admission(&admission);
    let of_policy = |condition, rule| Check { condition, rule, holds: !against.contains(&condition) };
    let mut opening = match door {
        Door::Tls => vec![
            of_policy(Condition::Mode, "R2"),
            Check { condition: Condition::Listens, rule: "R1", holds: case.tls_listens },
            of_policy(Condition::Certificate, "R3"),
        ],
        Door::Clear => vec![
            Check { condition: Condition::Mode, rule: "R2", holds: true },
            Check { condition: Condition::Listens, rule: "R1", holds: case.clear_listens },
        ],
    };
    opening.push(of_policy(Condition::NotLocked, "R14"));
    if door == Door::Clear || case.password_on_tls {
        opening.push(Check { condition: Condition::Password, rule: "R14", holds: case.has_password });
    }
    opening.extend([of_policy(Condition::CtiEnabled, "R9"), of_policy(Condition::Door, "R10")]);

    let access = |stream| MediaAccess {
        associated: case.associated || case.groups.contains(Group::ControlOfAllDevices),
        restricted: case.restricted,
        protection: match stream {
            Stream::Clear => StreamProtection::Clear,
            Stream::InTime | Stream::Late => StreamProtection::Keyed,
            Stream::Unknown => StreamProtection::Unknown,
        },
        groups: case.groups,
        mode: case.mode,
        door,
        monitored_before: stream != Stream::Late,
        recordable: case.recordable,
        seen_since_start: true,
    };
    let against = against_disclosure(&access(Stream::InTime));
    let of_policy = |condition, rule| Check { condition, rule, holds: !against.contains(&condition) };
    OnDoor {
        door,
        opens: opening.iter().all(|check| check.holds),
        opening,
        verdict: admit(&admission),
        disclosing: vec![
            of_policy(Condition::Associated, "R13"),
            of_policy(Condition::NotRestricted, "R13"),
            of_policy(Condition::KeyGroups, "R16"),
            of_policy(Condition::Mode, "R2"),
            of_policy(Condition::SecureDoor, "R16"),
            of_policy(Condition::Recordable, "R21"),
        ],
        streams: Stream::ALL.map(|stream| (stream, disclose(&access(stream)))).into(),
    }
}

/// What stands against a session, once the app has proven who it is: asks, mends what was named, and asks again.
pub fn against_admission(admission: &Admission) -> Vec<Condition> {
    let (mut admission, mut against) = (*admission, Vec::new());
    while let Verdict::Refuse(code, _) = admit(&admission) {
        let condition = match code {
            ErrorCode::ModeNonSecure => {
                admission.mode = Mode::Mixed;
                Condition::Mode
            }
            ErrorCode::CertificateIdentityMismatch => {
                admission.entrance = Entrance::Tls { certificate_matches: true };
                Condition::Certificate
            }
            ErrorCode::AuthenticationFailed => {
                admission.locked = false;
                Condition::NotLocked
            }
            ErrorCode::PasswordRequired => {
                admission.password_proven = true;
                Condition::Password
            }
            ErrorCode::CtiNotEnabled => {
                admission.groups = admission.groups.with(Group::CtiEnabled);
                Condition::CtiEnabled
            }
            _ => {
                admission.lenient_doors = true;
                Condition::Door
            }
        };
        if against.contains(&condition) {
            // It was mended and is named again: there is a refusal that this function doesn't know.
            break;
        }
        against.push(condition);
    }
    against
}

/// What stands against the keys of any stream of a device, in the same way. What stands only against one stream, such as
/// that it was monitored too late, ends the search; so does a stream that isn't SRTP.
pub fn against_disclosure(access: &MediaAccess) -> Vec<Condition> {
    let (mut access, mut against) = (*access, Vec::new());
    loop {
        let condition = match disclose(&access) {
            Disclosure::Event(Indication::KeysAvailable | Indication::NotEncrypted, _) => break,
            Disclosure::Nothing(_) if access.restricted => {
                access.restricted = false;
                Condition::NotRestricted
            }
            Disclosure::Nothing(_) => {
                access.associated = true;
                Condition::Associated
            }
            Disclosure::Event(Indication::UserNotAuthorized, _) => {
                access.groups = KEY_GROUPS.into_iter().fold(access.groups, Groups::with);
                Condition::KeyGroups
            }
            Disclosure::Event(Indication::KeysUnavailable(Reason::Mode), _) => {
                access.mode = Mode::Mixed;
                Condition::Mode
            }
            Disclosure::Event(Indication::KeysUnavailable(Reason::Door), _) => {
                access.door = Door::Tls;
                Condition::SecureDoor
            }
            Disclosure::Event(Indication::KeysUnavailable(Reason::AuditUnavailable), _) => {
                access.recordable = true;
                Condition::Recordable
            }
            // Those are of one stream, not of the case.
            Disclosure::Event(Indication::KeysUnavailable(_), _) => break,
        };
        if against.contains(&condition) {
            break;
        }
        against.push(condition);
    }
    against
}

/// The groups that keys need (R16).
pub const KEY_GROUPS: [Group; 3] = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
