//! The records of R21, on the `tracing` target `audit` until the audit log exists.
//!
//! A record names the key by a keyed fingerprint, never the key. It is written before the key leaves: the worker calls
//! this before it hands the frame to the TLS seal.

use std::{
    fmt,
    net::IpAddr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use callgate_wire::v1::ErrorCode;
use metrics::counter;
use tracing::{info, warn};

use super::{
    identity::Identity,
    refusals::{Kind, Repeated},
};
use crate::{
    hub::Published,
    model::{Door, EventBody, Generation, KeyMaterial, MediaOpened, Protection},
    policy::{Disclosure, Indication, Rule},
    trust::{self, Shown},
};

/// A session was opened.
pub(super) fn opened(session: &str, identity: &Identity, software: &str, peer: IpAddr) {
    counter!("callgate_sessions_opened_total", "door" => identity.door.name()).increment(1);
    info!(target: "audit", record = "opened", session, user = identity.user.name.as_str(), instance = %identity.instance,
        door = identity.door.name(), software, %peer);
}

/// A session ended.
pub(super) fn closed(session: &str, identity: &Identity, code: ErrorCode) {
    counter!("callgate_sessions_closed_total", "code" => code.as_str_name()).increment(1);
    info!(target: "audit", record = "closed", session, user = identity.user.name.as_str(), instance = %identity.instance,
        door = identity.door.name(), code = code.as_str_name(), number = code as i32);
}

/// Counts a refusal that is not told alone.
pub(super) fn count_refusal(code: ErrorCode) {
    counter!("callgate_refusals_total", "code" => code.as_str_name()).increment(1);
}

/// The same refusal, so many times more within a minute. They are counted already.
pub(super) fn refused_again(door: Door, Repeated { kind: Kind { source, user, code, cause }, count }: &Repeated) {
    info!(target: "audit", record = "refused again", door = door.name(), %source, user = user.as_deref().map(shortened),
        count, code = code.as_str_name(), number = *code as i32, cause);
}

/// A connection was refused before it was a session. `cause` is the true reason where the answer hides it (R14). `shown` is
/// the certificate, if there was one: its serial number and subject are what it says of itself, its owner is the ledger's.
pub(super) fn refused(
    door: Door,
    peer: IpAddr,
    user: Option<&str>,
    code: ErrorCode,
    Rule(rule): Rule,
    cause: &str,
    shown: Option<&Shown>,
) {
    count_refusal(code);
    let user = user.map(shortened);
    let sha256 = shown.map(|shown| trust::Fingerprint(shown.sha256).to_hex());
    let (serial, subject_name) = (shown.map(|shown| &*shown.serial), shown.map(|shown| shortened(&shown.subject)));
    let owner = shown.and_then(|shown| shown.owner.as_ref()).map(|(user, instance)| format!("{user}/{instance}"));
    info!(target: "audit", record = "refused", door = door.name(), %peer, user, code = code.as_str_name(),
        number = code as i32, rule, cause, sha256, serial, subject_name, owner);
}

/// Second connections of an instance were refused, since its session is alive (R12): two apps use one certificate, or a
/// stranger has it. They are always counted; `is_told`: this alarm isn't one too many.
pub(super) fn conflict(session: &str, identity: &Identity, refused: usize, is_told: bool) {
    counter!("callgate_instance_conflicts_total").increment(refused as u64);
    if is_told {
        warn!(session, user = identity.user.name.as_str(), instance = %identity.instance, refused,
            "another connection of an instance was refused, since its session is alive: give each running app an instance of \
             its own; if there is only one app, revoke the certificates of its instance, since somebody else has one");
    }
}

/// A request of an open session was refused. It is always counted, and recorded unless the session had its `share` of
/// records for this minute: an app must not fill the log.
pub(super) fn request_refused(session: &str, identity: &Identity, code: ErrorCode, subject: &str, share: &mut Share) {
    counter!("callgate_refusals_total", "code" => code.as_str_name()).increment(1);
    if !share.take(Instant::now()) {
        return;
    }
    let subject = shortened(subject);
    info!(target: "audit", record = "refused", session, user = identity.user.name.as_str(), instance = %identity.instance,
        code = code.as_str_name(), number = code as i32, subject);
}

/// Whether disclosures of this event are recorded. Streams that aren't encrypted have no key, so nothing is.
pub(super) fn is_recorded(published: &Published) -> bool {
    let EventBody::MediaOpened(MediaOpened { protection, .. }) = &published.event.body else { return false };
    !matches!(protection, Protection::Clear)
}

/// The key of a media event leaves to these sessions, or is refused to them: one record, whatever their number, but for
/// the bound on a record's length.
pub(super) fn disclosure<'a>(
    mut receivers: impl Iterator<Item = (&'a str, &'a Identity)>,
    published: &Published,
    fingerprint: &Fingerprint,
    indication: Indication,
    Rule(rule): Rule,
) {
    let EventBody::MediaOpened(MediaOpened { stream, protection, .. }) = &published.event.body else { return };
    let (generation, suite) = match protection {
        Protection::Clear => return,
        Protection::Keyed { generation, keys, .. } => (*generation, keys.suite().name()),
        Protection::Unknown { generation, .. } => (*generation, "unknown"),
    };
    let (indicator, reason) = indication.names();
    let reason = reason.unwrap_or_default();
    let code = indication.refusal();
    let record = if code.is_none() { "disclosed" } else { "refused" };
    let (mut count, mut named) = (0, Receivers::default());
    loop {
        let receiver = receivers.next();
        count += u64::from(receiver.is_some());
        let is_last = receiver.is_none();
        if let Some((session, identity)) = receiver {
            named.add(session, identity);
        }
        if named.is_full() || is_last && !named.is_empty() {
            info!(target: "audit", record, receivers = named.text, device = published.event.device.as_str(),
                call = %published.event.call.id, stream = %stream, generation = number(generation), suite, indicator,
                reason, code = code.map(|code| code.as_str_name()), number = code.map(|code| code as i32), rule,
                fingerprint = %fingerprint);
            named = Receivers::default();
        }
        if is_last {
            break;
        }
    }
    counter!("callgate_disclosures_total", "indicator" => indicator, "reason" => reason).increment(count);
    if let Some(code) = code {
        counter!("callgate_refusals_total", "code" => code.as_str_name()).increment(count);
    }
}

/// The sessions of a record, as `SESSION:USER:INSTANCE:DOOR`, with a `/` between two of them. No name of these can hold a
/// `:` or a `/` (R6, R28), but a user's name may have blanks and an `@` in it.
#[derive(Default)]
struct Receivers {
    text: String,
    count: usize,
}

impl Receivers {
    /// The most sessions of one record.
    const MOST: usize = 64;
    /// Room for so many with names of the usual length; bytes.
    const USUAL: usize = 48 * Self::MOST;

    fn add(&mut self, session: &str, identity: &Identity) {
        if self.text.is_empty() {
            // One allocation for the record, whatever the number of sessions.
            self.text.reserve(Self::USUAL);
        }
        let separator = if self.count == 0 { "" } else { "/" };
        let (user, instance) = (identity.user.name.as_str(), identity.instance.as_str());
        let parts = [separator, session, ":", user, ":", instance, ":", identity.door.name()];
        parts.into_iter().for_each(|part| self.text.push_str(part));
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.count >= Self::MOST
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Why a disclosure that was recorded came to nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Withheld {
    /// The session was closed before the frame left.
    Closed(ErrorCode),
    /// Rights changed before it left, and this is what was decided then.
    Judged(Disclosure),
}

/// A key that was recorded as disclosed did not leave after all (R21).
pub(super) fn withheld(session: &str, identity: &Identity, published: &Published, why: Withheld) {
    let EventBody::MediaOpened(MediaOpened { stream, protection, .. }) = &published.event.body else { return };
    let Protection::Keyed { generation, keys, .. } = protection else { return };
    let (indicator, reason, rule, code) = match why {
        Withheld::Closed(code) => ("", "", callgate_wire::lookup(code).rule, Some(code)),
        Withheld::Judged(Disclosure::Event(indication, Rule(rule))) => {
            let (indicator, reason) = indication.names();
            (indicator, reason.unwrap_or_default(), rule, indication.refusal())
        }
        Withheld::Judged(Disclosure::Nothing(Rule(rule))) => ("", "", rule, Some(ErrorCode::DeviceOutOfService)),
    };
    counter!("callgate_keys_withheld_total", "code" => code.map_or("", |code| code.as_str_name())).increment(1);
    info!(target: "audit", record = "withheld", session, user = identity.user.name.as_str(), instance = %identity.instance,
        door = identity.door.name(), device = published.event.device.as_str(), call = %published.event.call.id,
        stream = %stream, generation = number(*generation), suite = keys.suite().name(), indicator, reason,
        code = code.map(|code| code.as_str_name()), number = code.map(|code| code as i32), rule,
        fingerprint = %Fingerprint::of(published));
}

/// A session goes on with other rights (R15).
pub(super) fn rights_changed(session: &str, identity: &Identity, version: u64) {
    info!(target: "audit", record = "rights_changed", session, user = identity.user.name.as_str(),
        instance = %identity.instance, door = identity.door.name(), version);
}

/// How many refused requests of a session are recorded: so many in a minute.
#[derive(Default)]
pub(super) struct Share {
    since: Option<Instant>,
    taken: u32,
}

impl Share {
    const PER_MINUTE: u32 = 20;

    fn take(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.duration_since(since) >= Duration::from_secs(60)) {
            *self = Self { since: Some(now), taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= Self::PER_MINUTE
    }
}

/// As much of a text from outside as a record takes.
pub(super) fn shortened(text: &str) -> &str {
    const MOST: usize = 128;
    let end = (0..=MOST.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

/// What names a key in records: the beginning of an HMAC under a key that lives as long as the process, in hex.
pub(super) struct Fingerprint(Option<[u8; 16]>);

impl Fingerprint {
    /// The fingerprint of the key that an event carries, if it carries one.
    pub(super) fn of(published: &Published) -> Self {
        match &published.event.body {
            EventBody::MediaOpened(MediaOpened { protection: Protection::Keyed { keys, .. }, .. }) => {
                Self(fingerprint(keys).map(hex))
            }
            _ => Self(None),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_ref().and_then(|hex| str::from_utf8(hex).ok()).unwrap_or("none"))
    }
}

/// Once for all records that a key is in.
fn hex(bytes: [u8; 8]) -> [u8; 16] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let mut hex = [0; 16];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    hex
}

fn fingerprint(keys: &KeyMaterial) -> Option<[u8; 8]> {
    static SECRET: LazyLock<Option<hmac::Key>> =
        LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &aws_lc_rs::rand::SystemRandom::new()).ok());
    let mut context = hmac::Context::with_key(SECRET.as_ref()?);
    context.update(keys.suite().name().as_bytes());
    for master in keys.keys() {
        context.update(master.key.expose());
        context.update(master.salt.expose());
    }
    context.sign().as_ref().first_chunk().copied()
}

fn number(Generation(generation): Generation) -> u32 {
    generation
}
