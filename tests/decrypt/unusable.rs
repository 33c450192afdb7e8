//! Captures that can't be used, or not wholly, and answers that can't be written: what is said of them.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use crate::{
    captures::{BOTH, a_call},
    leaks,
    scene::{By, Scene, Voice, at, cm, decrypt as run, dialog, savp},
};

#[test]
fn packets_that_the_snap_length_cut_don_t_authenticate() {
    let mut scene = Scene::empty();
    scene.file.snap = 60;
    // The signalling was recorded whole, by another tool.
    let answer = {
        a_call(&mut scene);
        let mut whole = Scene::empty();
        a_call(&mut whole);
        for ((_, kept), (_, packet)) in whole.file.packets.iter_mut().zip(&scene.file.packets) {
            if kept.len() < 100 {
                *kept = packet[..60].to_vec();
            }
        }
        whole.decrypt()
    };
    answer.is(1, &["c A sent CM keys a>p [a] 0/10", "c A received CM keys p>a [b] 0/10"]);
    assert!(answer.err.contains("20 cut by the capture's snap length"), "{}", answer.err);
    // With the signalling cut, too, nothing is known, and that is said.
    let answer = scene.decrypt();
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.words().contains("no HEP in the capture can be used"), "{}", answer.words());
}

#[test]
fn a_truncated_capture_tells_what_there_was_and_the_byte() {
    let mut scene = Scene::empty();
    a_call(&mut scene);
    let bytes = scene.file.bytes();
    for cut in [1, 300, 1500] {
        let end = bytes.len() - cut;
        let answer = scene.decrypt_bytes(&bytes[..end]);
        assert_eq!((answer.code, answer.rows().len()), (2, 2), "{}", answer.words());
        assert!(answer.words().contains(&format!("at byte {end}")), "{}", answer.words());
    }
    let answer = scene.decrypt_bytes(&bytes[..20]);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.words().contains("byte 20"), "{}", answer.words());
    let answer = scene.decrypt_bytes(&bytes[..24 + 16 + 30]);
    assert_eq!((answer.code, answer.rows().len()), (2, 0), "{}", answer.words());
}

#[test]
fn what_is_no_capture_with_hep_is_refused_in_words() {
    let mut scene = Scene::empty();
    scene.talk(&mut [&mut Voice::clear("a", "p", 1)], 5);
    let answer = scene.decrypt();
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.words().contains("no HEP"), "{}", answer.words());
    let mut cut = Scene::empty();
    cut.file.snap = 40;
    cut.talk(&mut [&mut Voice::clear("a", "p", 1)], 5);
    for (bytes, word) in [
        (&b""[..], "empty"),
        (b"hello, this is text\n", "text"),
        (b"\x1f\x8b\x08", "gzip"),
        (&cut.file.bytes(), "no HEP"),
    ] {
        let answer = scene.decrypt_bytes(bytes);
        assert_eq!((answer.code, answer.out.as_str()), (2, ""));
        assert!(answer.words().contains(word), "{}", answer.words());
    }
    for (path, word) in [(env!("CARGO_MANIFEST_DIR"), "folder"), ("no-such-file", "can't be opened")] {
        let answer = run(Path::new(path), Path::new("never-made"));
        assert_eq!((answer.code, answer.out.as_str()), (2, ""), "{}", answer.words());
        assert!(answer.words().contains(word), "{}", answer.words());
    }
}

#[test]
fn malformed_hep_and_sip_between_the_good_change_nothing() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let bad: [&[u8]; 6] = [
        b"HEP3",
        b"HEP3\0\x06",
        b"HEP3\xff\xff\0\0",
        b"HEP3\0\x0c\0\0\0\x0f\0\x03",
        b"HEP2abcdefgh",
        b"HEP3\0\x08\0\0",
    ];
    let collector: [String; 2] = scene.collector.map(|address: SocketAddr| address.to_string());
    let noise = |scene: &mut Scene| {
        for bad in bad {
            scene.udp(&collector[0], &collector[1], bad);
        }
        for text in [
            "",
            "\r\n\r\n",
            "INVITE",
            "SIP/2.0 200 OK\r\n\r\n",
            "\0\u{fffd}\0",
            "INVITE x SIP/2.0\r\nCSeq: 1 BYE\r\n\r\n",
        ] {
            scene.sip(at("A"), at("P"), text.into());
        }
    };
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    noise(&mut scene);
    scene.request(&call, By::Caller, "INVITE", 1, &savp("a", &cm(1)));
    noise(&mut scene);
    scene.response(&call, By::Caller, 200, "1 INVITE", &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 10);
    noise(&mut scene);
    scene.bye(&call, By::Caller);
    scene.decrypt().is(0, &BOTH);
}

#[test]
fn hep_that_can_t_be_used_is_counted_by_kind() {
    let mut scene = Scene::empty();
    scene.reshape = |mut chunks| {
        chunks.last_mut().unwrap()[3] = 16;
        chunks
    };
    let answer = a_call(&mut scene);
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.words().contains("9 refused: compressed HEP"), "{}", answer.words());
}

#[test]
fn the_table_for_people_shows_no_key_either_and_a_reader_that_is_gone_is_no_crash() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (path, voices) = (folder.path().join("call.pcap"), folder.path().join("voices"));
    let mut scene = Scene::empty();
    a_call(&mut scene);
    fs::write(&path, scene.file.bytes()).unwrap();
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.args(["--log-level", "trace", "decrypt", "--out"]).args([&voices, &path]);
        command
    };
    let run = command().output().unwrap();
    assert_eq!(run.status.code(), Some(0));
    for key in [cm(1), cm(2)] {
        assert_eq!(leaks::find_key(&key.bytes, &[run.stdout.as_slice(), &run.stderr].concat()), None);
    }
    let table = String::from_utf8(run.stdout).unwrap();
    assert!(table.contains("10 of 10") && table.contains("01-10.0.0.11_5060-sent.wav"), "{table}");
    for json in [false, true] {
        fs::remove_dir_all(&voices).unwrap();
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let run = command().args(json.then_some("--json")).stdout(full).output().unwrap();
        assert_eq!(run.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&run.stderr).contains("can't be written to standard output"));
    }
}
