//! What doors and sessions put on record (R21).
//!
//! A record names the key by a keyed fingerprint, never the key. That of a disclosure is written before the key leaves, and
//! if it can't be written the key doesn't leave; all others are of what is so already, and may wait for the trail.

use std::{
    fmt,
    net::IpAddr,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use callgate_wire::v1::ErrorCode;
use metrics::counter;
use tracing::warn;

use super::{
    identity::Identity,
    refusals::{Kind as Repeats, Repeated},
};
use crate::{
    audit::{Closed, Kind, Receiver, Receivers, Record, Trail, Value},
    hub::Published,
    model::{Door, EventBody, Generation, KeyMaterial, MediaOpened, Protection},
    policy::{Disclosure, Indication, Rule},
    trust::{self, Shown},
};

type Field<'a> = (&'static str, Value<'a>);

/// A session was opened.
pub(super) fn opened(trail: &dyn Trail, session: &str, identity: &Identity, software: &str, peer: IpAddr) {
    counter!("callgate_sessions_opened_total", "door" => identity.door.name()).increment(1);
    let [session, user, instance, door] = whose(session, identity);
    let fields = [session, user, instance, door, ("software", software.into()), ("peer", Value::shown(&peer))];
    trail.write_soon(&Record::new(Kind::Opened, &fields));
}

/// A session ended.
pub(super) fn closed(trail: &dyn Trail, session: &str, identity: &Identity, code: ErrorCode) {
    counter!("callgate_sessions_closed_total", "code" => code.as_str_name()).increment(1);
    let ([session, user, instance, door], [code, number]) = (whose(session, identity), why(code));
    trail.write_soon(&Record::new(Kind::Closed, &[session, user, instance, door, code, number]));
}

/// Counts a refusal that is not told alone.
pub(super) fn count_refusal(code: ErrorCode) {
    counter!("callgate_refusals_total", "code" => code.as_str_name()).increment(1);
}

/// The same refusal, so many times more within a minute. They are counted already.
pub(super) fn refused_again(trail: &dyn Trail, door: Door, Repeated { kind, count }: &Repeated) {
    let Repeats { source, user, code, cause } = kind;
    let [code, number] = why(*code);
    let (source, user) = (("source", Value::shown(source)), ("user", user.as_deref().map(shortened).into()));
    let fields = [
        ("door", door.name().into()),
        source,
        user,
        ("count", (*count).into()),
        code,
        number,
        ("cause", (*cause).into()),
    ];
    trail.write_soon(&Record::new(Kind::ConnectionRefusedAgain, &fields));
}

/// A connection that was refused before it was a session.
pub(super) struct Refusal<'a> {
    pub(super) door: Door,
    pub(super) peer: IpAddr,
    /// The user that it named.
    pub(super) user: Option<&'a str>,
    pub(super) code: ErrorCode,
    pub(super) rule: Rule,
    /// The true reason, where the answer hides it (R14).
    pub(super) cause: &'a str,
    /// The certificate, if there was one: its serial number and subject are what it says of itself, its owner is the
    /// ledger's.
    pub(super) shown: Option<&'a Shown>,
}

/// A connection was refused.
pub(super) fn refused(trail: &dyn Trail, refusal: &Refusal<'_>) {
    let Refusal { door, peer, user, code, rule: Rule(rule), cause, shown } = refusal;
    count_refusal(*code);
    let [code, number] = why(*code);
    let sha256 = shown.map(|shown| trust::Fingerprint(shown.sha256).to_hex());
    let owner = shown.and_then(|shown| shown.owner.as_ref()).map(|(user, instance)| format!("{user}/{instance}"));
    let fields = [
        ("door", door.name().into()),
        ("peer", Value::shown(peer)),
        ("user", user.map(shortened).into()),
        code,
        number,
        ("rule", (*rule).into()),
        ("cause", (*cause).into()),
        ("sha256", sha256.as_deref().into()),
        ("serial", shown.map(|shown| &*shown.serial).into()),
        ("subject_name", shown.map(|shown| shortened(&shown.subject)).into()),
        ("owner", owner.as_deref().into()),
    ];
    trail.write_soon(&Record::new(Kind::ConnectionRefused, &fields));
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
pub(super) fn request_refused(
    trail: &dyn Trail,
    session: &str,
    identity: &Identity,
    code: ErrorCode,
    subject: &str,
    share: &mut Share,
) {
    count_refusal(code);
    if !share.take(Instant::now()) {
        return;
    }
    let ([session, user, instance, _], [code, number]) = (whose(session, identity), why(code));
    let fields = [session, user, instance, code, number, ("subject", shortened(subject).into())];
    trail.write_soon(&Record::new(Kind::RequestRefused, &fields));
}

/// Whether disclosures of this event are recorded. Streams that aren't encrypted have no key, so nothing is.
pub(super) fn is_recorded(published: &Published) -> bool {
    let EventBody::MediaOpened(MediaOpened { protection, .. }) = &published.event.body else { return false };
    !matches!(protection, Protection::Clear)
}

/// Who gets an event in the same form.
pub(super) struct Form<R> {
    pub(super) indication: Indication,
    pub(super) rule: Rule,
    pub(super) receivers: R,
}

/// Records who gets the event of an encrypted stream, and in which forms: one record for each, and all in one write.
///
/// # Errors
/// [`Closed`]: nothing is recorded, and no form that has the key may leave. Without such a form there is no error: then
/// the records may wait.
pub(super) fn disclosure<R: Receivers>(
    trail: &dyn Trail,
    published: &Published,
    fingerprint: &Fingerprint,
    forms: &[Form<R>],
) -> Result<(), Closed> {
    let Some(stream) = Stream::of(published, fingerprint) else { return Ok(()) };
    let fields: Vec<_> = forms.iter().map(|Form { indication, rule, .. }| stream.told(*indication, *rule)).collect();
    let records = forms.iter().zip(&fields).map(|(form, fields)| {
        let kind = if form.indication.refusal().is_none() { Kind::Disclosed } else { Kind::KeyRefused };
        Record::new(kind, fields).to(&form.receivers)
    });
    if forms.iter().any(|form| form.indication == Indication::KeysAvailable) {
        trail.write_all(&records.collect::<Vec<_>>())?;
    } else {
        records.for_each(|record| trail.write_soon(&record));
    }
    for Form { indication, receivers, .. } in forms {
        let mut count = 0;
        receivers.each(&mut |_| count += 1);
        let (indicator, reason) = indication.names();
        let reason = reason.unwrap_or_default();
        counter!("callgate_disclosures_total", "indicator" => indicator, "reason" => reason).increment(count);
        if let Some(code) = indication.refusal() {
            counter!("callgate_refusals_total", "code" => code.as_str_name()).increment(count);
        }
    }
    Ok(())
}

/// A session among those that a record is about.
pub(super) fn receiver<'a>(session: &'a str, identity: &'a Identity) -> Receiver<'a> {
    let (user, instance) = (identity.user.name.as_str(), identity.instance.as_str());
    Receiver { session, user, instance, door: identity.door.name() }
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
pub(super) fn withheld(trail: &dyn Trail, session: &str, identity: &Identity, published: &Published, why: Withheld) {
    let fingerprint = Fingerprint::of(trail, published);
    let Some(stream) = Stream::of(published, &fingerprint) else { return };
    let (indicator, reason, rule, code) = match why {
        Withheld::Closed(code) => ("", "", Rule(callgate_wire::lookup(code).rule), Some(code)),
        Withheld::Judged(Disclosure::Event(indication, rule)) => {
            let (indicator, reason) = indication.names();
            (indicator, reason.unwrap_or_default(), rule, indication.refusal())
        }
        Withheld::Judged(Disclosure::Nothing(rule)) => ("", "", rule, Some(ErrorCode::DeviceOutOfService)),
    };
    counter!("callgate_keys_withheld_total", "code" => code.map_or("", |code| code.as_str_name())).increment(1);
    let fields: Vec<_> =
        whose(session, identity).into_iter().chain(stream.fields(indicator, reason, code, rule)).collect();
    trail.write_soon(&Record::new(Kind::Withheld, &fields));
}

/// A session goes on with other rights (R15).
pub(super) fn rights_changed(trail: &dyn Trail, session: &str, identity: &Identity, version: u64) {
    let [session, user, instance, door] = whose(session, identity);
    trail.write_soon(&Record::new(Kind::RightsChanged, &[session, user, instance, door, ("version", version.into())]));
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

/// What names a key in records: the beginning of an HMAC under a key that is the trail's own, in hex.
pub(super) struct Fingerprint(Option<[u8; 16]>);

impl Fingerprint {
    /// The fingerprint of the key that an event carries, if it carries one.
    pub(super) fn of(trail: &dyn Trail, published: &Published) -> Self {
        match &published.event.body {
            EventBody::MediaOpened(MediaOpened { protection: Protection::Keyed { keys, .. }, .. }) => {
                Self(trail.fingerprint_key().and_then(|secret| fingerprint(secret, keys)).map(hex))
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

fn fingerprint(secret: &hmac::Key, keys: &KeyMaterial) -> Option<[u8; 8]> {
    let mut context = hmac::Context::with_key(secret);
    context.update(keys.suite().name().as_bytes());
    for master in keys.keys() {
        context.update(master.key.expose());
        context.update(master.salt.expose());
    }
    context.sign().as_ref().first_chunk().copied()
}

/// An encrypted stream in a record.
struct Stream<'a> {
    published: &'a Published,
    media: &'a MediaOpened,
    generation: Generation,
    suite: &'static str,
    fingerprint: &'a Fingerprint,
}

impl<'a> Stream<'a> {
    fn of(published: &'a Published, fingerprint: &'a Fingerprint) -> Option<Self> {
        let EventBody::MediaOpened(media) = &published.event.body else { return None };
        let (generation, suite) = match &media.protection {
            Protection::Clear => return None,
            Protection::Keyed { generation, keys, .. } => (*generation, keys.suite().name()),
            Protection::Unknown { generation, .. } => (*generation, "unknown"),
        };
        Some(Self { published, media, generation, suite, fingerprint })
    }

    fn told(&self, indication: Indication, rule: Rule) -> [Field<'a>; 11] {
        let (indicator, reason) = indication.names();
        self.fields(indicator, reason.unwrap_or_default(), indication.refusal(), rule)
    }

    fn fields(
        &self,
        indicator: &'static str,
        reason: &'static str,
        code: Option<ErrorCode>,
        Rule(rule): Rule,
    ) -> [Field<'a>; 11] {
        let (event, Generation(generation)) = (&self.published.event, self.generation);
        let [code, number] = code.map_or([("code", Value::Absent), ("number", Value::Absent)], why);
        [
            ("device", event.device.as_str().into()),
            ("call", Value::shown(&event.call.id)),
            ("stream", Value::shown(&self.media.stream)),
            ("generation", generation.into()),
            ("suite", self.suite.into()),
            ("indicator", indicator.into()),
            ("reason", reason.into()),
            code,
            number,
            ("rule", rule.into()),
            ("fingerprint", Value::shown(self.fingerprint)),
        ]
    }
}

fn whose<'a>(session: &'a str, identity: &'a Identity) -> [Field<'a>; 4] {
    let Identity { user, instance, door, .. } = identity;
    [
        ("session", session.into()),
        ("user", user.name.as_str().into()),
        ("instance", Value::shown(instance)),
        ("door", door.name().into()),
    ]
}

/// The code of a refusal or an end, and its number.
fn why(code: ErrorCode) -> [Field<'static>; 2] {
    [("code", code.as_str_name().into()), ("number", (code as i32).unsigned_abs().into())]
}
