use super::*;
use crate::client::watch::{
    line,
    seen::{CallNames, ClosedSeen, GapSeen, Head, Opened, StoppedSeen, Who},
};

const SIZE: Size = Size { columns: 100, rows: 20 };

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
}

fn head(device: &str, call: &str, number: u64) -> Head {
    let names =
        CallNames { id: call.into(), switch: "pbx".into(), switch_call: String::new(), sip_call_id: "a@b".into() };
    Head {
        at: "2023-11-14T22:13:20Z".into(),
        time: at(0),
        device: device.into(),
        line: 1,
        number,
        class_number: number,
        call: names,
    }
}

fn who(uri: &str) -> Who {
    Who { uri: uri.into(), name: String::new() }
}

fn call(device: &str, id: &str, state: &str) -> Seen {
    Seen::Call(CallSeen {
        head: head(device, id, 1),
        state: state.into(),
        direction: "OUTGOING".into(),
        calling: who("sip:1001@pbx"),
        called: who("sip:1002@pbx"),
        cause: (state == "ENDED").then(|| "REJECTED".into()),
        sip_status: (state == "ENDED").then_some(486),
    })
}

fn media(device: &str, id: &str, stream: &str, indicator: &str, reason: Option<&str>) -> Seen {
    Seen::MediaOpened(MediaSeen {
        head: head(device, id, 2),
        stream: stream.into(),
        direction: "SENT".into(),
        generation: 1,
        destination: "192.0.2.1:4000".into(),
        likely_source: None,
        media: "audio".into(),
        codecs: vec!["PCMU/8000".into()],
        indicator: indicator.into(),
        reason: reason.map(Into::into),
        rule: "R16".into(),
        suite: (indicator != "NOT_ENCRYPTED").then(|| "AES_CM_128_HMAC_SHA1_80".into()),
        keys: usize::from(indicator == "KEYS_AVAILABLE"),
    })
}

fn stopped(device: &str, id: &str, stream: &str, cause: &str) -> Seen {
    Seen::MediaStopped(StoppedSeen {
        head: head(device, id, 3),
        stream: stream.into(),
        direction: "SENT".into(),
        generation: 1,
        cause: cause.into(),
    })
}

fn opened() -> Seen {
    Seen::Opened(Opened {
        at: String::new(),
        session: "s1".into(),
        gateway: "gateway".into(),
        devices: 2,
        heartbeat_seconds: 30,
        certificate_expires: None,
    })
}

fn closed(why: &str) -> Seen {
    Seen::Closed(ClosedSeen {
        at: String::new(),
        code: None,
        why: why.into(),
        retry_seconds: Some(4.0),
        was_open: true,
    })
}

fn picture(all: &[Seen]) -> Picture {
    let mut picture = Picture::new("app/1", "gateway", at(0));
    all.iter().for_each(|seen| picture.on(seen, at(1)));
    picture
}

fn shown(all: &[Seen]) -> String {
    picture(all).lines(SIZE, Style::Plain, at(76)).join("\n")
}

#[test]
fn a_call_with_its_streams_stands_on_the_picture_until_it_ends() {
    let all = [
        opened(),
        Seen::Pulse { silence_seconds: 7 },
        call("1001", "c1", "CONNECTED"),
        media("1001", "c1", "m1", "KEYS_AVAILABLE", None),
        media("1001", "c1", "m2", "KEYS_UNAVAILABLE", Some("MONITORED_LATE")),
    ];
    assert_eq!(
        shown(&all),
        "\
app/1 at gateway  open for 1:15
session s1  monitored 0 of 2 devices  heartbeat 30 s, heard 7 s ago
calls 1  events 3 (0.0/s)  delay 1 s  sessions 1  lost 0

DEVICE           STATE               FOR  PARTIES, STREAMS
1001             connected          1:15  sip:1001@pbx to sip:1002@pbx
    sent     keys are here                    audio PCMU/8000 to 192.0.2.1:4000, AES_CM_128_HMAC_SHA
    sent     no keys: monitored too late      audio PCMU/8000 to 192.0.2.1:4000, AES_CM_128_HMAC_SHA

LAST EVENTS
22:13:21.000 session s1 is open
22:13:20.000 1001 call connected, sip:1001@pbx to sip:1002@pbx
22:13:20.000 1001 sent audio: keys are here (KEYS_AVAILABLE), to 192.0.2.1:4000, AES_CM_128_HMAC_SHA
22:13:20.000 1001 sent audio: no keys: monitored too late (KEYS_UNAVAILABLE/MONITORED_LATE), to 192."
    );
    let over = [all.as_slice(), &[stopped("1001", "c1", "m1", "ENDED"), call("1001", "c1", "ENDED")]].concat();
    let over = shown(&over);
    assert!(over.contains("no call in progress"), "{over}");
    assert!(over.contains("1001 call ended (rejected, 486), sip:1001@pbx to sip:1002@pbx"), "{over}");
}

#[test]
fn a_held_stream_stays_and_a_stopped_one_goes() {
    let begin = [opened(), call("1001", "c1", "CONNECTED"), media("1001", "c1", "m1", "NOT_ENCRYPTED", None)];
    let with = |cause: &str| shown(&[begin.as_slice(), &[stopped("1001", "c1", "m1", cause)]].concat());
    assert!(with("HOLD").contains("    sent     held"));
    for cause in ["ENDED", "CHANGED"] {
        let text = with(cause);
        let calls = text.split("LAST EVENTS").next().unwrap();
        assert!(!calls.contains("    sent"), "{calls}");
    }
}

#[test]
fn every_indicator_has_words_and_a_colour() {
    for (indicator, reason, words, colour) in [
        ("KEYS_AVAILABLE", None, "keys are here", 32),
        ("NOT_ENCRYPTED", None, "not encrypted", 33),
        ("USER_NOT_AUTHORIZED", None, "no keys: the user lacks a group", 31),
        ("KEYS_UNAVAILABLE", Some("MODE"), "no keys: non-secure mode", 31),
        ("KEYS_UNAVAILABLE", Some("DOOR"), "no keys: this is the clear door", 31),
        ("KEYS_UNAVAILABLE", Some("MONITORED_LATE"), "no keys: monitored too late", 31),
        ("KEYS_UNAVAILABLE", Some("SWITCH"), "no keys: the switch doesn't know them", 31),
        ("KEYS_UNAVAILABLE", Some("AUDIT_UNAVAILABLE"), "no keys: the record can't be written", 31),
        ("KEYS_UNAVAILABLE", Some("GATEWAY_RESTARTED"), "no keys: the gateway was restarted", 31),
        ("UNKNOWN_9", None, "UNKNOWN_9", 31),
    ] {
        let seen = media("1001", "c1", "m1", indicator, reason);
        let picture = picture(&[opened(), call("1001", "c1", "CONNECTED"), seen.clone()]);
        let wide = Size { columns: 200, rows: 20 };
        let line =
            picture.lines(wide, Style::Colour, at(1)).into_iter().find(|line| line.contains("    sent")).unwrap();
        assert!(line.contains(&format!("\x1b[{colour}m")), "{line:?}");
        assert!(line.contains(words), "{line:?}");
        assert!(picture.lines(wide, Style::Plain, at(1)).iter().all(|line| !line.contains('\x1b')));
        assert!(text::happened(&seen).unwrap().contains(words));
    }
}

#[test]
fn what_was_seen_before_the_session_ended_is_shown_as_that_and_forgotten_with_the_next_one() {
    let all = [
        opened(),
        call("1001", "c1", "CONNECTED"),
        closed("GATEWAY_STOPPING (600): Connect again."),
        closed("refused"),
    ];
    let text = shown(&all);
    assert!(text.contains("PARTIES, STREAMS, as they were last seen"), "{text}");
    assert!(text.contains("closed: GATEWAY_STOPPING (600): Connect again."), "the first reason stays: {text}");
    let mut picture = picture(&all);
    assert!(picture.lines(SIZE, Style::Plain, at(2))[0].ends_with("closed, next try in 3 s"));
    picture.on(&opened(), at(5));
    assert!(picture.lines(SIZE, Style::Plain, at(5)).join("\n").contains("no call in progress"));
}

#[test]
fn a_snapshot_tells_of_calls_but_not_over_newer_events() {
    let snapshot = |number| {
        let names = head("1001", "c7", 0).call;
        let (calling, called) = (who("sip:a"), who("sip:b"));
        let security = "SECURE".into();
        let call = CallInProgress {
            call: names,
            line: 1,
            state: "CONNECTED".into(),
            direction: "OUTGOING".into(),
            calling,
            called,
            security,
        };
        Seen::Monitored(Monitored {
            device: "1001".into(),
            number,
            calls: vec![call],
            calls_left_out: 0,
            is_one_of_many: false,
        })
    };
    let text = shown(&[opened(), snapshot(9)]);
    assert!(text.contains("monitored 1 of 2"), "{text}");
    assert!(text.contains("sip:a to sip:b\n    streams from before: secure, no keys (R19)"), "{text}");
    let text = shown(&[opened(), call("1001", "c7", "ENDED"), snapshot(0)]);
    assert!(text.contains("no call in progress"), "{text}");
}

#[test]
fn lost_events_are_counted_and_named() {
    let gap = Seen::Gap(GapSeen { device: "1001".into(), line: 2, class: "MEDIA".into(), missed: 3 });
    let text = shown(&[opened(), gap]);
    assert!(text.contains("lost 3") && text.contains("1001 3 events of class media were lost, line 2"), "{text}");
}

#[test]
fn r42b_no_size_and_no_name_breaks_the_picture() {
    let evil = "\x1b[2J\r\n\u{9b}31m\u{202e}";
    let mut all = vec![opened(), closed(evil)];
    for i in 0..50 {
        let device = format!("{evil}{i}");
        all.push(call(&device, "c1", "CONNECTED"));
        all.push(media(&device, "c1", evil, "KEYS_AVAILABLE", None));
    }
    let picture = picture(&all);
    for columns in [0, 1, 20, 80, 1000] {
        for rows in [0, 1, 4, 5, 10, 24, 60, 1000] {
            for style in [Style::Plain, Style::Colour] {
                let lines = picture.lines(Size { columns, rows }, style, at(0));
                assert!(lines.len() <= rows.max(SMALLEST.rows), "{} lines for {rows}", lines.len());
                for line in lines {
                    let plain = line.replace("\x1b[0m", "");
                    let codes = plain.matches("\x1b[").count();
                    assert!(!plain.contains(['\r', '\n', '\u{9b}', '\u{202e}']), "{plain:?}");
                    assert!(style == Style::Colour || codes == 0);
                    assert!(style == Style::Colour || plain.chars().count() <= columns.max(SMALLEST.columns));
                }
            }
        }
    }
    let few = picture.lines(Size { columns: 80, rows: 24 }, Style::Plain, at(0)).join("\n");
    assert!(few.contains("... and 4"), "what has no room is counted: {few}");
    assert!(few.contains("LAST EVENTS"), "{few}");
    assert!(all.iter().filter_map(line).all(|line| !line.contains(['\x1b', '\r', '\n'])));
}

#[test]
fn r20_no_key_is_in_json() {
    let json = media("1001", "c1", "m1", "KEYS_AVAILABLE", None).to_json().unwrap();
    assert!(json.starts_with(r#"{"seen":"media_opened","at":"#), "{json}");
    assert!(json.contains(r#""keys":1"#), "{json}");
    assert_eq!(Seen::Pulse { silence_seconds: 1 }.to_json(), None);
    assert_eq!(Seen::MonitoredMany { devices: 11, with_calls: 1 }.to_json(), None);
}

#[test]
fn the_rate_soon_after_the_start_is_of_the_time_that_has_passed() {
    let all: Vec<Seen> =
        std::iter::once(opened()).chain((0..24).map(|i| call("1001", &format!("c{i}"), "CONNECTED"))).collect();
    for (second, words) in [(1, "(24.0/s)"), (6, "(4.0/s)"), (10, "(2.4/s)"), (12, "(0.0/s)")] {
        let shown = picture(&all).lines(SIZE, Style::Plain, at(second)).join("\n");
        assert!(shown.contains(&format!("events 24 {words}")), "{second}: {shown}");
    }
}
