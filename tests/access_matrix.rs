//! Who gets what: all 64 combinations of mode, door, groups and restriction, with `lenient_doors` off and on, through whole
//! gateways and real sockets, against a table that a person can read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{collections::HashMap, fmt, io};

use callgate::{
    config::Config,
    directory::{Cascade, Change, Of, Records, UserSettings},
    model::{CallState, Group},
};
use callgate_wire::v1::{self, Error, to_app, to_gateway::Message};
use common::{
    PASSWORD, TestGateway, TestUser, config_text,
    leaks::find_key,
    raw::RawClient,
    scripted::{call, fresh_key},
};
use tokio::net::{TcpListener, TcpStream};

/// The device that everybody sees, and the one that is restricted.
const DEVICES: [(&str, Restricted); 2] = [("1001", Restricted::No), ("2001", Restricted::Yes)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Restricted {
    No,
    Yes,
}

/// Half a cell's name: the other half is whether doors are lenient.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Row {
    mode: String,
    door: String,
    groups: String,
    restricted: Restricted,
}

/// What became of it, and the rule that decided.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    outcome: String,
    rule: String,
}

/// One app of a cell, if it got in.
struct App {
    row: Row,
    device: &'static str,
    client: RawClient,
}

/// The cells of one setting of `lenient_doors`.
type Half = HashMap<Row, Cell>;

#[tokio::test]
async fn r2_r8_r9_r10_r13_r16_r17_all_64_combinations_with_strict_and_with_lenient_doors() {
    let [strict, lenient] = table();
    for (is_lenient, table) in [(false, strict), (true, lenient)] {
        assert_eq!(table.len(), 64);
        let (mut found, mut with_key) = (Half::new(), Vec::new());
        for mode in ["mixed", "non-secure"] {
            run(mode, is_lenient, &mut found, &mut with_key).await;
        }
        for (row, cell) in &table {
            assert_eq!(found.get(row), Some(cell), "lenient_doors = {is_lenient}, {row:?}");
        }
        assert_eq!(found.len(), 64);
        // By the bytes that the apps got, whatever they say.
        let all = Row { mode: "mixed".into(), door: "tls".into(), groups: "yyy".into(), restricted: Restricted::No };
        assert_eq!(with_key, [all], "the key arrives in one cell");
        assert_eq!(table.values().filter(|cell| cell.outcome == "KEYS_AVAILABLE").count(), 1);
    }
}

/// The 32 cells of one gateway.
async fn run(mode: &'static str, is_lenient: bool, found: &mut Half, with_key: &mut Vec<Row>) {
    // In non-secure mode nobody may listen there though it is configured.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let tls = if mode == "mixed" { "127.0.0.1:0".into() } else { closed.to_string() };
    let head = format!(
        "mode = {mode:?}\nlenient_doors = {is_lenient}\n[doors]\nclear = \"127.0.0.1:0\"\ntls = {tls:?}\n\
         [[device]]\nname = \"2001\"\naddresses = [\"udp:127.0.0.1:16040\"]\nrestricted = true\n"
    );
    let (mut users, mut row_of_none) = (Vec::new(), Vec::new());
    for groups in group_sets() {
        let user = TestUser { name: name(groups), groups, devices: &["1001", "2001"] };
        match not_configurable(&user, &head) {
            Some(cell) => row_of_none.push((user, cell)),
            None => users.push(user),
        }
    }
    let gateway = TestGateway::start_with(&users, &head).await;
    assert_eq!(gateway.gateway.tls_address().is_some(), mode == "mixed");
    for door in ["tls", "clear"] {
        for (user, cell) in &row_of_none {
            for (_, restricted) in DEVICES {
                found.insert(row(mode, door, user.name, restricted), cell.clone());
            }
        }
    }

    let mut apps = Vec::new();
    for door in ["tls", "clear"] {
        for user in &users {
            for (device, restricted) in DEVICES {
                let row = row(mode, door, user.name, restricted);
                if (mode, door) == ("non-secure", "tls") {
                    let error = TcpStream::connect(closed).await.unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
                    found.insert(row, Cell::new("(no door)", "R2"));
                    continue;
                }
                match open(&gateway, door, user.name, device).await {
                    Ok(client) => apps.push(App { row, device, client }),
                    Err(error) => {
                        found.insert(row, Cell::new(error.code().as_str_name(), error.rule));
                    }
                }
            }
        }
    }

    // Everybody asks for its device before there is a key, or is told that there is none such.
    for app in &mut apps {
        match (app.row.restricted, monitor(&mut app.client, app.device).await) {
            (Restricted::No, Ok(())) => {}
            (Restricted::Yes, Err(error)) => {
                assert_eq!(error.code(), v1::ErrorCode::DeviceUnknown);
                found.insert(app.row.clone(), Cell::new("(no event)", error.rule));
            }
            (_, other) => panic!("{:?}: {other:?}", app.row),
        }
    }
    let keys = DEVICES.map(|_| fresh_key());
    for ((device, _), key) in DEVICES.into_iter().zip(&keys) {
        let call = call(device, 1);
        gateway.script.say(vec![call.state(CallState::Connected), call.opened(1, 1, Some(key))]).await;
    }
    gateway.gateway.flush().await;

    for App { row, client, .. } in &mut apps {
        if row.restricted == Restricted::No {
            let opened = client.next_media_opened().await;
            found.insert(row.clone(), Cell::of(&opened));
        } else {
            assert_eq!(told_until_now(client).await, [], "{row:?}");
        }
        let [key, key_of_restricted] = keys.each_ref().map(|key| find_key(key, &client.received));
        assert_eq!(key_of_restricted, None, "{row:?}");
        if key.is_some() {
            with_key.push(row.clone());
        }
    }
    gateway.finish().await;
}

/// Why there can't be such a user, if there can't: the config check and administration must agree.
fn not_configurable(user: &TestUser, head: &str) -> Option<Cell> {
    let folder = tempfile::tempdir().unwrap();
    let parse = |users: &[TestUser]| {
        Config::parse(&config_text(users, head), "test.toml", folder.path(), std::iter::empty())
            .map_err(|error| error.to_string())
    };
    let devices = parse(&[]).unwrap();
    let mut records = Records::of(&devices.directory);
    let wanted = UserSettings {
        groups: user.groups.iter().copied().collect(),
        devices: user.devices.iter().map(|device| device.parse().unwrap()).collect(),
        ..UserSettings::default()
    };
    let change = Change::PutUser(user.name.parse().unwrap(), wanted);
    let refusal = |records: &Records| change.plan(Of::Latest, Cascade::Nothing, records).err().map(|r| r.code());
    let entering = refusal(&records);
    // The same user by way of one that has all groups.
    let full = TestUser { groups: common::ALL_THREE, ..*user };
    records.users = Records::of(&parse(&[full]).unwrap().directory).users;
    let leaving = refusal(&records);
    match (parse(std::slice::from_ref(user)), entering, leaving) {
        (Ok(_), None, None) => None,
        (Err(error), Some(entering), Some(leaving)) => {
            assert!(error.contains("(R8)") && error.contains(Group::SrtpKeyMaterial.name()), "{error}");
            assert_eq!(entering, v1::ErrorCode::GroupNeedsOthers);
            assert_eq!(leaving, v1::ErrorCode::GroupStillNeeded);
            assert_eq!(callgate_wire::lookup(leaving).rule, callgate_wire::lookup(entering).rule);
            Some(Cell::new("(not configurable)", callgate_wire::lookup(entering).rule))
        }
        (config, ..) => panic!("{}: {:?}, {entering:?}, {leaving:?}", user.name, config.err()),
    }
}

/// A session of its own for a cell, or why there is none.
async fn open(gateway: &TestGateway, door: &str, user: &str, instance: &str) -> Result<RawClient, Error> {
    let (client, opened) = if door == "tls" {
        let mut client = RawClient::tls(gateway.tls(), gateway.tls_client(user, instance)).await;
        let opened = client.open(user, instance).await;
        (client, opened)
    } else {
        let mut client = RawClient::clear(gateway.clear()).await;
        let opened = client.open_scram(user, instance, PASSWORD).await;
        (client, opened)
    };
    match opened {
        Ok(opened) => {
            assert_eq!(opened.device_count, 1, "the restricted one doesn't count");
            Ok(client)
        }
        Err(_) => Err(client.refusal.clone().unwrap()),
    }
}

async fn monitor(client: &mut RawClient, device: &str) -> Result<(), Error> {
    client.send(Message::Monitor(v1::MonitorDevice { device: device.into(), classes: vec![] })).await;
    match client.next().await.unwrap().message.unwrap() {
        to_app::Message::Monitored(_) => Ok(()),
        to_app::Message::Refusal(refusal) => Err(refusal.error.unwrap()),
        other => panic!("{other:?}"),
    }
}

/// What came before the answer to a request that is made now.
async fn told_until_now(client: &mut RawClient) -> Vec<to_app::Message> {
    let request = client.send(Message::Snapshot(v1::SnapshotDevice { device: "1001".into() })).await;
    let mut told = Vec::new();
    loop {
        let answer = client.next().await.unwrap();
        if answer.reply_to == request {
            return told;
        }
        told.push(answer.message.unwrap());
    }
}

/// The two halves of the table.
fn table() -> [Half; 2] {
    let mut halves = [Half::new(), Half::new()];
    let text = include_str!("tables/access.txt");
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let [row_text, cells @ ..] = &line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let [mode, door, groups, restricted] = row_text.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let restricted = if restricted == "yes" { Restricted::Yes } else { Restricted::No };
        assert_eq!(cells.len(), 2, "{line}");
        for (half, cell) in halves.iter_mut().zip(cells) {
            let (outcome, rule) = cell.trim().rsplit_once(' ').unwrap();
            let twice = half.insert(row(mode, door, groups, restricted), Cell::new(outcome.trim(), rule));
            assert_eq!(twice, None, "{line}");
        }
    }
    halves
}

/// All eight ways to be in three groups.
fn group_sets() -> [&'static [Group]; 8] {
    const E: Group = Group::CtiEnabled;
    const S: Group = Group::SecureConnection;
    const K: Group = Group::SrtpKeyMaterial;
    [&[], &[E], &[S], &[E, S], &[K], &[E, K], &[S, K], &[E, S, K]]
}

/// As the table writes them, and as the user is called.
fn name(groups: &[Group]) -> &'static str {
    let has = |group| groups.contains(&group);
    match (has(Group::CtiEnabled), has(Group::SecureConnection), has(Group::SrtpKeyMaterial)) {
        (false, false, false) => "nnn",
        (false, false, true) => "nny",
        (false, true, false) => "nyn",
        (false, true, true) => "nyy",
        (true, false, false) => "ynn",
        (true, false, true) => "yny",
        (true, true, false) => "yyn",
        (true, true, true) => "yyy",
    }
}

fn row(mode: &str, door: &str, groups: &str, restricted: Restricted) -> Row {
    Row { mode: mode.into(), door: door.into(), groups: groups.into(), restricted }
}

impl Cell {
    fn new(outcome: impl fmt::Display, rule: impl fmt::Display) -> Self {
        Self { outcome: outcome.to_string(), rule: rule.to_string() }
    }

    fn of(opened: &v1::MediaOpened) -> Self {
        let indicator = opened.indicator().as_str_name().trim_start_matches("INDICATOR_");
        let outcome = match opened.reason() {
            v1::UnavailableReason::Unspecified => indicator.into(),
            reason => format!("{indicator}/{}", reason.as_str_name().trim_start_matches("UNAVAILABLE_REASON_")),
        };
        assert_eq!(opened.keys.is_some(), indicator == "KEYS_AVAILABLE");
        Self::new(outcome, &opened.rule)
    }
}
