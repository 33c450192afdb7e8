//! The house keeps its order: rooms use only rooms below them, pure code stays pure, keys have few doors.
//!
//! It reads the source as text. A broken rule is told with its file, its line, and what to do instead.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/source.rs"]
mod source;

use std::collections::BTreeSet;

use source::{File, files, root};

/// The floors from the ground up. A room uses only rooms of lower floors; on its own floor, only those of [`NEIGHBOURS`].
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["policy", "store", "switch"],
    &["directory", "audit", "config", "trust", "http"],
    &["hub"],
    &["cti"],
    &["admin"],
    &["gateway", "client"],
    &["cli"],
];

/// Who may use whom on the same floor. The user stands behind the used one in [`FLOORS`], so there is no circle.
const NEIGHBOURS: &[(&str, &str)] = &[
    ("config", "directory"),
    ("config", "audit"),
    ("trust", "config"),
    ("http", "config"),
    ("http", "trust"),
    ("client", "gateway"),
];

/// Files and folders that take their input and the time as arguments, and return what to do.
const PURE: &[&str] = &[
    "src/audit/checkpoint.rs",
    "src/audit/entry.rs",
    "src/audit/find.rs",
    "src/audit/finding.rs",
    "src/audit/line.rs",
    "src/audit/repeats.rs",
    "src/audit/segment.rs",
    "src/audit/verify.rs",
    "src/cti/backlog.rs",
    "src/cti/expiries.rs",
    "src/cti/expiry.rs",
    "src/cti/judging.rs",
    "src/cti/jumps.rs",
    "src/cti/opening.rs",
    "src/cti/renewal.rs",
    "src/cti/session.rs",
    "src/cti/signs.rs",
    "src/cti/subscribers.rs",
    "src/cti/tries.rs",
    "src/directory/",
    "src/hub/mod.rs",
    "src/hub/published.rs",
    "src/hub/rights.rs",
    "src/hub/topic.rs",
    "src/hub/view.rs",
    "src/model/",
    "src/policy/",
    "src/switch/capture/",
    "src/switch/feed.rs",
    "src/switch/head.rs",
    "src/switch/hep.rs",
    "src/switch/listen/notices.rs",
    "src/switch/listen/queue.rs",
    "src/switch/listen/sources.rs",
    "src/switch/replay/player.rs",
    "src/switch/replay/survey.rs",
    "src/switch/scan.rs",
    "src/switch/sdes.rs",
    "src/switch/sdp.rs",
    "src/switch/sim/call.rs",
    "src/switch/sim/draw.rs",
    "src/switch/sim/schedule.rs",
    "src/switch/sip.rs",
    "src/switch/syntax.rs",
    "src/switch/tracker/",
];

/// What pure code doesn't mention, and what to do instead.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "leave waiting to the shell around it"),
    ("TcpListener", "leave sockets to the shell around it"),
    ("TcpStream", "leave sockets to the shell around it"),
    ("UdpSocket", "leave sockets to the shell around it"),
    ("Instant::now", "take `now` as an argument"),
    ("SystemTime", "take the time as an argument"),
    ("now_utc", "take the time as an argument"),
    ("UnixTime::now", "take the time as an argument"),
    ("std::env", "take what you need as an argument"),
    ("thread::", "leave threads to the shell around it"),
];

/// The files that look at secret bytes. Whoever adds one says in the review why.
const EXPOSES: &[&str] = &[
    "src/cti/audit.rs",
    "src/cti/event_frame.rs",
    "src/cti/scram.rs",
    "src/directory/scram.rs",
    "src/model/key.rs",
    "src/model/secret.rs",
    "src/switch/hep.rs",
];

#[test]
fn a_room_uses_only_rooms_below_it() {
    let mut broken = Vec::new();
    for file in files("src") {
        let Some(room) = room_of(&file) else { continue };
        let floor = floor_of(room).unwrap_or_else(|| panic!("{}: which floor is it on? Add it to FLOORS", file.path));
        for (line, used) in file.rooms_used() {
            let allowed = match floor_of(&used) {
                _ if used == room || used == "VERSION" => true,
                None => {
                    broken.push(format!("{}:{line}: crate::{used} is no room that FLOORS knows", file.path));
                    true
                }
                Some(other) => other < floor || NEIGHBOURS.contains(&(room, used.as_str())),
            };
            if !allowed {
                broken.push(format!("{}:{line}: {room} uses {used}, which is not below it", file.path));
            }
        }
    }
    none(&broken, "a room uses only rooms below it (docs/ARCHITECTURE.md, \"The house\")");
}

#[test]
fn the_floors_are_those_of_the_library() {
    let rooms: Vec<&str> = FLOORS.concat();
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let library: Vec<&str> = rooms.iter().copied().filter(|room| *room != "cli").collect();
    assert_eq!(declared, library, "src/lib.rs lists the rooms from the ground up, as FLOORS does");

    let folders: BTreeSet<String> =
        files("src").iter().filter_map(room_of).filter(|room| *room != "main").map(Into::into).collect();
    assert_eq!(folders, rooms.iter().map(|room| (*room).to_string()).collect(), "FLOORS has every folder of src/");

    for (user, used) in NEIGHBOURS {
        let place = |room: &str| rooms.iter().position(|other| *other == room);
        assert!(place(user) > place(used), "{user} uses {used}, so it stands behind it: otherwise there is a circle");
        assert_eq!(floor_of(user), floor_of(used), "{user} and {used} are no neighbours");
    }
}

#[test]
fn pure_code_has_no_runtime_no_socket_and_no_clock() {
    let mut broken = Vec::new();
    let all = files("src");
    for pure in PURE {
        assert!(all.iter().any(|file| file.path.starts_with(pure)), "PURE names {pure}, which is not there");
    }
    for file in all.iter().filter(|file| PURE.iter().any(|pure| file.path.starts_with(pure))) {
        for (word, instead) in IMPURE {
            for line in file.lines_with(word) {
                broken.push(format!("{}:{line}: pure code mentions `{word}`: {instead}", file.path));
            }
        }
    }
    none(&broken, "pure code takes its input and the time as arguments");
}

#[test]
fn only_the_clients_use_the_sdk() {
    let broken = outside(&["src/client/"], "callgate_sdk");
    none(&broken, "inside the gateway only src/client/ uses the SDK, as a third party would");
}

#[test]
fn the_unmaintained_pem_reader_has_one_place() {
    let places: Vec<String> =
        files("src").into_iter().filter(|file| file.mentions("rustls_pemfile")).map(|f| f.path).collect();
    assert_eq!(places, ["src/trust/pem.rs"], "rustls-pemfile is archived (RUSTSEC-2025-0134): one place to replace it");
}

#[test]
fn r20_few_files_look_at_secret_bytes() {
    let broken = outside(EXPOSES, ".expose()");
    none(&broken, "each file that looks at secret bytes is named in EXPOSES, for whoever reviews it");
    for path in EXPOSES {
        let file = files("src").into_iter().find(|file| file.path == *path);
        assert!(file.is_some_and(|file| file.mentions(".expose()")), "EXPOSES names {path}, which exposes nothing");
    }
}

#[test]
fn unsafe_code_is_forbidden_and_nothing_is_left_for_later() {
    for root_file in ["src/lib.rs", "src/main.rs"] {
        let text = std::fs::read_to_string(root().join(root_file)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root_file} has no #![forbid(unsafe_code)]");
    }
    let mut broken = Vec::new();
    for folder in ["src", "sdk/rust/src", "sdk/wire/src"] {
        for file in files(folder) {
            for word in ["todo!", "unimplemented!", "FIXME", "XXX"] {
                broken.extend(file.raw_lines_with(word).map(|line| format!("{}:{line}: `{word}`", file.path)));
            }
        }
    }
    none(&broken, "what is not there yet is not there as a stub either");
}

#[test]
fn the_scan_sees_what_it_looks_for_and_skips_tests_and_comments() {
    let text = "\
use crate::{
    model::{Address, hub},
    cti::{self, Door},
};
// crate::gateway in a comment
fn f() { super::super::hub::run(); crate::trust::init(); let x = \"tokio\"; }
#[cfg(test)]
mod tests {
    use crate::client;
    fn g() { tokio::spawn(); }
}
fn h() { std::time::Instant::now(); }
";
    let file = File::of("src/switch/feed.rs", text);
    let mut used: Vec<String> = file.rooms_used().into_iter().map(|(line, room)| format!("{line} {room}")).collect();
    used.sort();
    assert_eq!(used, ["1 cti", "1 model", "6 hub", "6 trust"]);
    assert_eq!(file.lines_with("Instant::now"), [12]);
    assert_eq!(file.lines_with("tokio"), [6]);
    assert_eq!(File::of("src/hub/mod.rs", "use super::cti;").rooms_used(), [(1, "cti".to_string())]);
    assert_eq!(File::of("src/hub/run.rs", "use super::Hub;").rooms_used(), []);
}

/// The first folder below `src/`; a file directly in it is a room, too. `None`: the library's root.
fn room_of(file: &File) -> Option<&str> {
    let path = file.path.strip_prefix("src/")?;
    let room = path.split('/').next()?.trim_end_matches(".rs");
    (room != "lib").then_some(room)
}

/// `main.rs` stands above all floors.
fn floor_of(room: &str) -> Option<usize> {
    if room == "main" {
        return Some(FLOORS.len());
    }
    FLOORS.iter().position(|floor| floor.contains(&room))
}

fn outside(allowed: &[&str], word: &str) -> Vec<String> {
    let others = files("src").into_iter().filter(|file| !allowed.iter().any(|path| file.path.starts_with(path)));
    others.flat_map(|file| file.lines_with(word).into_iter().map(move |line| format!("{}:{line}", file.path))).collect()
}

fn none(broken: &[String], rule: &str) {
    assert!(broken.is_empty(), "{rule}\n  {}", broken.join("\n  "));
}
