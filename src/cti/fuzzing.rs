//! What the fuzz target `session` does: arbitrary messages, answers and times, to an opening and to an open session.
//!
//! Built for `fuzz/` and for tests only.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness fails loudly"
)]

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use callgate_wire::{
    MAX_FRAME_OPEN, encoded_frame_len,
    v1::{self, ToGateway, open_request::Authentication, to_gateway::Message},
};

use super::{
    Settings,
    identity::Identity,
    opening::{Next, Opening},
    scram::Decoy,
    session::{Action, Classes, Session},
};
use crate::{
    config::{Heartbeat, Limits},
    directory::{Device, Directory, ScramVerifier, User, UserKind},
    hub::{Answer, Ask, Certificates, Hub, Rights, SessionKey, WorkerId},
    model::{DeviceName, Door, Group, Mode},
    trust::CertificateIdentity,
};

const DEVICES: [&str; 4] = ["1001", "1002", "1003", "1009"];
const MONITORS: usize = 2;
const IN_FLIGHT: usize = 4;

/// The first byte says which of both is meant; the rest are steps.
pub fn session(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    // The one with the certificate opens by it; the two others would need a password besides, or are locked.
    let owner = match first >> 2 & 3 {
        1 => "careful",
        2 => "shut",
        _ => "recorder",
    };
    if first & 1 == 0 { open(data, first & 2 == 0, owner) } else { run(data, first & 2 == 0) }
}

/// Nobody gets in by the clear door without a proof, nor by the TLS door as somebody else, or as who is locked or needs a proof.
fn open(mut data: &[u8], clear: bool, owner: &str) {
    let World { settings, rights, decoy } = world();
    let certificate = CertificateIdentity {
        user: owner.parse().unwrap(),
        instance: "1".parse().unwrap(),
        sha256: [0; 32],
        not_after_unix: 1_900_000_000,
    };
    let (certificate, binding) = if clear { (None, None) } else { (Some(certificate), Some([7; 32])) };
    let mut opening = Opening::new(Arc::clone(settings), Arc::clone(rights), decoy.clone(), certificate, binding);
    while let Some(message) = message(&mut data) {
        match opening.on_message(message) {
            Next::Reply(reply) => assert_fits(0, reply),
            Next::Refuse(_) => {
                // What was refused stays closed.
                let hello = Message::Hello(v1::Hello {
                    versions: vec![v1::Version { major: 1, minor: 0 }],
                    ..Default::default()
                });
                let again = opening.on_message(ToGateway { request_id: 1, message: Some(hello) });
                assert!(matches!(again, Next::Refuse(_)));
                return;
            }
            Next::Open(admitted) => {
                assert!(!clear, "opened without a proof");
                assert_eq!((owner, admitted.identity.user.name.as_str()), ("recorder", "recorder"));
                assert_eq!(admitted.identity.instance.as_str(), "1");
                return;
            }
        }
    }
}

fn run(mut data: &[u8], all: bool) {
    let World { settings, rights, .. } = world();
    let user = Arc::clone(rights.directory.user(if all { "boss" } else { "recorder" }).unwrap());
    let identity = Identity {
        user: Arc::clone(&user),
        instance: "1".parse().unwrap(),
        door: Door::Clear,
        password_proven: true,
        certificate: None,
    };
    let (start, mut elapsed) = (Instant::now(), Duration::ZERO);
    let mut session = Session::new(identity, Arc::clone(settings), Arc::clone(rights), Duration::from_secs(30), start)
        .certified_until(Some(1_900_000_000));
    let mut hub = Hub::new(DEVICES.map(|name| name.parse().unwrap()), 1);

    let mut asked: VecDeque<(u64, Ask)> = VecDeque::new();
    let mut watched: BTreeSet<DeviceName> = BTreeSet::new();
    while let Some((step, rest)) = data.split_first() {
        data = rest;
        let actions: Vec<Action> = match step & 7 {
            // As the worker does: no further request while the session is busy.
            0..=3 if session.is_busy() => Vec::new(),
            0..=3 => match message(&mut data) {
                Some(message) => session.on_message(message).into_iter().collect(),
                None => return,
            },
            4 => asked
                .pop_front()
                .and_then(|(token, ask)| answer(&mut session, &mut hub, token, ask))
                .unwrap_or_default(),
            // In another order than it was asked.
            5 => {
                asked.pop_back().and_then(|(token, ask)| answer(&mut session, &mut hub, token, ask)).unwrap_or_default()
            }
            6 => {
                elapsed += Duration::from_secs(u64::from(step >> 3));
                session.on_time(start + elapsed, || step & 64 == 0).into_iter().collect()
            }
            _ if step & 8 == 0 => session.on_answer(u64::from(*step) << 20, Answer::Done),
            _ if step & 16 == 0 => {
                session.on_heard(start + elapsed);
                Vec::new()
            }
            _ if step & 32 == 0 => session.on_probe(start + elapsed).into_iter().collect(),
            _ => session.on_wall_time(i64::from(*step) << 24).into_iter().collect(),
        };
        for action in actions {
            match action {
                Action::Send(id, message) => assert_fits(id, message),
                Action::Refuse(..) => {}
                Action::Ask(_, Ask::Forget(device)) | Action::Forget(device) => {
                    assert!(!watched.contains(&device), "forgotten and watched");
                }
                Action::Ask(token, ask) => {
                    assert!(asked.iter().all(|(other, _)| *other != token), "a token twice");
                    asked.push_back((token, ask));
                }
                Action::Watch(device, classes, _) => {
                    assert!(rights.directory.may_see(&user, &device), "watches what it may not see");
                    if classes != Classes::default() {
                        watched.insert(device);
                    }
                }
                Action::Keep(device, classes) => {
                    if classes == Classes::default() {
                        watched.remove(&device);
                    }
                }
                Action::Close(_) => return,
            }
        }
        assert!(asked.len() <= IN_FLIGHT && watched.len() <= MONITORS, "{} {}", asked.len(), watched.len());
        assert!(session.deadline() <= start + elapsed + Duration::from_secs(60));
    }
}

fn answer(session: &mut Session, hub: &mut Hub, token: u64, ask: Ask) -> Option<Vec<Action>> {
    let answer = hub.answer(WorkerId(0), SessionKey { place: 0, turn: 0 }, ask)?;
    Some(session.on_answer(token, answer))
}

fn assert_fits(reply_to: u64, message: v1::to_app::Message) {
    let frame = v1::ToApp { reply_to, message: Some(message) };
    assert!(encoded_frame_len(&frame) <= MAX_FRAME_OPEN + callgate_wire::HEADER_LEN);
}

/// The next message: a usual one, or any bytes that decode.
fn message(data: &mut &[u8]) -> Option<ToGateway> {
    let (kind, rest) = data.split_first()?;
    let (argument, rest) = rest.split_first()?;
    *data = rest;
    let device = || DEVICES.get(usize::from(argument & 7)).copied().unwrap_or("nothing").to_owned();
    let classes = || {
        [3, 4, 77]
            .into_iter()
            .enumerate()
            .filter(|(bit, _)| argument >> (5 + bit) & 1 == 1)
            .map(|(_, class)| class)
            .collect()
    };
    let message = match kind & 15 {
        0 | 1 => Message::Monitor(v1::MonitorDevice { device: device(), classes: classes() }),
        2 => Message::Unmonitor(v1::UnmonitorDevice { device: device(), classes: classes() }),
        3 => Message::Snapshot(v1::SnapshotDevice { device: device() }),
        4 => Message::ListDevices(v1::ListDevices {
            name_contains: String::new(),
            page_size: u32::from(argument >> 4),
            page_token: device(),
        }),
        5 => Message::ListDevices(v1::ListDevices {
            name_contains: "100".into(),
            page_size: u32::from(*argument) * 3,
            page_token: String::new(),
        }),
        6 => Message::Heartbeat(v1::Heartbeat {}),
        7 => Message::Hello(v1::Hello {
            versions: vec![v1::Version { major: u32::from(argument & 3), minor: 9 }],
            ..Default::default()
        }),
        8 | 9 => {
            let authentication = if argument & 1 == 0 {
                Authentication::Certificate(v1::CertificateAuth {})
            } else {
                let user = ["recorder", "boss", "nobody", ""][usize::from(argument >> 1 & 3)];
                Authentication::Scram(v1::ScramAuth {
                    mechanism: callgate_wire::SCRAM_SHA_256.into(),
                    initial_response: format!("n,,n={user},r=fyko+d2lbbFgONRv9qkxdawL").into_bytes().into(),
                })
            };
            Message::Open(v1::OpenRequest {
                user: ["recorder", "boss", "nobody", ""][usize::from(argument >> 1 & 3)].into(),
                instance: ["1", "2", "", "-"][usize::from(argument >> 3 & 3)].into(),
                heartbeat_seconds: u32::from(*argument),
                authentication: Some(authentication),
            })
        }
        _ => {
            let len = usize::from(*argument).min(data.len());
            let (bytes, rest) = data.split_at(len);
            *data = rest;
            return Some(prost::Message::decode(bytes).unwrap_or_default());
        }
    };
    Some(ToGateway { request_id: u64::from(*kind), message: Some(message) })
}

/// What openings and sessions need to know.
struct World {
    settings: Arc<Settings>,
    rights: Arc<Rights>,
    decoy: Decoy,
}

/// Made once: a password's verifier takes its time.
fn world() -> &'static World {
    static SETTINGS: OnceLock<World> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let user = |name: &str, groups: &[Group], devices: &[&str], password: Option<&str>| User {
            name: name.parse().unwrap(),
            kind: UserKind::Application,
            groups: groups.iter().copied().collect(),
            devices: Arc::new(devices.iter().map(|device| device.parse().unwrap()).collect()),
            password: password.map(|password| Arc::new(ScramVerifier::generate(password, 4096).unwrap())),
            locked: false,
            password_on_tls: false,
            incarnation: 0,
        };
        let secure = [Group::CtiEnabled, Group::SecureConnection];
        let device = |name: &str| Device::named(name.parse().unwrap());
        let directory = Directory::new(
            [
                user("recorder", &secure, &["1001", "1002", "1003", "1009"], None),
                user("boss", &[Group::CtiEnabled, Group::ControlOfAllDevices], &[], Some("pencil")),
                User { password_on_tls: true, ..user("careful", &secure, &["1001"], Some("pencil")) },
                User { locked: true, ..user("shut", &secure, &["1001"], None) },
            ],
            [device("1001"), device("1002"), device("1003"), Device { restricted: true, ..device("1009") }],
        );
        let directory = Arc::new(directory.unwrap());
        let decoy = Decoy::new(&directory).unwrap();
        let settings = Settings {
            heartbeat: Heartbeat { default_seconds: 30, min_seconds: 5, max_seconds: 300 },
            limits: Limits { requests_in_flight: IN_FLIGHT, monitors_per_session: MONITORS, ..Limits::default() },
        };
        let certificates = Certificates::default();
        let rights = Rights { version: 1, mode: Mode::Mixed, lenient_doors: false, directory, certificates };
        World { settings: Arc::new(settings), rights: Arc::new(rights), decoy }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    #[test]
    fn the_corpus_finds_nothing() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
        let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!inputs.is_empty());
        for input in inputs {
            super::session(&fs::read(input).unwrap());
        }
    }
}
