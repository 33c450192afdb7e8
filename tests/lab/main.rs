//! Live calls between two real phones over a real PBX, watched by the real gateway.
//!
//! `.ci/lab/run` installs what is needed and runs these tests; without it they are left out. Everything listens on the
//! loopback, on ports that were free, in a temporary folder, and ends with its test. The phones' voices are tones of 440
//! and 660 Hz, so that whoever decrypts the right stream with the right key hears the right tone, and nobody else does.
//! The keys of these calls are fresh each time: the test keeps them in memory, and searches for them where they may not be.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
#![allow(unreachable_pub, reason = "a test")]
#![allow(clippy::print_stdout, reason = "what was heard is worth seeing")]

mod apps;
#[path = "../common/mod.rs"]
mod common;
mod ears;
mod gateway;
mod pbx;
mod phone;
mod place;
mod process;
#[path = "../common/tone.rs"]
mod tone;

use std::time::Duration;

use apps::{Apps, Direction};
use common::leaks;
use ears::Ears;
use gateway::Served;
use pbx::{Kind, Pbx};
use phone::Phone;
use place::Place;

/// How long the phones talk: enough for the second of voice that is listened to, and for a loaded machine.
const TALK: Duration = Duration::from_secs(3);
/// The fewest packets of 20 ms that a voice may have after [`TALK`], on a loaded machine.
const FEWEST_PACKETS: usize = 100;

#[tokio::test]
#[ignore = "needs a PBX and phones: .ci/lab/run"]
async fn r16_a_live_call_over_asterisk_22_is_heard_by_the_app_with_the_keys_and_by_no_other() {
    live_call(Kind::Asterisk("sid")).await;
}

#[tokio::test]
#[ignore = "needs a PBX and phones: .ci/lab/run"]
async fn r16_a_live_call_over_asterisk_16_is_heard_by_the_app_with_the_keys_and_by_no_other() {
    live_call(Kind::Asterisk("bullseye")).await;
}

#[tokio::test]
#[ignore = "needs a PBX and phones: .ci/lab/run"]
async fn r16_a_live_call_over_kamailio_is_heard_by_the_app_with_the_keys_and_by_no_other() {
    live_call(Kind::Kamailio).await;
}

async fn live_call(kind: Kind) {
    let place = Place::new();
    let gateway = Served::start(&place, kind).await;
    let _pbx = Pbx::start(&place, kind);
    let phones = [Phone::start(&place, 0), Phone::start(&place, 1)];
    phones.iter().for_each(Phone::wait_until_registered);
    let mut apps = Apps::open(&gateway).await;
    let ears = Ears::open(&place);

    phones[0].dial("1002");
    apps.wait_for_streams().await;
    tokio::time::sleep(TALK).await;
    phones[0].hang_up();
    apps.wait_for_the_end().await;
    let packets = ears.close();
    assert!(packets.iter().all(|packet| !packet.cut), "tcpdump cut packets");

    // The app with the keys hears both voices on both sides of the PBX.
    let streams = apps.recorder.streams();
    let ends: Vec<_> = streams.iter().map(|stream| (stream.device.as_str(), stream.direction)).collect();
    let expected = [
        ("1001", Direction::Received),
        ("1001", Direction::Sent),
        ("1002", Direction::Received),
        ("1002", Direction::Sent),
    ];
    assert_eq!(ends, expected);
    for stream in streams {
        let heard = stream.decrypt(&packets);
        let name = format!("{} {:?} at {}", stream.device, stream.direction, stream.destination);
        assert!(heard.packets >= FEWEST_PACKETS, "{name}: only {} packets", heard.packets);
        assert_eq!(heard.authentic, heard.packets, "{name}");
        let share = tone::share(stream.tone(), &heard.voice);
        assert!(share > 0.95, "{name}: {share} of it is a tone of {} Hz", stream.tone());
        println!("{name}: {} packets, all authentic, {:.3} of it {} Hz", heard.packets, share, stream.tone());
    }

    // The others saw the same call, and no key.
    for other in [&apps.viewer, &apps.dashboard] {
        assert_eq!(other.keys(), 0, "{}", other.user);
        assert_eq!(other.indicators(), ["USER_NOT_AUTHORIZED"; 4], "{}", other.user);
        assert_eq!(other.numbers(), apps.recorder.numbers(), "{}", other.user);
        println!("{}: the same {} events, no key", other.user, other.numbers().len());
    }

    // What anybody else could read holds none of the keys that were in force.
    let keys = apps.recorder.key_bytes();
    assert_eq!(keys.len(), if kind == Kind::Kamailio { 2 } else { 4 }, "each leg has its own");
    keys.iter().for_each(|key| leaks::watch_key(key));
    drop(phones);
    let (log, clear) = gateway.stop(apps).await;
    leaks::assert_no_key("what the clear door sent", &clear);
    leaks::assert_no_key("the gateway's log", log.as_bytes());
    assert!(log.contains("TRACE") && !log.contains("response=\""), "the log is at trace level, without digests");
}
