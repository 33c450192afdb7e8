//! The pure parts: opening and session, without a socket.

mod audit;
mod event_frame;
mod opening;
mod session;
mod simulation;

use std::sync::Arc;

use super::Settings;
use crate::{
    config::{Heartbeat, Limits},
    directory::{Device, Directory, Line, ScramVerifier, User, UserKind},
    hub::{Certificates, Rights},
    model::{Group, LineNumber, Mode},
};

/// Quick to compute; a real one is 16 times as slow.
const ITERATIONS: u32 = 4096;

fn user(name: &str, groups: &[Group], devices: &[&str], password: Option<&str>) -> User {
    User {
        name: name.parse().unwrap(),
        kind: UserKind::Application,
        groups: groups.iter().copied().collect(),
        devices: Arc::new(devices.iter().map(|device| device.parse().unwrap()).collect()),
        password: password.map(|password| Arc::new(ScramVerifier::generate(password, ITERATIONS).unwrap())),
        locked: false,
        password_on_tls: false,
        incarnation: 0,
    }
}

fn device(name: &str) -> Device {
    Device::named(name.parse().unwrap())
}

fn lines(restricted: [bool; 2]) -> Vec<Line> {
    let line = |number, label: &str, restricted| Line { number: LineNumber(number), label: label.into(), restricted };
    vec![line(1, "1003", restricted[0]), line(2, "secret", restricted[1])]
}

/// `recorder` is for the TLS door, `dashboard` for the clear one; `boss` sees all devices, `outsider` may not open.
fn directory() -> Directory {
    let secure = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let restricted = Device { restricted: true, ..device("1009") };
    let devices =
        [device("1001"), device("1002"), Device { lines: lines([false, true]), ..device("1003") }, restricted];
    Directory::new(
        [
            user("recorder", &secure, &["1001", "1002", "1009"], None),
            user("dashboard", &[Group::CtiEnabled], &["1001", "1003"], Some("pencil")),
            user("boss", &[Group::CtiEnabled, Group::ControlOfAllDevices], &[], Some("pencil")),
            user("outsider", &[], &["1001"], Some("pencil")),
            user("keyless", &[Group::CtiEnabled], &[], None),
            User { locked: true, ..user("shut", &secure, &[], Some("pencil")) },
            User { password_on_tls: true, ..user("careful", &secure, &["1001"], Some("pencil")) },
        ],
        devices,
    )
    .unwrap()
}

fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        heartbeat: Heartbeat { default_seconds: 30, min_seconds: 5, max_seconds: 300 },
        limits: Limits { requests_in_flight: 4, monitors_per_session: 2, ..Limits::default() },
    })
}

fn rights(mode: Mode) -> Arc<Rights> {
    rights_of(1, mode, directory())
}

fn rights_of(version: u64, mode: Mode, directory: Directory) -> Arc<Rights> {
    let directory = Arc::new(directory);
    Arc::new(Rights { version, mode, lenient_doors: false, directory, certificates: Certificates::default() })
}
