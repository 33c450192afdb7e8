//! Captures: every file format, link type and spelling.

use crate::{
    capture::{Format, Link, chunk},
    scene::{Answer, By, Scene, Voice, avp, cm, dialog, savp},
};

/// What is said of [`a_call`].
pub const BOTH: [&str; 2] = ["c A sent CM keys a>p [a] 10/10", "c A received CM keys p>a [b] 10/10"];

/// A secure call of A over P, ten packets each way, in a scene that was prepared for it.
pub fn a_call(scene: &mut Scene) -> Answer {
    let call = dialog("c", "A P");
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.register("A", "P");
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 10).bye(&call, By::Called);
    scene.decrypt()
}

#[test]
fn every_link_type_and_file_format_is_read() {
    for link in [Link::Ethernet, Link::Vlan, Link::Null, Link::Raw, Link::Sll, Link::Sll2] {
        for format in [Format::Pcap, Format::BigEndian, Format::Nanoseconds, Format::Pcapng] {
            let mut scene = Scene::empty();
            (scene.file.link, scene.file.format) = (link, format);
            a_call(&mut scene).is(0, &BOTH);
        }
    }
}

#[test]
fn hep_in_ip_fragments_is_put_together() {
    for link in [Link::Ethernet, Link::Sll2] {
        let mut scene = Scene::empty();
        (scene.file.link, scene.file.fragment) = (link, 512);
        scene.rewrite = |text| text.replacen("Call-ID", &format!("X-Long: {}\r\nCall-ID", "x".repeat(3000)), 1);
        a_call(&mut scene).is(0, &BOTH);
    }
}

#[test]
fn hep_may_come_over_ipv6_and_tell_of_ipv4() {
    let mut scene = Scene::empty();
    scene.collector = ["[fd00::1]:40000".parse().unwrap(), "[fd00::2]:9060".parse().unwrap()];
    scene.file.fragment = 600;
    a_call(&mut scene).is(0, &BOTH);
}

#[test]
fn signalling_and_media_may_be_ipv6() {
    let mut scene = Scene::empty();
    let (phone, pbx) = ("[fd00::11]:5060", "[fd00::1]:5060");
    let (a, p) = ("[fd00::11]:4000", "[fd00::1]:6000");
    scene.register(phone, pbx);
    scene.call(&dialog("c", &format!("{phone} {pbx}")), &savp(a, &cm(1)), &savp(p, &cm(2)));
    let (mut ours, mut theirs) = (Voice::secure(a, p, 0xa, &cm(1)), Voice::secure(p, a, 0xb, &cm(2)));
    scene.talk(&mut [&mut ours, &mut theirs], 10);
    let rows = [
        "c [fd00::11]:5060 sent CM keys [fd00::11]:4000>[fd00::1]:6000 [a] 10/10",
        "c [fd00::11]:5060 received CM keys [fd00::1]:6000>[fd00::11]:4000 [b] 10/10",
    ];
    scene.decrypt().is(0, &rows);
}

#[test]
fn hep_s_clock_need_not_be_the_capture_s() {
    for hours in [-30, -1, 1, 30] {
        let mut scene = Scene::empty();
        scene.skew = hours * 3_600_000_000;
        a_call(&mut scene).is(0, &BOTH);
    }
}

#[test]
fn hep_chunks_come_in_any_order_and_strange_ones_are_stepped_over() {
    let mut scene = Scene::empty();
    scene.reshape = |mut chunks| {
        chunks.reverse();
        let strange = [(3, 15, &b"INVITE"[..]), (0, 0x7777, b""), (0, 0x11, b"PJSIP/a-1"), (0xffff, 1, b"\xff")];
        chunks.splice(1..1, strange.map(|(vendor, kind, value)| chunk(vendor, kind, value)));
        chunks
    };
    a_call(&mut scene).is(0, &BOTH);
}

#[test]
fn hep_without_time_counts_as_of_its_arrival() {
    let mut scene = Scene::empty();
    scene.reshape = |mut chunks| {
        chunks.retain(|chunk| !matches!(chunk[3], 9 | 10 | 12));
        chunks
    };
    a_call(&mut scene).is(0, &BOTH);
}

#[test]
fn sip_over_tcp_is_read_as_over_udp() {
    let mut scene = Scene::empty();
    scene.transport = 6;
    scene.rewrite = |text| text.replace("SIP/2.0/UDP", "SIP/2.0/TCP").replace(">;expires", ";transport=tcp>;expires");
    let tcp = BOTH.map(|row| row.replace(" A ", " tcp:10.0.0.11:5060 "));
    a_call(&mut scene).is(0, &tcp.each_ref().map(String::as_str));
}

#[test]
fn every_spelling_of_sip_is_read() {
    let compact: fn(String) -> String = |text| {
        [
            ("Via:", "v :"),
            ("From:", "f:"),
            ("To:", "t:"),
            ("Call-ID:", "i:"),
            ("Contact:", "m:"),
            ("Content-Type:", "c:"),
        ]
        .iter()
        .fold(text.replace("Content-Length:", "l:"), |text, (long, short)| text.replace(long, short))
    };
    let folded: fn(String) -> String =
        |text| text.replace(": SIP/2.0", ":\r\n SIP/2.0").replace(" INVITE\r\n", "\r\n\tINVITE\r\n");
    let lower: fn(String) -> String = |text| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let (start, headers) = head.split_once("\r\n").unwrap();
        let headers: Vec<_> = headers.split("\r\n").map(|line| line.split_once(':').unwrap()).collect();
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{}:{value}", name.to_lowercase())).collect();
        format!("{start}\r\n{}\r\n\r\n{body}", headers.join("\r\n"))
    };
    let upper: fn(String) -> String = |text| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        format!(
            "{}\r\n\r\n{}",
            head.replace("From", "FROM").replace("CSeq", "CSEQ"),
            body.replace("rtp/savp", "RTP/SAVP")
        )
    };
    let bare_feeds: fn(String) -> String = |text| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let body = body.replace("\r\n", "\n");
        let head = head.replace("\r\n", "\n");
        let (head, _) = head.rsplit_once("Content-Length").unwrap();
        format!("{head}Content-Length: {}\n\n{body}", body.len())
    };
    let without_length: fn(String) -> String = |text| {
        let (head, rest) = text.split_once("Content-Length").unwrap();
        format!("{head}{}", rest.split_once("\r\n").unwrap().1)
    };
    let multipart: fn(String) -> String = |text| {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        if body.is_empty() {
            return text;
        }
        let (head, _) = head.split_once("Content-Type").unwrap();
        let body = format!(
            "--=_x\r\nContent-Type: application/isup\r\n\r\n\x01\x02\r\n--=_x\r\nContent-Type: application/sdp;charset=u\r\n\
             Content-Disposition: session\r\n\r\n{body}\r\n--=_x--\r\n"
        );
        format!("{head}Content-Type: multipart/mixed;boundary=\"=_x\"\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    for spelling in [compact, folded, lower, upper, bare_feeds, without_length, multipart] {
        let mut scene = Scene::empty();
        scene.rewrite = spelling;
        a_call(&mut scene).is(0, &BOTH);
    }
}

#[test]
fn the_connection_line_of_the_medium_goes_before_that_of_the_session() {
    let mut scene = Scene::empty();
    let moved = |sdp: String, ip: &str| {
        let line = format!("c=IN IP4 {ip}\r\n");
        sdp.replace(&line, "c=IN IP4 10.7.7.7\r\n").replace("0 101\r\n", &format!("0 101\r\n{line}"))
    };
    let (call, ours, theirs) = (dialog("c", "A P"), savp("a", &cm(1)), savp("p", &cm(2)));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.register("A", "P");
    scene.call(&call, &moved(ours, "10.0.0.11"), &moved(theirs, "10.0.0.1")).talk(&mut [&mut a, &mut p], 10);
    scene.decrypt().is(0, &BOTH);
}

#[test]
fn hundreds_of_calls_at_once_are_told_apart() {
    let crowd: u16 = 300;
    let mut scene = Scene::empty();
    let name = |i: u16, port: u16| format!("10.1.{}.{}:{port}", i / 100, i % 100 + 1);
    let mut voices = Vec::new();
    let calls: Vec<_> = (0..crowd).map(|i| dialog(&format!("call-{i}"), &format!("{} P", name(i, 5060)))).collect();
    for (i, call) in (0..crowd).zip(&calls) {
        let (phone, pbx) = (name(i, 4000), format!("10.0.0.1:{}", 10_000 + 2 * i));
        let secure = i % 3 != 0;
        let offer = |to: &str, seed| if secure { savp(to, &cm(seed)) } else { avp(to) };
        let seed = (i % 7) as u8;
        scene.call(call, &offer(&phone, seed), &offer(&pbx, seed + 100));
        voices.push(if secure {
            Voice::secure(&phone, &pbx, u32::from(i) + 1, &cm(seed))
        } else {
            Voice::clear(&phone, &pbx, u32::from(i) + 1)
        });
    }
    scene.talk(&mut voices.iter_mut().collect::<Vec<_>>(), 3);
    for call in &calls {
        scene.bye(call, By::Called);
    }
    let answer = scene.decrypt();
    let rows = answer.rows();
    assert_eq!((answer.code, rows.len()), (0, 2 * usize::from(crowd)), "{}", answer.words());
    let ending = |end: &str| rows.iter().filter(|row| row.ends_with(end)).count();
    assert_eq!((ending(" 3/3"), ending(" 0/3"), ending(" 0/0")), (200, 100, 300));
}

#[test]
fn captures_whose_times_go_back_a_little_are_read_in_the_order_of_the_file() {
    let mut scene = Scene::empty();
    a_call(&mut scene);
    for (i, (at, _)) in scene.file.packets.iter_mut().enumerate() {
        *at -= i64::try_from(i % 3).unwrap() * 7000;
    }
    scene.decrypt().is(0, &BOTH);
}
