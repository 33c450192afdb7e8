//! Every kind of record as it stands in the log, and as docs/MONITORING.md shows it.

use std::{net::IpAddr, sync::Arc};

use callgate_wire::v1::ErrorCode;

use super::super::{
    LogFields,
    audit::{self, Fingerprint, Form, Refusal, Share, Withheld},
    identity::Identity,
    log_fields::tests::Kept,
    refusals::{Kind, Repeated},
};
use crate::{
    audit::{LogTarget, Receiver},
    directory::{User, UserKind},
    hub::{Ask, Hub, Published, SessionKey, WorkerId},
    model::{
        CallDirection, CallId, CallRef, DeviceName, Door, EventBody, Generation, Groups, KeyMaterial, LineNumber,
        MasterKey, MediaOpened, Protection, Secret, SessionParameters, StreamDirection, StreamId, Suite, SwitchEvent,
        Timestamp,
    },
    policy::{Disclosure, Indication, Rule},
    trust::{NotAccepted, Shown},
};

/// The lines that `work` logs, without time and level.
fn logged(work: impl FnOnce()) -> Vec<String> {
    let kept = Kept::default();
    let subscriber = tracing_subscriber::fmt()
        .without_time()
        .with_level(false)
        .with_ansi(false)
        .with_writer(kept.clone())
        .fmt_fields(LogFields);
    tracing::subscriber::with_default(subscriber.finish(), work);
    kept.text().lines().map(str::to_owned).collect()
}

fn identity(user: &str, instance: &str, door: Door) -> Identity {
    let user = User {
        name: user.parse().unwrap(),
        kind: UserKind::Application,
        groups: Groups::default(),
        devices: Arc::default(),
        password: None,
        locked: false,
        password_on_tls: false,
        incarnation: 0,
    };
    Identity {
        user: Arc::new(user),
        instance: instance.parse().unwrap(),
        door,
        password_proven: false,
        certificate: None,
    }
}

/// A key is in use on a stream of the device.
fn published(device: &str) -> Arc<Published> {
    let device: DeviceName = device.parse().unwrap();
    let mut hub = Hub::new([device.clone()], 0);
    hub.answer(WorkerId(0), SessionKey { place: 0, turn: 0 }, Ask::Subscribe(device.clone()));
    let call = CallRef {
        id: CallId(0x006_60ea_429d_7e10),
        switch: "pbx".parse().unwrap(),
        switch_call: None,
        sip_call_id: "a".into(),
        direction: CallDirection::Outgoing,
        calling: Default::default(),
        called: Default::default(),
    };
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::new(suite, &Secret::new((0..30).collect()), None, None).unwrap();
    let keys = Arc::new(KeyMaterial::new(suite, vec![master], SessionParameters::default()).unwrap());
    let body = EventBody::MediaOpened(MediaOpened {
        stream: StreamId(0x006_60ea_429d_7e11),
        direction: StreamDirection::Sent,
        destination: "192.0.2.1:4000".parse().unwrap(),
        likely_source: None,
        media: "audio".into(),
        codecs: [].into(),
        protection: Protection::Keyed { generation: Generation::FIRST, since: Timestamp(0), keys },
    });
    let event = SwitchEvent { at: Timestamp(0), device, line: LineNumber::FIRST, call: Arc::new(call), body };
    hub.publish(event).unwrap().unwrap().event
}

/// Logs that these sessions get the event in this form.
fn disclose(event: &Published, indication: Indication, sessions: &[(&str, &Identity)]) {
    let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
        sessions.iter().for_each(|(session, identity)| tell(audit::receiver(session, identity)));
    };
    let form = Form { indication, rule: Rule("R16"), receivers };
    audit::disclosure(&LogTarget, event, &Fingerprint::of(&LogTarget, event), &[form]).unwrap();
}

fn refusal(peer: IpAddr, why: NotAccepted, shown: &Shown) -> Refusal<'_> {
    let (code, rule, cause, shown) = (why.code(), Rule("R3"), why.text(), Some(shown));
    Refusal { door: Door::Tls, peer, user: None, code, rule, cause, shown }
}

/// The value of a field, whose name stands once in the line.
fn field<'a>(line: &'a str, name: &str) -> &'a str {
    line.split_once(&format!(" {name}=\"")).unwrap().1.split('"').next().unwrap()
}

#[test]
fn r21_the_page_shows_every_kind_of_record() {
    let (session, other) = ("s0660ea429d7e0", "s0660ea429d7e1");
    let (recorder, dashboard) = (identity("recorder", "1", Door::Tls), identity("dashboard", "2", Door::Clear));
    let event = published("1001");
    let fingerprint = Fingerprint::of(&LogTarget, &event);
    let peer: IpAddr = "192.0.2.7".parse().unwrap();
    let mut share = Share::default();
    let lines = logged(|| {
        let log = &LogTarget;
        audit::opened(log, session, &recorder, "recorder 2.1", peer);
        disclose(&event, Indication::KeysAvailable, &[(session, &recorder), (other, &recorder)]);
        disclose(&event, Indication::UserNotAuthorized, &[(other, &dashboard)]);
        let why = Withheld::Judged(Disclosure::Event(Indication::UserNotAuthorized, Rule("R16")));
        audit::withheld(log, session, &recorder, &event, why);
        audit::withheld(log, session, &recorder, &event, Withheld::Closed(ErrorCode::SlowConsumer));
        audit::rights_changed(log, session, &recorder, 2);
        audit::request_refused(log, session, &recorder, ErrorCode::DeviceUnknown, "1009", &mut share);
        audit::closed(log, session, &recorder, ErrorCode::HeartbeatTimeout);
        let (code, cause) = (ErrorCode::AuthenticationFailed, "wrong password");
        let (door, user) = (Door::Clear, Some("dashboard"));
        audit::refused(log, &Refusal { door, peer, user, code, rule: Rule("R14"), cause, shown: None });
        let kind = Kind { source: peer, user: Some("dashboard".into()), code, cause };
        audit::refused_again(log, Door::Clear, &Repeated { kind, count: 29 });
        let owner = Some((recorder.user.name.clone(), recorder.instance.clone()));
        let shown = Shown { sha256: [0x5f; 32], serial: "4c01a7".into(), subject: "CN=recorder/1".into(), owner };
        audit::refused(log, &refusal(peer, NotAccepted::Revoked, &shown));
    });
    let hex = fingerprint.to_string();
    assert!(hex.len() == 16 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{hex}");
    // It is another one in each process.
    let lines: Vec<_> = lines.iter().map(|line| line.replace(&hex, "4be1c07a95d2f386")).collect();
    let block = format!("```text\n{}\n```\n", lines.join("\n"));
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/MONITORING.md")).unwrap();
    assert!(page.contains(&block), "docs/MONITORING.md lacks this block:\n{block}");
}

#[test]
fn r21_receivers_are_told_apart_whatever_their_names_are() {
    let odd = identity("a b@c", "x9", Door::Clear);
    let quoted = identity("d\" user=\"e", "1", Door::Tls);
    let event = published("front desk 1");
    let lines = logged(|| {
        disclose(&event, Indication::KeysAvailable, &[("s1", &odd), ("s2", &quoted), ("s3", &odd)]);
        audit::opened(&LogTarget, "s1", &odd, "", [127, 0, 0, 1].into());
    });
    let expected =
        r#" receivers="s1:a b@c:x9:clear/s2:d\" user=\"e:1:tls/s3:a b@c:x9:clear" device="front desk 1" call="#;
    assert!(lines[0].contains(expected), "{lines:?}");
    assert_eq!(field(&lines[1], "user"), "a b@c");
}

#[test]
fn r21_a_certificate_s_own_words_break_no_record() {
    let shown = Shown {
        sha256: [0; 32],
        serial: String::new(),
        subject: format!("CN=a\"\naudit: record=\"opened\"{}", "x".repeat(5_000)),
        owner: None,
    };
    let refusal = refusal([192, 0, 2, 7].into(), NotAccepted::UnknownIssuer, &shown);
    let lines = logged(|| audit::refused(&LogTarget, &refusal));
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert!(line.contains(r#" subject_name="CN=a\"\naudit: record=\"opened\"xxx"#), "{line}");
    assert!(line.len() < 600 && !line.contains("owner"), "{line}");
}

#[test]
fn r21_a_record_has_a_bound_and_the_next_one_has_the_rest() {
    let (recorder, event) = (identity("recorder", "1", Door::Tls), published("1001"));
    let sessions: Vec<_> = (0..150).map(|number| format!("s{number:013x}")).collect();
    let receivers: Vec<_> = sessions.iter().map(|session| (session.as_str(), &recorder)).collect();
    let lines = logged(|| disclose(&event, Indication::KeysAvailable, &receivers));
    let named: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| field(line, "receivers").split('/').map(|one| one.split(':').next().unwrap()).collect())
        .collect();
    assert_eq!(named.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 22]);
    assert_eq!(named.concat(), sessions);
}
