use std::{
    io::{Cursor, Read},
    net::Ipv4Addr,
};

use etherparse::{IpNumber, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, PacketBuilder};
use proptest::prelude::*;

use super::*;

const CALL: &[u8] = include_bytes!("../../../tests/data/asterisk22-basic/call.pcap");

fn read(file: &[u8]) -> (Vec<Packet>, Option<CaptureError>, CaptureCounts) {
    let mut capture = match Capture::from_reader(Cursor::new(file.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return (vec![], Some(error), CaptureCounts::default()),
    };
    let (mut packets, mut error) = (vec![], None);
    for packet in capture.by_ref() {
        match packet {
            Ok(packet) => packets.push(packet),
            Err(found) => error = Some(found),
        }
    }
    assert!(capture.next().is_none());
    (packets, error, capture.counts())
}

fn ipv4(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(5060, 9060);
    let mut packet = vec![];
    builder.write(&mut packet, payload).unwrap();
    packet
}

fn ipv6(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(5060, 9060);
    let mut packet = vec![];
    builder.write(&mut packet, payload).unwrap();
    packet
}

/// A classic pcap in one of its four dialects.
fn pcap(link: u32, big_endian: bool, nanoseconds: bool, packets: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let number = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let magic = if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 };
    let version = if big_endian { [0, 2, 0, 4] } else { [2, 0, 4, 0] };
    let mut file = [number(magic), version, number(0), number(0), number(65535), number(link)].concat();
    for (seconds, fraction, data) in packets {
        let len = number(u32::try_from(data.len()).unwrap());
        file.extend([number(*seconds), number(*fraction), len, len].concat());
        file.extend(data);
    }
    file
}

fn simple_pcap(link: u32, frame: Vec<u8>) -> Vec<u8> {
    pcap(link, false, false, &[(1, 2, frame)])
}

/// A block of pcapng. All fields are in words of 4 bytes but the body, which is padded.
fn block(big_endian: bool, kind: u32, words: &[u32], body: &[u8], options: &[u8]) -> Vec<u8> {
    let number = |n: u32| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
    let padded = body.len().next_multiple_of(4);
    let len = number(u32::try_from(12 + 4 * words.len() + padded + options.len()).unwrap());
    let mut block = [number(kind), len].concat();
    block.extend(words.iter().flat_map(|word| number(*word)));
    block.extend(body);
    block.resize(block.len() + padded - body.len(), 0);
    block.extend(options);
    block.extend(len);
    block
}

fn section(big_endian: bool) -> Vec<u8> {
    let version = if big_endian { 0x0001_0000 } else { 1 };
    block(big_endian, 0x0a0d_0d0a, &[0x1a2b_3c4d, version, u32::MAX, u32::MAX], &[], &[])
}

fn interface(big_endian: bool, link: u16, options: &[u8]) -> Vec<u8> {
    let link = if big_endian { u32::from(link) << 16 } else { u32::from(link) };
    block(big_endian, 1, &[link, 0], &[], options)
}

fn enhanced(big_endian: bool, id: u32, time: u64, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    block(big_endian, 6, &[id, (time >> 32) as u32, time as u32, len, len], data, &[])
}

fn ethernet(tags: &[u16], kind: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 7]);
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(packet);
    frame
}

#[test]
fn the_recorded_call_is_read_whole() {
    let (packets, error, counts) = read(CALL);
    assert_eq!(error, None);
    let count = |kind| packets.iter().filter(|packet| packet.kind() == kind).count();
    assert_eq!(count(PacketKind::Rtp), 453 + 453 + 452 + 452);
    assert_eq!(
        count(PacketKind::Hep),
        include_str!("../../../tests/data/asterisk22-basic/sip-sequence.txt").lines().count()
    );
    assert_eq!((counts.datagrams, counts.cut, counts.unknown_link), (packets.len() as u64, 0, 0));
    assert!(packets.windows(2).all(|two| two[0].at <= two[1].at), "the file is in order");
    let hep = packets.iter().find(|packet| packet.is_hep()).unwrap();
    assert_eq!(hep.destination, "127.0.0.1:9060".parse().unwrap());
    assert!((1_700_000_000_000_000..2_000_000_000_000_000).contains(&hep.at.0), "{:?}", hep.at);
}

#[test]
fn a_reader_that_gives_one_byte_at_a_time_is_read_alike() {
    struct Slow(Cursor<Vec<u8>>);
    impl Read for Slow {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let len = buffer.len().min(1);
            self.0.read(&mut buffer[..len])
        }
    }
    let slow = Capture::from_reader(Slow(Cursor::new(CALL[..20_000].to_vec()))).unwrap();
    let slow: Vec<_> = slow.filter_map(Result::ok).collect();
    assert!(slow == read(&CALL[..20_000]).0);
    assert!(slow.len() > 20);
}

#[test]
fn all_dialects_of_pcap_are_read() {
    for (big_endian, nanoseconds) in [(false, false), (false, true), (true, false), (true, true)] {
        let fraction = if nanoseconds { 345_678_901 } else { 345_678 };
        let file = pcap(101, big_endian, nanoseconds, &[(1_700_000_000, fraction, ipv4(b"HEP3...."))]);
        let (packets, error, _) = read(&file);
        assert_eq!((packets.len(), error), (1, None));
        assert_eq!(packets[0].at, Timestamp(1_700_000_000_345_678));
        assert_eq!(packets[0].source, "192.0.2.1:5060".parse().unwrap());
        assert_eq!(packets[0].destination, "192.0.2.2:9060".parse().unwrap());
        assert_eq!(packets[0].payload.as_slice(), b"HEP3....");
    }
}

#[test]
fn all_link_types_are_read() {
    let packet = ipv4(b"HEP3");
    let sll = |header: &[u8]| [header, &packet].concat();
    let cases = [
        (1, ethernet(&[], 0x0800, &packet)),
        (1, ethernet(&[0x8100], 0x0800, &packet)),
        (1, ethernet(&[0x88a8, 0x8100], 0x0800, &packet)),
        (1, ethernet(&[], 0x0800, &[&packet[..], &[0; 14]].concat())), // padded to the least frame
        (113, sll(&[0, 0, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0])),
        (276, sll(&[8, 0, 0, 0, 0, 0, 0, 1, 3, 4, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0])),
        (0, sll(&[2, 0, 0, 0])),
        (0, sll(&[0, 0, 0, 2])),
        (108, sll(&[0, 0, 0, 2])),
        (12, packet.clone()),
        (14, packet.clone()),
        (101, packet.clone()),
        (228, packet.clone()),
        (229, ipv6(b"HEP3")),
        (101, ipv6(b"HEP3")),
        (1, ethernet(&[], 0x86dd, &ipv6(b"HEP3"))),
        (0x1000_0001, ethernet(&[], 0x0800, &[&packet[..], &[1, 2, 3, 4]].concat())), // with checksum
    ];
    for (i, (link, frame)) in cases.into_iter().enumerate() {
        let (packets, error, _) = read(&simple_pcap(link, frame));
        assert_eq!((packets.len(), error), (1, None), "case {i}, link type {link}");
        assert!(packets[0].payload.as_slice() == b"HEP3" && !packets[0].cut, "case {i}, link type {link}");
    }
    assert_eq!(read(&simple_pcap(189, vec![])).1, Some(CaptureError::LinkType { number: 189 }));
}

#[test]
fn what_is_not_udp_is_counted() {
    let mut tcp = vec![];
    PacketBuilder::ipv4([1; 4], [2; 4], 64).tcp(1, 2, 3, 4).write(&mut tcp, b"HEP3").unwrap();
    let arp = ethernet(&[], 0x0806, &[0; 28]);
    let file = pcap(1, false, false, &[(1, 0, ethernet(&[], 0x0800, &tcp)), (1, 0, arp), (1, 0, vec![])]);
    let (packets, error, counts) = read(&file);
    assert_eq!((packets.len(), error), (0, None));
    assert_eq!(counts, CaptureCounts { records: 3, other: 3, ..Default::default() });
}

#[test]
fn ipv6_extension_headers_are_stepped_over() {
    let inner = ipv6(b"HEP3")[40..].to_vec();
    let options = [17, 0, 1, 4, 0, 0, 0, 0];
    let header = Ipv6Header {
        payload_length: u16::try_from(inner.len() + 8).unwrap(),
        next_header: IpNumber::IPV6_DESTINATION_OPTIONS,
        hop_limit: 9,
        source: [1; 16],
        destination: [2; 16],
        ..Default::default()
    };
    let packet = [&header.to_bytes()[..], &options, &inner].concat();
    let (packets, _, _) = read(&simple_pcap(229, packet));
    assert!(packets.len() == 1 && packets[0].payload.as_slice() == b"HEP3");
}

fn ipv4_fragments(payload: &[u8], size: usize) -> Vec<Vec<u8>> {
    let segment = ipv4(payload)[20..].to_vec();
    let pieces: Vec<_> = segment.chunks(size).collect();
    let last = pieces.len() - 1;
    let fragment = |(i, piece): (usize, &&[u8])| {
        let len = u16::try_from(piece.len()).unwrap();
        let mut header = Ipv4Header::new(len, 64, IpNumber::UDP, [192, 0, 2, 1], [192, 0, 2, 2]).unwrap();
        header.identification = 77;
        header.more_fragments = i < last;
        header.fragment_offset = u16::try_from(i * size / 8).unwrap().try_into().unwrap();
        [&header.to_bytes()[..], piece].concat()
    };
    pieces.iter().enumerate().map(fragment).collect()
}

#[test]
fn fragments_are_put_together_in_any_order() {
    let payload: Vec<u8> = b"HEP3".iter().copied().chain((0..=255).cycle().take(5000)).collect();
    let mut fragments = ipv4_fragments(&payload, 1480);
    for _ in 0..2 {
        let records: Vec<_> = fragments.iter().map(|fragment| (1, 2, fragment.clone())).collect();
        let (packets, error, counts) = read(&pcap(228, false, false, &records));
        assert_eq!((packets.len(), error, counts.fragments), (1, None, 0));
        assert!(packets[0].payload.as_slice() == payload);
        fragments.reverse();
    }
    fragments.pop();
    let records: Vec<_> = fragments.iter().map(|fragment| (1, 2, fragment.clone())).collect();
    let (packets, _, counts) = read(&pcap(228, false, false, &records));
    assert_eq!((packets.len(), counts.fragments), (0, 3));
}

#[test]
fn ipv6_fragments_are_put_together() {
    let segment = ipv6(&[b'x'; 2000])[40..].to_vec();
    let (first, second) = segment.split_at(1200);
    let fragment = |offset: u16, more, piece: &[u8]| {
        let extension = Ipv6FragmentHeader::new(IpNumber::UDP, (offset / 8).try_into().unwrap(), more, 99);
        let header = Ipv6Header {
            payload_length: u16::try_from(8 + piece.len()).unwrap(),
            next_header: IpNumber::IPV6_FRAGMENTATION_HEADER,
            source: [1; 16],
            destination: [2; 16],
            ..Default::default()
        };
        (1, 0, [&header.to_bytes()[..], &extension.to_bytes(), piece].concat())
    };
    let (packets, _, _) = read(&pcap(229, false, false, &[fragment(0, true, first), fragment(1200, false, second)]));
    assert!(packets.len() == 1 && packets[0].payload.as_slice() == [b'x'; 2000]);
}

#[test]
fn r41a_open_fragments_are_bounded_in_number_and_time() {
    let first = |seconds: u32, id: u16| {
        let mut header = Ipv4Header::new(8, 64, IpNumber::UDP, [1; 4], [2; 4]).unwrap();
        header.identification = id;
        header.more_fragments = true;
        (seconds, 0, [&header.to_bytes()[..], &[0; 8]].concat())
    };
    let records: Vec<_> = (0..10_000).map(|id| first(u32::from(id) / 100, id)).collect();
    let mut capture = Capture::from_reader(Cursor::new(pcap(228, false, false, &records))).unwrap();
    assert!(capture.next().is_none());
    assert_eq!(capture.counts().fragments, 10_000);
    assert!(capture.frames.open_fragments() <= 64);
}

#[test]
fn what_the_snap_length_cut_is_yielded_and_marked() {
    let frame = ethernet(&[], 0x0800, &ipv4(&[0x80; 172]));
    let mut file = simple_pcap(1, frame[..100].to_vec());
    file[24 + 12..24 + 16].copy_from_slice(&(frame.len() as u32).to_le_bytes());
    let (packets, error, counts) = read(&file);
    assert_eq!((packets.len(), error, counts.cut), (1, None, 1));
    assert!(packets[0].cut && packets[0].payload.len() == 100 - 42);
}

#[test]
fn a_truncated_capture_yields_what_there_is_and_says_where_it_was_cut() {
    let (all, _, _) = read(CALL);
    let cut = CALL.len() / 2;
    let (packets, error, _) = read(&CALL[..cut]);
    let Some(CaptureError::Truncated { byte, packets: told, .. }) = &error else { panic!("{error:?}") };
    assert_eq!((*byte, *told), (cut as u64, packets.len() as u64));
    assert!(packets.len() > 500 && packets[..] == all[..packets.len()]);
    let text = error.unwrap().to_string();
    assert!(text.contains(&format!("at byte {cut}")) && text.contains("Copy it again"), "{text}");

    // Cut inside the file's own header, and exactly between two records.
    assert_eq!(read(&CALL[..20]).1, Some(CaptureError::Truncated { byte: 20, record: 1, packets: 0 }));
    assert_eq!(read(&CALL[..24]).1, None);
}

#[test]
fn what_is_no_capture_is_named() {
    let found = |file: &[u8]| read(file).1.unwrap().to_string();
    assert_eq!(read(&[]).1, Some(CaptureError::Empty));
    assert_eq!(
        found(&[0x1f, 0x8b, 8, 0, 0, 0]),
        "this is no capture (pcap or pcapng) but a gzip file: decompress it first"
    );
    assert!(found(b"INVITE sip:1002@example.com SIP/2.0\r\n").contains("but text"));
    assert!(found(&[0, 1, 2, 3, 4]).contains("begins with 00 01 02 03"));
    let missing = Capture::open(Path::new("no/such/file")).err().unwrap().to_string();
    assert!(missing.starts_with("no/such/file can't be opened: "), "{missing}");
}

#[test]
fn a_record_longer_than_any_packet_is_damage_not_memory() {
    let mut file = simple_pcap(101, ipv4(b"HEP3"));
    file.extend([0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    let (packets, error, _) = read(&file);
    let Some(CaptureError::Damaged { record: 2, packets: 1, .. }) = error else { panic!("{error:?}") };
    assert_eq!(packets.len(), 1);
}

#[test]
fn pcapng_is_read_in_both_byte_orders_with_each_interface_s_clock() {
    for big_endian in [false, true] {
        let option = |code: u16, value: &[u8]| {
            let number = |n: u16| if big_endian { n.to_be_bytes() } else { n.to_le_bytes() };
            let len = u16::try_from(value.len()).unwrap();
            let mut option = [number(code), number(len)].concat();
            option.extend(value);
            option.resize(option.len().next_multiple_of(4), 0);
            option.extend([0; 4]);
            option
        };
        let hour = if big_endian { 3600i64.to_be_bytes() } else { 3600i64.to_le_bytes() };
        let packet = ipv4(b"HEP3!");
        let file = [
            section(big_endian),
            interface(big_endian, 101, &[]),
            interface(big_endian, 1, &option(9, &[9])),
            interface(big_endian, 101, &option(9, &[0x80 | 10])),
            interface(big_endian, 101, &option(14, &hour)),
            interface(big_endian, 189, &[]),
            enhanced(big_endian, 0, 1_700_000_000_000_001, &packet),
            enhanced(big_endian, 1, 1_700_000_000_000_002_999, &ethernet(&[], 0x0800, &packet)),
            block(big_endian, 0x0bad, &[], &[1; 999_999], &[]), // unknown, and longer than any packet
            enhanced(big_endian, 2, 1_700_000_000 * 1024 + 512, &packet),
            block(big_endian, 3, &[u32::try_from(packet.len()).unwrap()], &packet, &[]),
            enhanced(big_endian, 3, 5_000_000, &packet),
            enhanced(big_endian, 4, 0, &packet),
            section(!big_endian),
            interface(!big_endian, 101, &[]),
            enhanced(!big_endian, 0, 7, &packet),
        ];
        let (packets, error, counts) = read(&file.concat());
        assert_eq!(error, None);
        let times: Vec<_> = packets.iter().map(|packet| packet.at.0).collect();
        assert_eq!(
            times,
            [
                1_700_000_000_000_001,
                1_700_000_000_000_002,
                1_700_000_000_500_000,
                1_700_000_000_500_000,
                3_605_000_000,
                7
            ]
        );
        assert!(packets.iter().all(|packet| packet.payload.as_slice() == b"HEP3!"));
        assert_eq!(counts.unknown_link, 1);
    }
}

#[test]
fn a_truncated_or_wrong_pcapng_is_told_apart() {
    let whole = [section(false), interface(false, 101, &[]), enhanced(false, 0, 1, &ipv4(b"HEP3"))].concat();
    for cut in [9, 30, whole.len() - 1] {
        let error = read(&whole[..cut]).1;
        let Some(CaptureError::Truncated { byte, .. }) = error else { panic!("cut at {cut}: {error:?}") };
        assert_eq!(byte, cut as u64);
    }
    let stray = [section(false), enhanced(false, 0, 1, &ipv4(b"HEP3"))].concat();
    let error = read(&stray).1;
    assert!(
        matches!(error, Some(CaptureError::Damaged { what: "names an interface that isn't there", .. })),
        "{error:?}"
    );
}

#[test]
fn kinds_are_told_by_the_first_bytes() {
    let kind = |payload: &[u8]| {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (at, payload) = (Timestamp(0), Zeroizing::new(payload.to_vec()));
        Packet { at, source: nowhere, destination: nowhere, payload, cut: false }.kind()
    };
    assert_eq!(kind(b"HEP3"), PacketKind::Hep);
    assert_eq!(kind(&[0x80; 12]), PacketKind::Rtp);
    assert_eq!(kind(&[0x80; 11]), PacketKind::Other);
    assert_eq!(kind(&[0x80, 191, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), PacketKind::Rtp);
    assert_eq!(kind(&[0x80, 192, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), PacketKind::Rtcp);
    assert_eq!(kind(&[0x81, 200, 0, 1, 0, 0, 0, 0]), PacketKind::Rtcp);
    assert_eq!(kind(&[0x80, 224, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), PacketKind::Rtp);
    assert_eq!(kind(&[0x40; 12]), PacketKind::Other);
    assert_eq!(kind(&[]), PacketKind::Other);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..Default::default() })]

    #[test]
    fn r42b_a_mutated_capture_never_panics(
        changes in prop::collection::vec((0..30_000usize, any::<u8>()), 1..40),
        len in 0..30_000usize,
    ) {
        let mut file = CALL[..len].to_vec();
        for (place, byte) in changes {
            if let Some(place) = file.get_mut(place) {
                *place = byte;
            }
        }
        read(&file);
    }

    #[test]
    fn r42b_a_mutated_pcapng_never_panics(changes in prop::collection::vec((0..400usize, any::<u8>()), 1..10)) {
        let frames = ipv4_fragments(&[7; 100], 64);
        let mut file = [section(false), interface(false, 101, &[9, 0, 1, 0, 6, 0, 0, 0]), interface(true, 1, &[])].concat();
        file.extend(frames.iter().flat_map(|frame| enhanced(false, 0, 1, frame)));
        for (place, byte) in changes {
            if let Some(place) = file.get_mut(place) {
                *place = byte;
            }
        }
        read(&file);
    }

    #[test]
    fn r42b_any_frame_of_any_link_type_never_panics(
        link in prop::sample::select(vec![0, 1, 12, 14, 101, 108, 113, 228, 229, 276]),
        frame in prop::collection::vec(any::<u8>(), 0..120),
        version in prop::sample::select(vec![0x45, 0x60]),
    ) {
        let mut frame = frame;
        if let Some(first) = frame.first_mut() {
            *first = version;
        }
        read(&simple_pcap(link, frame));
    }
}
