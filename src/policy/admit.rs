//! Who opens a session.

use callgate_wire::v1::ErrorCode;

use super::Rule;
use crate::model::{Group, Groups, Mode};

/// The facts about an app that asks to open, after it has proven who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The cluster security mode.
    pub mode: Mode,
    /// Whether both kinds of users may use both doors (R10).
    pub lenient_doors: bool,
    /// The groups of the user that it asks to open as.
    pub groups: Groups,
    /// An administrator has locked that user (R14).
    pub locked: bool,
    /// That user needs a password on the TLS door besides its certificate (R14).
    pub password_on_tls: bool,
    /// The app has proven that user's password.
    pub password_proven: bool,
    /// How it came in.
    pub entrance: Entrance,
}

/// The door, and what it proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// The clear door: the instance is only a label there (R14).
    Clear,
    /// The TLS door.
    Tls {
        /// Whether the certificate is that of the user and instance that it asks to open as (R11).
        certificate_matches: bool,
    },
}

/// Whether the session opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It opens.
    Admit(Rule),
    /// It doesn't.
    Refuse(ErrorCode, Rule),
}

/// Decides whether a session opens.
///
/// Identity comes before groups, so that nobody learns of the groups of a user that it can't be. A user that is locked is answered as
/// one with a wrong password.
pub fn admit(admission: &Admission) -> Verdict {
    let Admission { mode, lenient_doors, groups, locked, password_on_tls, password_proven, entrance } = *admission;
    let refuse = |code, rule| Verdict::Refuse(code, Rule(rule));

    if let (Mode::NonSecure, Entrance::Tls { .. }) = (mode, entrance) {
        return refuse(ErrorCode::ModeNonSecure, "R2");
    }
    if entrance == (Entrance::Tls { certificate_matches: false }) {
        return refuse(ErrorCode::CertificateIdentityMismatch, "R11");
    }
    if locked {
        return refuse(ErrorCode::AuthenticationFailed, "R14");
    }
    if password_on_tls && !password_proven && entrance != Entrance::Clear {
        return refuse(ErrorCode::PasswordRequired, "R14");
    }
    if !groups.contains(Group::CtiEnabled) {
        return refuse(ErrorCode::CtiNotEnabled, "R9");
    }
    if mode == Mode::NonSecure {
        return Verdict::Admit(Rule("R2"));
    }
    match (groups.contains(Group::SecureConnection), entrance) {
        _ if lenient_doors => Verdict::Admit(Rule("R10")),
        (true, Entrance::Clear) => refuse(ErrorCode::ConnectionOnInvalidPort, "R10"),
        (false, Entrance::Tls { .. }) => refuse(ErrorCode::UserNotAuthorizedForSecurity, "R10"),
        (true, Entrance::Tls { .. }) | (false, Entrance::Clear) => Verdict::Admit(Rule("R10")),
    }
}
