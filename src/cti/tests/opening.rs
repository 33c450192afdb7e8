use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::v1::{self, ErrorCode, ToGateway, open_request::Authentication, to_app, to_gateway::Message};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    config::SASLConfig,
    mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS},
    mechname::Mechname,
    prelude::{ChannelBindingCallback, Mechanism, Registry, SASLClient, Session, SessionError},
    property::{AuthId, Password},
    validate::NoValidation,
};

use super::{super::opening::*, super::scram::Decoy, *};
use crate::{model::Door, trust::CertificateIdentity};

fn opening(mode: Mode, certificate: Option<(&str, &str)>) -> Opening {
    let rights = rights(mode);
    let decoy = Decoy::new(&rights.directory).unwrap();
    let certificate = certificate.map(|(user, instance)| CertificateIdentity {
        user: user.parse().unwrap(),
        instance: instance.parse().unwrap(),
        sha256: [0; 32],
        not_after_unix: 1_900_000_000,
    });
    let binding = certificate.is_some().then_some(BINDING);
    Opening::new(settings(), rights, decoy, certificate, binding)
}

/// What the connection of the TLS door exports.
const BINDING: [u8; 32] = [7; 32];

/// What an app knows.
struct App {
    user: String,
    password: String,
    is_bound: bool,
}

impl SessionCallback for App {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        request.satisfy::<AuthId>(&self.user)?.satisfy::<Password>(self.password.as_bytes())?;
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.is_bound
    }
}

/// What an app has, and binds its exchange to.
struct Bound(Option<[u8; 32]>);

impl ChannelBindingCallback for Bound {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_ref().filter(|_| name == "tls-exporter").map(<[u8; 32]>::as_slice)
    }
}

fn send(opening: &mut Opening, message: Message) -> Next {
    opening.on_message(ToGateway { request_id: 1, message: Some(message) })
}

fn hello(opening: &mut Opening) {
    let hello = v1::Hello { versions: vec![v1::Version { major: 1, minor: 7 }], ..Default::default() };
    match send(opening, Message::Hello(hello)) {
        Next::Reply(to_app::Message::Welcome(welcome)) => {
            assert_eq!(welcome.version, Some(v1::Version { major: 1, minor: 0 }));
        }
        _ => panic!("no welcome"),
    }
}

fn open(user: &str, instance: &str, authentication: Authentication) -> Message {
    Message::Open(v1::OpenRequest {
        user: user.into(),
        instance: instance.into(),
        heartbeat_seconds: 10,
        authentication: Some(authentication),
    })
}

fn certificate() -> Authentication {
    Authentication::Certificate(v1::CertificateAuth {})
}

fn refused(next: Next) -> (ErrorCode, &'static str) {
    match next {
        Next::Refuse(refused) => (refused.code, refused.rule.0),
        Next::Open(_) => panic!("opened"),
        Next::Reply(reply) => panic!("{reply:?}"),
    }
}

fn admitted(next: Next) -> Admitted {
    match next {
        Next::Open(admitted) => admitted,
        Next::Refuse(refused) => panic!("{refused:?}"),
        Next::Reply(reply) => panic!("{reply:?}"),
    }
}

fn scram(user: &str, password: &str, bound: Option<[u8; 32]>) -> (Session<NoValidation, Bound>, Authentication) {
    let app = App { user: user.into(), password: password.into(), is_bound: bound.is_some() };
    static MECHANISMS: &[Mechanism] = &[SCRAM_SHA256];
    static BOUND_MECHANISMS: &[Mechanism] = &[SCRAM_SHA256_PLUS];
    let registry = Registry::with_mechanisms(if bound.is_some() { BOUND_MECHANISMS } else { MECHANISMS });
    let config = SASLConfig::builder().with_registry(registry).with_callback(app).unwrap();
    let mechanism = if bound.is_some() { "SCRAM-SHA-256-PLUS" } else { "SCRAM-SHA-256" };
    let name = Mechname::parse(mechanism.as_bytes()).unwrap();
    let mut client = SASLClient::with_cb(config, Bound(bound)).start_suggested([&name]).unwrap();
    let mut first = Vec::new();
    client.step(None, &mut first).unwrap();
    let scram = v1::ScramAuth { mechanism: mechanism.into(), initial_response: first.into() };
    (client, Authentication::Scram(scram))
}

/// Runs the whole exchange. Returns the server-first-message too.
fn by_password(opening: &mut Opening, open_as: &str, prove_as: &str, password: &str) -> (Vec<u8>, Next) {
    by_both(opening, open_as, prove_as, password, None)
}

/// The same, bound to a connection.
fn by_both(
    opening: &mut Opening,
    open_as: &str,
    prove_as: &str,
    password: &str,
    bound: Option<[u8; 32]>,
) -> (Vec<u8>, Next) {
    hello(opening);
    let (mut client, authentication) = scram(prove_as, password, bound);
    let challenge = match send(opening, open(open_as, "1", authentication)) {
        Next::Reply(to_app::Message::AuthChallenge(challenge)) => challenge.data.to_vec(),
        next => return (Vec::new(), next),
    };
    let mut proof = Vec::new();
    client.step(Some(&challenge), &mut proof).unwrap();
    (challenge, send(opening, Message::AuthResponse(v1::AuthResponse { data: proof.into() })))
}

#[test]
fn r11_a_certificate_opens_as_its_own_user_and_instance_only() {
    let attempt = |user: &str, instance: &str| {
        let mut opening = opening(Mode::Mixed, Some(("recorder", "1")));
        hello(&mut opening);
        send(&mut opening, open(user, instance, certificate()))
    };
    let opened = admitted(attempt("recorder", "1"));
    assert_eq!((opened.heartbeat_seconds, opened.certificate_expires), (10, Some(1_900_000_000)));
    assert_eq!(opened.identity.door.name(), "tls");
    let mismatch = (ErrorCode::CertificateIdentityMismatch, "R11");
    assert_eq!(refused(attempt("recorder", "2")), mismatch);
    assert_eq!(refused(attempt("boss", "1")), mismatch);
    assert_eq!(refused(attempt("nobody", "1")), mismatch);
}

#[test]
fn r9_a_user_that_left_the_directory_can_t_open_by_its_certificate() {
    let mut opening = opening(Mode::Mixed, Some(("gone", "1")));
    hello(&mut opening);
    assert_eq!(refused(send(&mut opening, open("gone", "1", certificate()))), (ErrorCode::CtiNotEnabled, "R9"));
}

#[test]
fn r14_the_right_password_opens_on_the_clear_door() {
    let (_, next) = by_password(&mut opening(Mode::Mixed, None), "dashboard", "dashboard", "pencil");
    let opened = admitted(next);
    assert!(opened.scram_server_final.starts_with(b"v="));
    assert_eq!(opened.certificate_expires, None);
}

#[test]
fn r14_wrong_password_unknown_user_locked_user_and_no_password_are_answered_alike() {
    let attempt = |user, password| {
        let (challenge, next) = by_password(&mut opening(Mode::Mixed, None), user, user, password);
        let challenge = String::from_utf8(challenge).unwrap();
        let fields: Vec<_> = challenge.split(',').map(|field| (field[..2].to_owned(), field.len())).collect();
        let iterations = challenge.rsplit(',').next().unwrap().to_owned();
        (fields, iterations, refused(next))
    };
    let wrong_password = attempt("dashboard", "pen");
    assert_eq!(wrong_password.2, (ErrorCode::AuthenticationFailed, "R14"));
    assert_eq!(wrong_password.1, "i=4096");
    assert_eq!(attempt("nobody", "pencil"), wrong_password);
    assert_eq!(attempt("keyless", "pencil"), wrong_password);
    assert_eq!(attempt("shut", "pencil"), wrong_password);
    // R9 and R10 show only to those who have proven who they are.
    assert_eq!(attempt("outsider", "pen"), wrong_password);
    assert_eq!(attempt("recorder", "pen"), wrong_password);
}

#[test]
fn r14_an_unknown_user_has_the_same_salt_at_each_try() {
    let rights = rights(Mode::Mixed);
    let decoy = Decoy::new(&rights.directory).unwrap();
    let salt = |user: &str| {
        let mut opening = Opening::new(settings(), Arc::clone(&rights), decoy.clone(), None, None);
        let (challenge, _) = by_password(&mut opening, user, user, "x");
        String::from_utf8(challenge).unwrap().split(',').nth(1).unwrap().to_owned()
    };
    assert_eq!(salt("nobody"), salt("nobody"));
    assert_ne!(salt("nobody"), salt("noone"));
}

#[test]
fn r14_proving_to_be_another_user_doesn_t_help() {
    let (_, next) = by_password(&mut opening(Mode::Mixed, None), "boss", "dashboard", "pencil");
    assert_eq!(refused(next), (ErrorCode::AuthenticationFailed, "R14"));
}

#[test]
fn r9_r10_are_judged_after_the_password() {
    let attempt = |mode, user| refused(by_password(&mut opening(mode, None), user, user, "pencil").1);
    assert_eq!(attempt(Mode::Mixed, "outsider"), (ErrorCode::CtiNotEnabled, "R9"));
    let mut closed = opening(Mode::Mixed, Some(("dashboard", "1")));
    hello(&mut closed);
    let next = send(&mut closed, open("dashboard", "1", certificate()));
    assert_eq!(refused(next), (ErrorCode::UserNotAuthorizedForSecurity, "R10"));
}

#[test]
fn each_door_has_its_own_authentication() {
    let mut clear = opening(Mode::Mixed, None);
    hello(&mut clear);
    let refusal = (ErrorCode::AuthenticationMethodRefused, "R14");
    assert_eq!(refused(send(&mut clear, open("recorder", "1", certificate()))), refusal);

    let mut tls = opening(Mode::Mixed, Some(("recorder", "1")));
    hello(&mut tls);
    assert_eq!(refused(send(&mut tls, open("recorder", "1", scram("recorder", "x", None).1))), refusal);

    let mut other = opening(Mode::Mixed, None);
    hello(&mut other);
    let plain = v1::ScramAuth { mechanism: "PLAIN".into(), initial_response: "\0dashboard\0pencil".into() };
    assert_eq!(refused(send(&mut other, open("dashboard", "1", Authentication::Scram(plain)))), refusal);
}

#[test]
fn r14_a_password_besides_the_certificate_is_proven_on_its_own_connection_only() {
    let failed = (ErrorCode::AuthenticationFailed, "R14");
    let attempt = |certificate: &str, user: &str, password: &str, bound| {
        by_both(&mut opening(Mode::Mixed, Some((certificate, "1"))), user, user, password, bound)
    };
    let opened = admitted(attempt("careful", "careful", "pencil", Some(BINDING)).1);
    assert!(opened.scram_server_final.starts_with(b"v=") && opened.identity.password_proven);
    assert_eq!((opened.identity.door, opened.certificate_expires), (Door::Tls, Some(1_900_000_000)));
    assert_eq!(refused(attempt("careful", "careful", "pen", Some(BINDING)).1), failed);
    assert_eq!(refused(attempt("careful", "careful", "pencil", Some([8; 32])).1), failed);
    // Who needs no password may prove it, or has none to prove.
    assert_eq!(refused(attempt("recorder", "recorder", "pencil", Some(BINDING)).1), failed);
    // Without a challenge: not even a right password of another user is told from a wrong one.
    let (challenge, next) = attempt("recorder", "careful", "pencil", Some(BINDING));
    assert_eq!((challenge, refused(next)), (vec![], (ErrorCode::CertificateIdentityMismatch, "R11")));

    let mut tls = opening(Mode::Mixed, Some(("careful", "1")));
    hello(&mut tls);
    let needed = (ErrorCode::PasswordRequired, "R14");
    assert_eq!(refused(send(&mut tls, open("careful", "1", certificate()))), needed);
}

#[test]
fn r14_an_exchange_that_is_to_be_bound_begins_by_its_binding() {
    for first in ["n,,n=careful,r=abc", "y,,n=careful,r=abc", "p=tls-unique,,n=careful,r=abc", "p=tls-exporter"] {
        let mut tls = opening(Mode::Mixed, Some(("careful", "1")));
        hello(&mut tls);
        let mechanism = callgate_wire::SCRAM_SHA_256_PLUS.into();
        let scram = v1::ScramAuth { mechanism, initial_response: first.as_bytes().to_vec().into() };
        let next = send(&mut tls, open("careful", "1", Authentication::Scram(scram)));
        assert_eq!(refused(next), (ErrorCode::AuthenticationFailed, "R14"), "{first}");
    }
}

#[test]
fn r14_a_locked_user_opens_by_its_certificate_no_more_than_by_its_password() {
    let mut tls = opening(Mode::Mixed, Some(("shut", "1")));
    hello(&mut tls);
    let failed = (ErrorCode::AuthenticationFailed, "R14");
    assert_eq!(refused(send(&mut tls, open("shut", "1", certificate()))), failed);
    let both = by_both(&mut opening(Mode::Mixed, Some(("shut", "1"))), "shut", "shut", "pencil", Some(BINDING));
    assert_eq!(refused(both.1), failed);
}

/// Medians of tries by turns, so that whatever else the machine does is in all of them.
#[test]
fn r14_whatever_is_wrong_it_takes_the_same_time() {
    const USERS: [&str; 4] = ["dashboard", "nobody", "keyless", "shut"];
    let (rights, settings) = (rights(Mode::Mixed), settings());
    let decoy = Decoy::new(&rights.directory).unwrap();
    let attempt = |user: &str| {
        let mut opening = Opening::new(Arc::clone(&settings), Arc::clone(&rights), decoy.clone(), None, None);
        hello(&mut opening);
        let first = format!("n,,n={user},r=abcdefgh").into_bytes();
        let scram = v1::ScramAuth { mechanism: "SCRAM-SHA-256".into(), initial_response: first.into() };
        let begun = Instant::now();
        let next = send(&mut opening, open(user, "1", Authentication::Scram(scram)));
        let mut took = begun.elapsed();
        let Next::Reply(to_app::Message::AuthChallenge(challenge)) = next else { panic!("no challenge") };
        let nonce = str::from_utf8(&challenge.data).unwrap().split(',').next().unwrap();
        let proof = format!("c=biws,{nonce},p={}=", "A".repeat(43)).into_bytes();
        let begun = Instant::now();
        let next = send(&mut opening, Message::AuthResponse(v1::AuthResponse { data: proof.into() }));
        took += begun.elapsed();
        assert_eq!(refused(next), (ErrorCode::AuthenticationFailed, "R14"), "{user}");
        took
    };
    let medians = || {
        let mut times = USERS.map(|_| Vec::new());
        // Each one is first, second and so on as often as the others: what the memory's allocator does depends on it.
        for first in 0..1_000 {
            for user in (0..USERS.len()).map(|place| (first + place) % USERS.len()) {
                times[user].push(attempt(USERS[user]));
            }
        }
        times.map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
    };
    // What differs each time is in what is done; what differs once is the machine's.
    let differ = |medians: [Duration; 4]| {
        let (least, most) = (medians.iter().min().unwrap(), medians.iter().max().unwrap());
        (*most > *least * 11 / 10).then_some(medians)
    };
    let differed: Vec<_> = (0..5).map_while(|_| differ(medians())).collect();
    assert!(differed.len() < 5, "{USERS:?}: {differed:?}");
}

#[test]
fn messages_out_of_order_are_refused() {
    let out_of_order = (ErrorCode::OutOfOrder, "R43");
    let heartbeat = || Message::Heartbeat(v1::Heartbeat {});
    assert_eq!(refused(send(&mut opening(Mode::Mixed, None), heartbeat())), out_of_order);
    assert_eq!(refused(opening(Mode::Mixed, None).on_message(ToGateway::default())), out_of_order);

    let mut twice = opening(Mode::Mixed, None);
    hello(&mut twice);
    assert_eq!(refused(send(&mut twice, Message::Hello(v1::Hello::default()))), out_of_order);
    // After a refusal there is no second try on the same connection.
    assert_eq!(refused(send(&mut twice, Message::Hello(v1::Hello::default()))), out_of_order);
}

#[test]
fn a_version_is_agreed_on_or_the_connection_ends() {
    let versions = vec![v1::Version { major: 2, minor: 0 }, v1::Version { major: 9, minor: 1 }];
    let next = send(&mut opening(Mode::Mixed, None), Message::Hello(v1::Hello { versions, ..Default::default() }));
    assert_eq!(refused(next), (ErrorCode::VersionUnsupported, "R43"));
}

#[test]
fn r28_an_instance_that_is_none_is_refused() {
    for instance in ["", "a b", "ä", &"x".repeat(129)] {
        let mut opening = opening(Mode::Mixed, Some(("recorder", "1")));
        hello(&mut opening);
        let next = send(&mut opening, open("recorder", instance, certificate()));
        assert_eq!(refused(next), (ErrorCode::InvalidInstance, "R28"));
    }
}

#[test]
fn r39_the_heartbeat_is_agreed_within_the_range() {
    for (wish, agreed) in [(0, 30), (1, 5), (60, 60), (u32::MAX, 300)] {
        let mut opening = opening(Mode::Mixed, Some(("recorder", "1")));
        hello(&mut opening);
        let request = v1::OpenRequest {
            user: "recorder".into(),
            instance: "1".into(),
            heartbeat_seconds: wish,
            authentication: Some(certificate()),
        };
        assert_eq!(admitted(send(&mut opening, Message::Open(request))).heartbeat_seconds, agreed);
    }
}
