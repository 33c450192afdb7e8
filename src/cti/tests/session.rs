use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::v1::{self, ErrorCode, ToGateway, to_app, to_gateway::Message};

use super::{
    super::{identity::Identity, renewal::Renewal, session::*},
    *,
};
use crate::{
    hub::{Hub, SessionKey, WorkerId},
    model::{Door, EventClass},
};

const KEY: SessionKey = SessionKey { place: 0, turn: 0 };
const HEARTBEAT: Duration = Duration::from_secs(30);

fn session_of(user: &str, now: Instant) -> Session {
    let rights = rights(Mode::Mixed);
    let user = Arc::clone(rights.directory.user(user).unwrap());
    let identity =
        Identity { user, instance: "1".parse().unwrap(), door: Door::Clear, password_proven: true, certificate: None };
    Session::new(identity, settings(), rights, HEARTBEAT, now)
}

fn session(user: &str) -> Session {
    session_of(user, Instant::now())
}

fn ask(session: &mut Session, message: Message) -> Option<Action> {
    session.on_message(ToGateway { request_id: 7, message: Some(message) })
}

fn list(name_contains: &str, page_size: u32, page_token: &str) -> Message {
    Message::ListDevices(v1::ListDevices {
        name_contains: name_contains.into(),
        page_size,
        page_token: page_token.into(),
    })
}

fn monitor(device: &str, classes: &[v1::EventClass]) -> Message {
    let classes = classes.iter().map(|class| (*class).into()).collect();
    Message::Monitor(v1::MonitorDevice { device: device.into(), classes })
}

fn unmonitor(device: &str, classes: &[v1::EventClass]) -> Message {
    let classes = classes.iter().map(|class| (*class).into()).collect();
    Message::Unmonitor(v1::UnmonitorDevice { device: device.into(), classes })
}

fn listed(action: Option<Action>) -> (Vec<String>, String) {
    match action {
        Some(Action::Send(7, to_app::Message::DeviceList(list))) => {
            (list.devices.into_iter().map(|device| device.name).collect(), list.next_page_token)
        }
        other => panic!("{other:?}"),
    }
}

fn refused(action: Option<Action>) -> ErrorCode {
    match action {
        Some(Action::Refuse(7, code, _)) => code,
        other => panic!("{other:?}"),
    }
}

fn hub() -> Hub {
    Hub::new(["1001", "1002", "1003", "1009"].map(|name| name.parse().unwrap()), 1)
}

/// Lets the hub answer.
fn answered(session: &mut Session, hub: &mut Hub, action: Option<Action>) -> Vec<Action> {
    match action {
        Some(Action::Ask(token, ask)) => match hub.answer(WorkerId(0), KEY, ask) {
            Some(answer) => session.on_answer(token, answer),
            None => Vec::new(),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn r13_a_list_holds_associated_devices_that_aren_t_restricted() {
    assert_eq!(
        listed(ask(&mut session("recorder"), list("", 0, ""))),
        (vec!["1001".into(), "1002".into()], String::new())
    );
    assert_eq!(listed(ask(&mut session("keyless"), list("", 0, ""))), (vec![], String::new()));
}

#[test]
fn lists_are_paged_and_filtered() {
    let mut session = session("recorder");
    assert_eq!(listed(ask(&mut session, list("", 1, ""))), (vec!["1001".into()], "1001".into()));
    assert_eq!(listed(ask(&mut session, list("", 1, "1001"))), (vec!["1002".into()], String::new()));
    assert_eq!(listed(ask(&mut session, list("02", 1, ""))), (vec!["1002".into()], String::new()));
    assert_eq!(refused(ask(&mut session, list("", 501, ""))), ErrorCode::InvalidArgument);
    assert_eq!(refused(ask(&mut session, list("", 1, "\n"))), ErrorCode::PageTokenInvalid);
}

#[test]
fn r13_control_of_all_devices_lists_all_but_restricted_ones() {
    let (mut session, mut hub) = (session("boss"), hub());
    let asked = ask(&mut session, list("", 0, ""));
    let answers = answered(&mut session, &mut hub, asked);
    let listed = listed(answers.into_iter().next());
    assert_eq!(listed, (vec!["1001".into(), "1002".into(), "1003".into()], String::new()));
}

#[test]
fn r13_a_page_of_restricted_devices_alone_is_not_the_last_one() {
    let mut session = session("boss");
    let mut hub = Hub::new(["1008", "1009", "1010"].map(|name| name.parse().unwrap()), 1);
    let asked = ask(&mut session, list("", 1, "1008"));
    let more = answered(&mut session, &mut hub, asked).pop();
    let answers = answered(&mut session, &mut hub, more);
    assert_eq!(listed(answers.into_iter().next()), (vec!["1010".into()], String::new()));
}

#[test]
fn r13_restricted_lines_are_not_listed() {
    match ask(&mut session("dashboard"), list("1003", 0, "")) {
        Some(Action::Send(7, to_app::Message::DeviceList(list))) => {
            assert_eq!(list.devices[0].lines, [v1::Line { line: 1, number: "1003".into() }]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn r13_what_isn_t_associated_is_answered_like_what_isn_t_there() {
    let mut session = session("recorder");
    for device in ["1003", "1009", "nothing", ""] {
        assert_eq!(refused(ask(&mut session, monitor(device, &[]))), ErrorCode::DeviceUnknown);
        let snapshot = Message::Snapshot(v1::SnapshotDevice { device: device.into() });
        assert_eq!(refused(ask(&mut session, snapshot)), ErrorCode::DeviceUnknown);
    }
}

#[test]
fn monitoring_begins_with_a_snapshot_and_ends_class_by_class() {
    let (mut session, mut hub) = (session("recorder"), hub());
    let asked = ask(&mut session, monitor("1001", &[]));
    match &answered(&mut session, &mut hub, asked)[..] {
        [Action::Watch(device, Classes::ALL, _), Action::Send(7, to_app::Message::Monitored(monitored))] => {
            assert_eq!((device.as_str(), monitored.classes.as_slice()), ("1001", &[3, 4][..]));
            assert_eq!(monitored.snapshot.as_ref().unwrap().device, "1001");
        }
        other => panic!("{other:?}"),
    }
    let asked = ask(&mut session, unmonitor("1001", &[v1::EventClass::Media]));
    match &answered(&mut session, &mut hub, asked)[..] {
        [Action::Keep(_, classes), Action::Send(7, to_app::Message::Unmonitored(left))] => {
            assert!(classes.contains(EventClass::Call) && !classes.contains(EventClass::Media));
            assert_eq!(left.classes, [3]);
        }
        other => panic!("{other:?}"),
    }
    let asked = ask(&mut session, unmonitor("1001", &[]));
    let answers = answered(&mut session, &mut hub, asked);
    assert!(matches!(&answers[..], [Action::Keep(..), Action::Send(7, _), Action::Forget(_)]), "{answers:?}");
    assert_eq!(session.monitored().count(), 0);
    // What isn't monitored can be unmonitored: nothing is left of it, as was asked.
    let asked = ask(&mut session, unmonitor("1001", &[]));
    assert_eq!(answered(&mut session, &mut hub, asked).len(), 2);
}

#[test]
fn requests_that_don_t_wait_for_answers_are_answered_as_if_they_did() {
    let (mut session, mut hub) = (session("recorder"), hub());
    let requests = [
        monitor("1001", &[v1::EventClass::Call]),
        monitor("1001", &[v1::EventClass::Media]),
        unmonitor("1001", &[]),
        monitor("1001", &[v1::EventClass::Media]),
    ];
    let asked: Vec<_> = requests.into_iter().map(|request| ask(&mut session, request)).collect();
    let answers: Vec<_> = asked.into_iter().flat_map(|asked| answered(&mut session, &mut hub, asked)).collect();
    let media = Classes::of(EventClass::Media);
    match &answers[..] {
        [
            Action::Watch(_, calls, _),
            Action::Send(..),
            Action::Watch(_, first, _),
            Action::Send(..),
            Action::Keep(_, left),
            Action::Send(..),
            // Not forgotten at the hub: the monitor behind it is under way.
            Action::Watch(_, again, _),
            Action::Send(..),
        ] => assert_eq!(
            (*calls, *first, *left, *again),
            (Classes::of(EventClass::Call), media, Classes::default(), media)
        ),
        other => panic!("{other:?}"),
    }
    assert_eq!(session.monitored().count(), 1);
}

#[test]
fn a_device_that_becomes_known_between_two_requests_is_monitored_by_the_second() {
    let (mut session, mut hub) = (session("boss"), hub());
    let snapshot = ask(&mut session, Message::Snapshot(v1::SnapshotDevice { device: "new".into() }));
    let monitored = ask(&mut session, monitor("new", &[]));
    let Some(Action::Ask(token, question)) = snapshot else { panic!() };
    let unknown = hub.answer(WorkerId(0), KEY, question).unwrap();
    // Its first call.
    let mut hub = Hub::new(["new".parse().unwrap()], 1);
    let Some(Action::Ask(second, question)) = monitored else { panic!() };
    let known = hub.answer(WorkerId(0), KEY, question).unwrap();
    assert_eq!(refused(session.on_answer(token, unknown).into_iter().next()), ErrorCode::DeviceUnknown);
    assert!(matches!(&session.on_answer(second, known)[..], [Action::Watch(_, Classes::ALL, _), Action::Send(..)]));
    assert_eq!(session.monitored().count(), 1);
}

#[test]
fn an_unknown_class_is_refused() {
    let mut session = session("recorder");
    let unknown = Message::Monitor(v1::MonitorDevice { device: "1001".into(), classes: vec![3, 99] });
    assert_eq!(refused(ask(&mut session, unknown)), ErrorCode::InvalidArgument);
}

#[test]
fn a_device_that_all_may_see_but_nobody_knows_is_unknown() {
    let (mut session, mut hub) = (session("boss"), hub());
    let asked = ask(&mut session, monitor("10.0.0.1:5060", &[]));
    let answers = answered(&mut session, &mut hub, asked);
    assert_eq!(refused(answers.into_iter().next()), ErrorCode::DeviceUnknown);
    assert_eq!(session.monitored().count(), 0);
}

#[test]
fn r41a_monitors_and_open_requests_are_bounded() {
    let mut bounded = session("boss");
    ask(&mut bounded, monitor("1001", &[]));
    ask(&mut bounded, monitor("1002", &[]));
    assert_eq!(refused(ask(&mut bounded, monitor("1003", &[]))), ErrorCode::TooManyMonitors);
    ask(&mut bounded, monitor("1001", &[]));
    ask(&mut bounded, monitor("1002", &[]));
    // The worker takes the next request when one of these is answered.
    assert!(bounded.is_busy());
}

#[test]
fn a_request_of_a_later_version_is_refused_and_the_session_goes_on() {
    let mut session = session("recorder");
    assert_eq!(refused(session.on_message(ToGateway { request_id: 7, message: None })), ErrorCode::UnknownRequest);
    let hello = ask(&mut session, Message::Hello(v1::Hello::default()));
    assert!(matches!(hello, Some(Action::Close(ErrorCode::OutOfOrder))));
}

#[test]
fn r39_a_heartbeat_goes_out_in_each_interval_and_silence_for_two_closes() {
    let start = Instant::now();
    let mut session = session_of("recorder", start);
    assert_eq!(session.deadline(), start + HEARTBEAT);
    assert!(session.on_time(start + HEARTBEAT / 2, || false).is_none());
    let beat = session.on_time(start + HEARTBEAT, || false);
    assert!(matches!(beat, Some(Action::Send(0, to_app::Message::Heartbeat(_)))));
    session.on_heard(start + HEARTBEAT);
    assert_eq!(session.deadline(), start + 2 * HEARTBEAT);
    assert!(matches!(session.on_time(start + 2 * HEARTBEAT, || false), Some(Action::Send(0, _))));
    let silence = session.on_time(start + 3 * HEARTBEAT, || false);
    assert!(matches!(silence, Some(Action::Close(ErrorCode::HeartbeatTimeout))));
}

/// What a session does when these users and devices count.
fn renewed(session: &mut Session, users: impl IntoIterator<Item = User>, devices: Vec<Device>) -> Vec<Action> {
    let rights = rights_of(2, Mode::Mixed, Directory::new(users, devices).unwrap());
    session.on_rights(&mut Renewal::new(rights, 4))
}

fn dashboard(devices: &[&str]) -> User {
    user("dashboard", &[Group::CtiEnabled], devices, None)
}

#[test]
fn r15_lines_that_are_restricted_now_are_named_and_the_device_goes_on() {
    let (mut session, mut hub) = (session("dashboard"), hub());
    let asked = ask(&mut session, monitor("1003", &[]));
    answered(&mut session, &mut hub, asked);
    let devices = |restricted| vec![device("1001"), Device { lines: lines(restricted), ..device("1003") }];
    match &renewed(&mut session, [dashboard(&["1001", "1003"])], devices([true, true]))[..] {
        [
            Action::Send(0, to_app::Message::CapabilityChanged(changed)),
            Action::Send(0, to_app::Message::DeviceOutOfService(out)),
        ] => {
            assert_eq!(changed.changes, [v1::CapabilityChange::Devices as i32]);
            // The second line was restricted before.
            assert_eq!((out.device.as_str(), out.lines.as_slice()), ("1003", &[1][..]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(session.monitored().count(), 1);
}

#[test]
fn r15_a_request_that_was_under_way_is_answered_by_the_rights_of_now() {
    let (mut session, mut hub) = (session("dashboard"), hub());
    let first = ask(&mut session, monitor("1001", &[v1::EventClass::Call]));
    answered(&mut session, &mut hub, first);
    let second = ask(&mut session, monitor("1001", &[v1::EventClass::Media]));
    let snapshot = ask(&mut session, Message::Snapshot(v1::SnapshotDevice { device: "1001".into() }));
    let devices = vec![device("1001"), device("1003")];
    let actions = renewed(&mut session, [dashboard(&["1003"])], devices);
    // The hub is not told yet: it may have taken the second request after that.
    assert!(
        matches!(&actions[..], [Action::Send(..), Action::Keep(_, classes), Action::Send(..)] if *classes == Classes::default()),
        "{actions:?}"
    );
    let answers = answered(&mut session, &mut hub, second);
    assert!(matches!(&answers[..], [Action::Refuse(7, ErrorCode::DeviceUnknown, _), Action::Forget(_)]), "{answers:?}");
    assert_eq!(refused(answered(&mut session, &mut hub, snapshot).into_iter().next()), ErrorCode::DeviceUnknown);
    assert_eq!(session.monitored().count(), 0);
}

#[test]
fn r15_rights_that_are_the_same_for_a_session_are_not_told() {
    let mut session = session("dashboard");
    let users = [dashboard(&["1001", "1003"]), user("new", &[], &[], None)];
    let devices = vec![device("1001"), Device { lines: lines([false, true]), ..device("1003") }, device("new")];
    assert!(renewed(&mut session, users, devices).is_empty());
    assert_eq!(session.rights_version(), 2);
}

#[test]
fn r12_a_session_that_says_nothing_after_a_probe_is_closed_if_its_place_is_wanted() {
    let start = Instant::now();
    let mut session = session_of("recorder", start);
    let within = settings().limits.probe_time();
    let Some(Action::Send(0, to_app::Message::Probe(probe))) = session.on_probe(start) else { panic!() };
    assert_eq!((probe.within_milliseconds, session.deadline()), (3000, start + within));
    assert!(session.on_probe(start).is_none(), "one serves all");
    assert!(session.on_time(start + within / 2, || true).is_none());
    let over = session.on_time(start + within, || true);
    assert!(matches!(over, Some(Action::Close(ErrorCode::InstanceTakenOver))), "{over:?}");

    let mut session = session_of("recorder", start);
    assert!(session.on_probe(start).is_some());
    assert!(session.on_time(start + within, || false).is_none(), "whoever wanted it has gone");
    assert!(session.on_probe(start + within).is_some() && session.on_heard(start + within));
    assert!(session.on_time(start + 2 * within, || true).is_none(), "it was heard");
    let answer = ask(&mut session, Message::ProbeAnswer(v1::ProbeAnswer {}));
    assert!(answer.is_none(), "an answer that nobody waits for is no fault");
}

#[test]
fn r32_a_session_is_warned_of_its_certificate_and_closed_after_it() {
    const ENDS: i64 = 1_800_000_000;
    let mut session = session("recorder").certified_until(Some(ENDS));
    assert!(session.on_wall_time(ENDS - 15 * 86_400).is_none());
    let Some(Action::Send(0, to_app::Message::CertificateExpires(told))) = session.on_wall_time(ENDS - 60) else {
        panic!()
    };
    assert_eq!((told.expires_unix_seconds, told.seconds_left), (ENDS, 60));
    let close = session.on_wall_time(ENDS + 3600);
    assert!(matches!(close, Some(Action::Close(ErrorCode::CertificateExpired))), "{close:?}");
    assert!(self::session("recorder").on_wall_time(i64::MAX).is_none(), "without a certificate nothing ends");
}
