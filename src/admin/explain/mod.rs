//! Why a user's app gets the keys of a device's calls or doesn't: each rule in order, what it saw, and what to change.
//!
//! It decides nothing: [`policy::explain`] does, which asks the gateway's own decisions. Here are the facts that it is asked
//! with, and the words. One core for the API of a gateway that runs, and for a command that does without one.

mod unnamed;
mod words;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;

use crate::{
    config::Config,
    directory::{Device, User, UserKind},
    model::{Door, InstanceId, LineNumber},
    policy::{self, Case, Certificate, OnDoor},
    trust::{ClientCrls, Entry, LedgerSnapshot, NotAccepted, Status},
};

/// What a gateway goes by.
#[derive(Debug)]
pub struct Basis<'a> {
    /// Mode, doors, switches, users and devices.
    pub config: &'a Config,
    /// Which certificates count.
    pub ledger: Arc<LedgerSnapshot>,
    /// What other CAs have revoked.
    pub crls: &'a ClientCrls,
    /// Whether the audit log can be written (R21).
    pub recordable: bool,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The user whose app it is.
    pub user: &'a str,
    /// The instance whose certificate is looked for.
    pub instance: &'a InstanceId,
    /// The device: its name, or the address of one that isn't configured; `None`: what holds whatever the device is.
    pub device: Option<&'a str>,
    /// Only this door; `None`: both.
    pub door: Option<Door>,
    /// Now.
    pub now: OffsetDateTime,
}

/// Why there is nothing to explain: nobody, or no device, is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexplained {
    /// There is no such user; the nearest names.
    #[error("there is no user {name:?}; {}", nearest(known, "user"))]
    User {
        /// The name.
        name: String,
        /// Those that are like it.
        known: Vec<String>,
    },
    /// There is no such device; the nearest names.
    #[error("there is no device {name:?}; {}", nearest(known, "device"))]
    Device {
        /// The name.
        name: String,
        /// Those that are like it.
        known: Vec<String>,
    },
    /// An address without its port.
    #[error("a device that isn't configured is called by its address with the port, such as {one}, or {other}")]
    Port {
        /// With the usual port.
        one: String,
        /// And over TCP.
        other: String,
    },
    /// The address of a device that has a name.
    #[error("{address} is an address of the device {name:?}, and apps see it by that name: ask for that")]
    Named {
        /// The address.
        address: String,
        /// The name.
        name: String,
    },
    /// The address of a PBX.
    #[error(
        "{address} is the PBX itself, by `pbx` of the switch {switch:?}, and no app sees it: name a device that calls by it"
    )]
    Pbx {
        /// The address.
        address: String,
        /// The switch.
        switch: String,
    },
}

/// Why an app gets the keys of a device's calls, or doesn't
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The user
    pub user: String,
    /// `application` or `end`
    pub kind: String,
    /// The instance
    pub instance: String,
    /// The device, as the gateway calls it; null: what holds for each that the user sees
    pub device: Option<String>,
    /// How a session fares on each door, the TLS door first
    pub doors: Vec<DoorSaid>,
    /// What is worth knowing besides
    pub notes: Vec<String>,
    /// All of it in one sentence
    pub answer: String,
}

/// How a session fares on a door
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoorSaid {
    /// `tls` or `clear`
    pub door: String,
    /// Whether a session opens
    pub opens: bool,
    /// The code that a session is refused with, if it comes so far
    pub code: Option<String>,
    /// What opening needs, in the order in which it is asked
    pub opening: Vec<Said>,
    /// What seeing the device and its keys needs, in the order in which it is asked; without a device what the keys need
    pub disclosing: Vec<Said>,
    /// What a session is told of each kind of stream
    pub streams: Vec<StreamSaid>,
}

/// A rule, what it saw, and what to change
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Said {
    /// The rule
    pub rule: String,
    /// Whether it is met
    pub holds: bool,
    /// What was looked at
    pub saw: String,
    /// What to change, where it isn't met
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What a session is told of a kind of stream
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamSaid {
    /// The kind
    pub stream: String,
    /// The indicator (R17); null: no event at all
    pub indicator: Option<String>,
    /// Its reason, if it has one
    pub reason: Option<String>,
    /// The rule that decided
    pub rule: String,
    /// What to change, if there is anything
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// Explains it.
///
/// # Errors
/// [`Unexplained`]: there is no such user or device.
pub fn explain(basis: &Basis<'_>, question: &Question<'_>) -> Result<Explanation, Unexplained> {
    let facts = gather(basis, question)?;
    let wanted = |door: &OnDoor| question.door.is_none_or(|wanted| wanted == door.door);
    let doors: Vec<_> = policy::explain(&facts.case).into_iter().filter(wanted).collect();
    Ok(Explanation {
        user: question.user.into(),
        kind: match facts.user.kind {
            UserKind::Application => "application".into(),
            UserKind::EndUser => "end".into(),
        },
        instance: question.instance.to_string(),
        doors: doors.iter().map(|door| facts.door(door)).collect(),
        notes: facts.notes(),
        answer: facts.answer(&doors),
        device: facts.name,
    })
}

/// What was gathered.
struct Facts<'a> {
    config: &'a Config,
    user: &'a User,
    instance: &'a InstanceId,
    /// The device's; `None`: none is asked for.
    name: Option<String>,
    device: Option<&'a Device>,
    case: Case,
    /// What the ledger says, in words.
    certificate: String,
    /// Another instance that has a certificate which counts, where this one has none.
    other_instance: Option<InstanceId>,
}

fn gather<'a>(basis: &'a Basis<'_>, question: &Question<'a>) -> Result<Facts<'a>, Unexplained> {
    let config = basis.config;
    let directory = &config.directory;
    let Some(user) = directory.user(question.user) else {
        let known = unnamed::nearest(question.user, directory.users().map(|user| user.name.as_str()));
        return Err(Unexplained::User { name: question.user.into(), known });
    };
    let known = question.device.and_then(|device| directory.device(device));
    let name = match (known, question.device) {
        (Some(device), _) => Some(device.name.to_string()),
        (None, Some(device)) => Some(unnamed::called(config, device)?),
        (None, None) => None,
    };
    let (certificate, words) = certificate(basis, user, question);
    Ok(Facts {
        config,
        user,
        instance: question.instance,
        device: known.map(|device| &**device),
        case: Case {
            mode: config.mode,
            lenient_doors: config.lenient_doors,
            clear_listens: config.doors.clear.is_some(),
            tls_listens: config.doors.tls.is_some(),
            groups: user.groups,
            has_password: user.password.is_some(),
            password_on_tls: user.password_on_tls,
            locked: user.locked,
            certificate,
            // Where none is asked for, it is about those that the user sees.
            associated: name.as_deref().is_none_or(|name| user.devices.contains(name)),
            // Switches report all calls of a device on its first line, and no other can be restricted.
            restricted: known.is_some_and(|device| !device.line_is_visible(LineNumber::FIRST)),
            recordable: basis.recordable,
        },
        name,
        certificate: words,
        other_instance: if certificate == Certificate::Counts { None } else { other_instance(basis, user, question) },
    })
}

/// The first other instance of the user with a certificate that counts.
fn other_instance(basis: &Basis<'_>, user: &User, question: &Question<'_>) -> Option<InstanceId> {
    let counts = |entry: &&Entry| {
        entry.user == user.name
            && entry.instance != *question.instance
            && entry.status == Status::Issued
            && entry.not_after >= question.now.unix_timestamp()
            && basis.crls.against(entry, question.now).is_none()
    };
    basis.ledger.entries().filter(counts).map(|entry| entry.instance.clone()).min()
}

/// The best certificate that the ledger has of the user and instance.
fn certificate(basis: &Basis<'_>, user: &User, question: &Question<'_>) -> (Certificate, String) {
    let instance = question.instance;
    let by_crl = |entry: &Entry| basis.crls.against(entry, question.now);
    let rank = |entry: &&Entry| {
        let expired = entry.not_after < question.now.unix_timestamp();
        let issued = entry.status == Status::Issued && by_crl(entry).is_none();
        (issued && !expired, issued, entry.not_after)
    };
    let best =
        basis.ledger.entries().filter(|entry| entry.user == user.name && entry.instance == *instance).max_by_key(rank);
    let Some(best) = best else {
        return (Certificate::None, format!("the ledger has no certificate of {}/{instance}", user.name));
    };
    let until = OffsetDateTime::from_unix_timestamp(best.not_after).ok().and_then(|at| at.format(&Rfc3339).ok());
    let until = until.unwrap_or_default();
    let it = format!("the certificate with the serial number {}", best.serial);
    match (&best.status, by_crl(best), rank(&best)) {
        (Status::Revoked { at, reason }, ..) => (Certificate::Revoked, format!("{it} was revoked at {at}: {reason}")),
        (_, Some(NotAccepted::RevokedByCa), _) => (Certificate::Revoked, format!("{it} is on the CRL of its CA")),
        (_, Some(why), _) => (Certificate::StatusUnknown, format!("{it} doesn't count: {why}")),
        (_, None, (true, ..)) => (Certificate::Counts, format!("{it} counts until {until}")),
        (_, None, _) => (Certificate::Expired, format!("{it} expired at {until}")),
    }
}

/// Those that may be meant, in words.
fn nearest(known: &[String], what: &str) -> String {
    match known {
        [] => format!("there is no {what} at all"),
        [name] => format!("the nearest is {name}"),
        names => format!("the nearest are {}", names.join(", ")),
    }
}
