//! The one table of errors (R43): the same name and number on the wire, in logs, metrics and records.
//!
//! A number never changes its meaning and is never used again. `docs/PROTOCOL.md` and `callgate explain CODE` are made
//! from this table.

use crate::v1::{Error, ErrorCode};

/// What there is to know about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorInfo {
    /// Its number on the wire.
    pub code: ErrorCode,
    /// The rule behind it, such as `R10`.
    pub rule: &'static str,
    /// What is wrong, in one sentence.
    pub text: &'static str,
    /// What to change, in one sentence.
    pub mend: &'static str,
}

impl ErrorInfo {
    /// The stable name, such as `CONNECTION_ON_INVALID_PORT`.
    pub fn name(&self) -> &'static str {
        self.code.as_str_name()
    }

    /// The stable number.
    pub fn number(&self) -> i32 {
        self.code as i32
    }
}

impl From<&ErrorInfo> for Error {
    fn from(info: &ErrorInfo) -> Self {
        Self {
            code: info.code.into(),
            rule: info.rule.into(),
            text: info.text.into(),
            mend: info.mend.into(),
            ..Self::default()
        }
    }
}

impl From<ErrorCode> for Error {
    fn from(code: ErrorCode) -> Self {
        lookup(code).into()
    }
}

/// The entry of `code`. A code without an entry, which a test forbids, is answered as `INTERNAL`.
pub fn lookup(code: ErrorCode) -> &'static ErrorInfo {
    TABLE.iter().find(|info| info.code == code).unwrap_or(&INTERNAL)
}

/// The entry with this name, in any case, or with this number. An indicator and a reason as events show them are found
/// too: `USER_NOT_AUTHORIZED`, `KEYS_UNAVAILABLE/DOOR`, `DOOR`.
pub fn lookup_name(name_or_number: &str) -> Option<&'static ErrorInfo> {
    let number = name_or_number.parse::<i32>().ok();
    let name = name_or_number.replace('/', "_");
    let find = |name: &str| TABLE.iter().find(|info| info.name().eq_ignore_ascii_case(name));
    TABLE
        .iter()
        .find(|info| Some(info.number()) == number)
        .or_else(|| find(&name))
        .or_else(|| find(&format!("KEYS_{name}")))
        .or_else(|| find(&format!("KEYS_UNAVAILABLE_{name}")))
}

const fn entry(code: ErrorCode, rule: &'static str, text: &'static str, mend: &'static str) -> ErrorInfo {
    ErrorInfo { code, rule, text, mend }
}

const INTERNAL: ErrorInfo = entry(
    ErrorCode::Internal,
    "R43",
    "The gateway met a condition that should not exist.",
    "Report it with the gateway's log of this minute.",
);

/// Every error, in the order of the numbers.
pub static TABLE: &[ErrorInfo] = &[
    entry(
        ErrorCode::FrameTooLarge,
        "R41a",
        "A frame announced more bytes than are allowed.",
        "Send frames of at most 4 KiB before the session is open and 64 KiB after; a wrong length usually means that the two sides lost their place in the stream.",
    ),
    entry(
        ErrorCode::FrameMalformed,
        "R41a",
        "A frame did not hold a ToGateway message.",
        "Encode one ToGateway message per frame, after a 4-byte big-endian length of the message alone.",
    ),
    entry(
        ErrorCode::VersionUnsupported,
        "R43",
        "None of the protocol versions in Hello is spoken here.",
        "Offer version 1 in Hello, or use a gateway that speaks the app's version.",
    ),
    entry(
        ErrorCode::OutOfOrder,
        "R43",
        "The message is not allowed in this state of the session.",
        "Send Hello, then OpenRequest, then AuthResponse if a challenge came, and requests only after Opened; don't send Hello or OpenRequest again.",
    ),
    entry(
        ErrorCode::UnknownRequest,
        "R43",
        "The message is of no kind that this gateway knows.",
        "Check the version in Welcome: the request belongs to a later one.",
    ),
    entry(
        ErrorCode::OpenTimeout,
        "R41a",
        "The session was not open in time.",
        "Finish the TLS handshake, Hello and OpenRequest within the open timeout (10 s by default).",
    ),
    entry(
        ErrorCode::HeartbeatTimeout,
        "R39",
        "Nothing was heard for two heartbeat intervals.",
        "Send a Heartbeat once in every interval that Opened names, and read what the gateway sends.",
    ),
    entry(
        ErrorCode::SlowConsumer,
        "R41",
        "The app read too slowly, and what waited for it reached the limit.",
        "Read without pausing, do slow work elsewhere, or monitor fewer devices in one session.",
    ),
    entry(
        ErrorCode::InvalidArgument,
        "R43",
        "A field of the request has a value that is not allowed.",
        "Compare the request's fields with the ranges in the protocol's description.",
    ),
    entry(
        ErrorCode::KeyUsageLimit,
        "R41a",
        "The connection's TLS 1.2 keys have sealed as many records as they may.",
        "Connect again; with TLS 1.3, which renews its keys by itself, this doesn't happen.",
    ),
    entry(
        ErrorCode::AuthenticationFailed,
        "R14",
        "User name or password is wrong, or the user is locked.",
        "Check both; an operator finds the true reason in the gateway's records.",
    ),
    entry(
        ErrorCode::CtiNotEnabled,
        "R9",
        "The user is not in the group Standard CTI Enabled.",
        "Ask the operator to put the user into the group Standard CTI Enabled.",
    ),
    entry(
        ErrorCode::ConnectionOnInvalidPort,
        "R10",
        "The user must use the secure door, and this is the clear one.",
        "Connect to the TLS door (usually 2749) with the app's certificate, or take the user out of the group Standard CTI Secure Connection.",
    ),
    entry(
        ErrorCode::UserNotAuthorizedForSecurity,
        "R10",
        "The user is not in the group Standard CTI Secure Connection, which the secure door demands.",
        "Put the user into the group Standard CTI Secure Connection, or connect to the clear door (usually 2748).",
    ),
    entry(
        ErrorCode::CertificateIdentityMismatch,
        "R11",
        "The certificate belongs to another user or instance than the one that asks to open.",
        "Open with the user and instance that the certificate was issued for, or get a certificate for this instance.",
    ),
    entry(
        ErrorCode::InstanceAlreadyOpen,
        "R12",
        "This instance has a session already, which is alive.",
        "Give each running app its own instance and certificate, or close the other session first; if there is only one app, somebody else has its certificate.",
    ),
    entry(
        ErrorCode::ModeNonSecure,
        "R2",
        "The gateway is in non-secure mode, in which there is no secure door.",
        "Connect to the clear door (usually 2748), or set the cluster security mode to mixed.",
    ),
    entry(
        ErrorCode::InvalidInstance,
        "R28",
        "The instance is not 1 to 128 of a-z, A-Z and 0-9.",
        "Use letters and digits only.",
    ),
    entry(
        ErrorCode::AuthenticationMethodRefused,
        "R14",
        "This way to authenticate is not offered on this door.",
        "Use the certificate on the TLS door (usually 2749) and SCRAM-SHA-256 on the clear door (usually 2748).",
    ),
    entry(
        ErrorCode::NetworkNotAllowed,
        "R5",
        "Your network address may not connect here.",
        "Connect from another network, or have the operator add yours to door_networks.",
    ),
    entry(
        ErrorCode::InstanceTakenOver,
        "R12",
        "Another connection of this instance took its place, since this one did not answer when it was asked whether it is alive.",
        "If the app was alive, look for what kept it from reading and answering in time; each running app needs an instance of its own.",
    ),
    entry(
        ErrorCode::PasswordRequired,
        "R14",
        "This user needs its password besides its certificate.",
        "Prove the password by SCRAM-SHA-256-PLUS, or ask the operator to let the user do without.",
    ),
    entry(
        ErrorCode::TooManySessions,
        "R41a",
        "The gateway has as many sessions as it may.",
        "Close sessions that aren't needed, or raise limits.sessions.",
    ),
    entry(
        ErrorCode::TooManySessionsOfUser,
        "R41a",
        "The user has as many sessions as it may.",
        "Close sessions that aren't needed, or raise limits.sessions_per_user.",
    ),
    entry(
        ErrorCode::TooManyConnections,
        "R41a",
        "Too many connections waited to be opened, and this one made room for another.",
        "Open within milliseconds of connecting, and try again after a short and growing delay; the operator can raise limits.opening_connections.",
    ),
    entry(
        ErrorCode::TooManyTries,
        "R41a",
        "Too many tries to open failed from this address.",
        "Wait a minute; then find out why the tries fail before trying again.",
    ),
    entry(
        ErrorCode::TooManyHttpConnections,
        "R41a",
        "The service over HTTP has as many connections as it may.",
        "Close connections that aren't needed, or have the operator raise limits.http_connections.",
    ),
    entry(
        ErrorCode::TooManyHttpConnectionsOfSource,
        "R41a",
        "The service over HTTP has as many connections from this address as it may.",
        "Close connections that aren't needed, or have the operator raise limits.http_connections_per_source.",
    ),
    entry(
        ErrorCode::DeviceUnknown,
        "R13",
        "No such device is associated with the user.",
        "List the devices to see what the user may monitor, or ask the operator to associate the device.",
    ),
    entry(
        ErrorCode::PageTokenInvalid,
        "R43",
        "The page token is not one that the gateway gave.",
        "Start again without a token.",
    ),
    entry(
        ErrorCode::TooManyMonitors,
        "R41a",
        "The session monitors as many devices as it may.",
        "Unmonitor devices, open another instance, or raise limits.monitors_per_session.",
    ),
    entry(
        ErrorCode::DeviceOutOfService,
        "R15",
        "The operator took the device or the line from what the user may see.",
        "Ask the operator to associate the device again or to lift its restriction, and monitor it again when the device list has it.",
    ),
    entry(
        ErrorCode::CertificateMissing,
        "R3",
        "The app showed no certificate on the secure door.",
        "Configure the app with its certificate and key.",
    ),
    entry(
        ErrorCode::CertificateUnknownIssuer,
        "R3",
        "The app's certificate comes from a CA that is not among the client CAs.",
        "Use a certificate that this gateway issued, or add its CA to tls.client_ca.",
    ),
    entry(
        ErrorCode::CertificateExpired,
        "R3",
        "The app's certificate has expired.",
        "Issue the app a new certificate, and check the clocks of both machines.",
    ),
    entry(
        ErrorCode::CertificateNotYetValid,
        "R3",
        "The app's certificate is not valid yet.",
        "Check the clocks of both machines.",
    ),
    entry(
        ErrorCode::CertificateRevoked,
        "R3",
        "The app's certificate was revoked.",
        "Issue the app a new certificate, if it should still connect.",
    ),
    entry(
        ErrorCode::CertificateWrongUsage,
        "R3",
        "The app's certificate is not for TLS clients.",
        "Use a certificate with the extended key usage clientAuth.",
    ),
    entry(
        ErrorCode::CertificateNotInLedger,
        "R3",
        "The app's certificate is not in the gateway's ledger, so it counts as unknown although its chain is good.",
        "Issue the certificate with this gateway, or have it added for the user and instance: a good chain alone is not enough.",
    ),
    entry(
        ErrorCode::HandshakeFailed,
        "R3",
        "The TLS handshake failed.",
        "Use TLS 1.3, or 1.2 with ECDHE and an AEAD suite, and trust the gateway's CA in the app; the log names the cause.",
    ),
    entry(
        ErrorCode::CertificateInvalid,
        "R3",
        "The app's certificate or its proof of possession is not valid.",
        "Check that certificate and key belong together, that the file is whole, and that an RSA key has 2048 bits or more; the gateway's record names the cause.",
    ),
    entry(
        ErrorCode::CertificateStatusUnknown,
        "R11",
        "The gateway can't tell whether the app's certificate was revoked: the CRL of its CA is missing or out of date.",
        "Have the operator put the CA's present CRL where tls.client_crl names it, or add the certificate as one without a CRL.",
    ),
    entry(
        ErrorCode::GatewayStopping,
        "R42",
        "The gateway is stopping.",
        "Connect again after a short and growing delay.",
    ),
    entry(ErrorCode::ClosedByApp, "R43", "The app closed the session.", "Nothing needs to be done."),
    entry(
        ErrorCode::ConnectionLost,
        "R43",
        "The connection ended without a Close.",
        "Look for the reason on the side that did not close it.",
    ),
    entry(
        ErrorCode::ClosedByAdministrator,
        "R15",
        "An administrator closed the session.",
        "Ask the administrator why before connecting again.",
    ),
    entry(
        ErrorCode::KeysUserNotAuthorized,
        "R16",
        "The user is not in all three groups that SRTP keys need.",
        "Put the user into Standard CTI Enabled, Standard CTI Secure Connection and Standard CTI Allow Reception of SRTP Key Material.",
    ),
    entry(
        ErrorCode::KeysUnavailableMode,
        "R2",
        "No key leaves a gateway in non-secure mode.",
        "Set the cluster security mode to mixed.",
    ),
    entry(
        ErrorCode::KeysUnavailableDoor,
        "R16",
        "No key leaves by the clear door.",
        "Connect to the TLS door (usually 2749).",
    ),
    entry(
        ErrorCode::KeysUnavailableMonitoredLate,
        "R16",
        "The session began to monitor the device's media after this generation was first seen.",
        "Monitor the device before its calls begin; the next generation's keys will come.",
    ),
    entry(
        ErrorCode::KeysUnavailableSwitch,
        "R42b",
        "The switch side doesn't know the key: the answer of the call was not seen, or its key can't be used.",
        "Check that the switch's feed is whole; the next re-INVITE that repeats the keys heals it.",
    ),
    entry(
        ErrorCode::KeysUnavailableAuditUnavailable,
        "R21",
        "The disclosure can't be recorded, and what can't be recorded doesn't leave.",
        "Make room for the audit log, or mend its disk.",
    ),
    entry(
        ErrorCode::KeysUnavailableGatewayRestarted,
        "R40",
        "The gateway was restarted after this stream was keyed.",
        "Wait for the stream's next generation, or the next call.",
    ),
    entry(
        ErrorCode::NotFound,
        "R43",
        "There is no such thing here.",
        "List what there is, and compare the name letter by letter.",
    ),
    entry(ErrorCode::AlreadyExists, "R6", "The name is taken.", "Choose another name, or change what has it."),
    entry(
        ErrorCode::VersionConflict,
        "R43",
        "It was changed since it was read, and that change would be lost.",
        "Read it again, and repeat the change on what it is now.",
    ),
    entry(
        ErrorCode::VersionRequired,
        "R43",
        "A change must say which version it is a change of.",
        "Read it first, and send its ETag in If-Match.",
    ),
    entry(
        ErrorCode::GroupNeedsOthers,
        "R8",
        "A user enters the group of SRTP key material only when already in the other two.",
        "Put the user into Standard CTI Enabled and Standard CTI Secure Connection first, or into all three at once.",
    ),
    entry(
        ErrorCode::GroupStillNeeded,
        "R8",
        "The user is in the group of SRTP key material, which needs this group.",
        "Take the user out of that group, too: first, or at once with `--cascade` (in the API `?cascade=true`).",
    ),
    entry(
        ErrorCode::StandardGroup,
        "R7",
        "A standard group can't be made, renamed or deleted.",
        "Make a group with a name of your own.",
    ),
    entry(
        ErrorCode::StillReferenced,
        "R13",
        "Others still name it, or it is restricted.",
        "Take it from them, or lift its restriction, first, or at once with `--cascade` (in the API `?cascade=true`).",
    ),
    entry(
        ErrorCode::StillCertified,
        "R11",
        "It still has certificates that count.",
        "Revoke them first, or at once with `--cascade` (in the API `?cascade=true`).",
    ),
    entry(
        ErrorCode::FieldInvalid,
        "R43",
        "A value is not allowed there.",
        "Give a value that is allowed: the `--help` of a command and the description of the API say which are.",
    ),
    entry(
        ErrorCode::AdminNotAuthenticated,
        "R38",
        "The administration doesn't know who asks.",
        "Log in, or send a token that is still good; on the machine itself use the local socket.",
    ),
    entry(
        ErrorCode::AdminNotAllowed,
        "R38",
        "Your role doesn't allow it.",
        "Ask somebody who has the role that is needed.",
    ),
    entry(
        ErrorCode::AdminLockedOut,
        "R38",
        "Too many logins from this address failed.",
        "Wait as long as `Retry-After` says.",
    ),
    entry(
        ErrorCode::SetupTokenInvalid,
        "R38",
        "The setup token is wrong, was used already, or there is an administrator already.",
        "Take the token that the gateway printed at its first start, or, while there is no administrator, make a new one by `callgate account setup-token` on the machine itself. Once there is one: `callgate account list` says who, and `callgate account add` makes another.",
    ),
    entry(
        ErrorCode::IdempotencyKeyReused,
        "R43",
        "The idempotency key was sent with another request before.",
        "Make a new key for each new request, and repeat a request unchanged.",
    ),
    entry(
        ErrorCode::AuditUnavailable,
        "R21",
        "The change can't be recorded, and without a record no right is granted.",
        "Make room for the audit log, or mend its disk; what takes rights away goes on.",
    ),
    entry(
        ErrorCode::StoreUnavailable,
        "R42",
        "The store can't be written or read.",
        "Look into the gateway's log for the reason: usually the disk is full or broken.",
    ),
    entry(
        ErrorCode::RightsNotAcknowledged,
        "R15",
        "The change is stored, but the sessions did not confirm that it is in effect.",
        "The gateway is about to stop, and starts with the change in effect.",
    ),
    entry(ErrorCode::BodyTooLarge, "R41a", "The request has more bytes than are allowed.", "Send less at once."),
    entry(
        ErrorCode::TooManyRequests,
        "R41a",
        "Too many requests at once or from one address.",
        "Wait as long as Retry-After says.",
    ),
    entry(
        ErrorCode::RequestNotUnderstood,
        "R43",
        "The request is not one that the administration understands.",
        "Compare method, path, content type and body with the description of the API.",
    ),
    entry(
        ErrorCode::LastAdministrator,
        "R38",
        "Nobody would be left who may administer the gateway.",
        "Make another administrator first.",
    ),
    entry(
        ErrorCode::RequestTimeout,
        "R41a",
        "The request did not come whole, or was not answered, in time.",
        "Send it at once, and finish the TLS handshake without a pause; if the gateway is slow, ask again later.",
    ),
    entry(
        ErrorCode::GatewayNotRunning,
        "R43",
        "No gateway runs by this store, so there is nothing to see of sessions, calls and streams.",
        "Start it with callgate serve, and ask again.",
    ),
    entry(
        ErrorCode::NotConfigured,
        "R43",
        "The gateway's config doesn't have what this needs.",
        "Set what is named, and have the gateway read its config again.",
    ),
    INTERNAL,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r43_every_code_has_one_entry_and_numbers_rise() {
        assert!(TABLE.windows(2).all(|pair| pair[0].number() < pair[1].number()));
        for number in 1..=TABLE.last().unwrap().number() {
            if let Ok(code) = ErrorCode::try_from(number) {
                assert_eq!(lookup(code).code, code, "{} has no entry", code.as_str_name());
            }
        }
    }

    #[test]
    fn r43_every_entry_says_what_and_how_to_mend_it() {
        for info in TABLE {
            assert!(info.rule.starts_with('R'), "{}", info.name());
            assert!(info.text.ends_with('.') && info.mend.ends_with('.'), "{}", info.name());
        }
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(lookup_name("connection_on_invalid_port").unwrap().number(), 202);
        assert_eq!(lookup_name("202").unwrap().name(), "CONNECTION_ON_INVALID_PORT");
        assert_eq!(lookup_name("0"), None);
        for (shown, number) in [("USER_NOT_AUTHORIZED", 700), ("KEYS_UNAVAILABLE/DOOR", 702), ("monitored_late", 703)] {
            assert_eq!(lookup_name(shown).unwrap().number(), number);
        }
    }
}
