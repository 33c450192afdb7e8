//! What the gateway sends: one message of each kind. The keys count up from 00 and are nobody's.

use callgate_wire::{
    VERSION,
    v1::{
        AuthChallenge, CallDirection, CallRef, CallSecurity, CallSnapshot, CallState, CallStateChanged,
        CapabilityChange, CapabilityChanged, CertificateExpires, Close, Codec, Device, DeviceList, DeviceOutOfService,
        DeviceSnapshot, EndCause, Error, ErrorCode, Event, EventClass, GatewayLeaving, Heartbeat, Indicator, Line,
        MediaDirection, MediaOpened, MediaStopped, Monitored, OpenResult, Opened, Party, Probe, Refusal, SrtpKey,
        SrtpKeys, StopCause, ToApp, UnavailableReason, Unmonitored, Welcome, event::Body, open_result, to_app::Message,
    },
};

use super::Vector;

const START: i64 = 1_700_000_000_000_000;

pub(crate) fn vectors() -> Vec<Vector<ToApp>> {
    [answers(), events()].into_iter().flatten().collect()
}

fn vector(name: &'static str, about: &'static str, reply_to: u64, message: Message) -> Vector<ToApp> {
    Vector { name, about, message: ToApp { reply_to, message: Some(message) } }
}

fn answers() -> Vec<Vector<ToApp>> {
    let refused = open_result::Result::Refused(ErrorCode::ConnectionOnInvalidPort.into());
    vec![
        vector(
            "to_app_welcome",
            "answers Hello.",
            1,
            Message::Welcome(Welcome { version: Some(VERSION), features: vec!["example-feature".into()] }),
        ),
        vector(
            "to_app_auth_challenge",
            "the server-first-message of RFC 7677, section 3.",
            2,
            Message::AuthChallenge(AuthChallenge {
                data: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096".into(),
            }),
        ),
        vector(
            "to_app_open_result_opened",
            "the session is open, by SCRAM: with the server-final-message of RFC 7677, section 3.",
            3,
            opened(0, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
        ),
        vector(
            "to_app_open_result_opened_certificate",
            "the session is open, by certificate.",
            2,
            opened(1_800_000_000, ""),
        ),
        vector(
            "to_app_open_result_opened_epoch",
            "the session is open, on a gateway that names its run.",
            2,
            opened_by(Opened { epoch: 1_700_000_000_000_000, ..said(1_800_000_000, "") }),
        ),
        vector(
            "to_app_open_result_opened_limits",
            "the session is open, on a gateway that says its limits.",
            2,
            opened_by(Opened {
                epoch: 1_700_000_000_000_000,
                max_monitors: 10_000,
                max_requests_in_flight: 64,
                max_queued_bytes: 1 << 20,
                probe_milliseconds: 3000,
                ..said(1_800_000_000, "")
            }),
        ),
        vector(
            "to_app_open_result_refused",
            "the session is refused.",
            2,
            Message::OpenResult(OpenResult { result: Some(refused) }),
        ),
        vector("to_app_device_list", "a page of devices, with more behind it.", 4, device_list()),
        vector(
            "to_app_monitored",
            "device 1001 is monitored; it has a secure call.",
            5,
            Message::Monitored(Monitored {
                classes: vec![EventClass::Call.into(), EventClass::Media.into()],
                snapshot: Some(snapshot()),
            }),
        ),
        vector(
            "to_app_unmonitored",
            "media events of device 1001 have ended, call events go on.",
            6,
            Message::Unmonitored(Unmonitored { device: "1001".into(), classes: vec![EventClass::Call.into()] }),
        ),
        vector("to_app_snapshot", "how device 1001 stands.", 7, Message::Snapshot(snapshot())),
        vector("to_app_heartbeat", "the gateway is alive.", 0, Message::Heartbeat(Heartbeat {})),
        vector(
            "to_app_probe",
            "another connection wants to open this instance: is the app alive?",
            0,
            Message::Probe(Probe { within_milliseconds: 3000 }),
        ),
        vector(
            "to_app_gateway_leaving",
            "the gateway stops in ten seconds: there are two others.",
            0,
            Message::GatewayLeaving(GatewayLeaving {
                gateways: vec!["cti2.example.org:2749".into(), "[2001:db8::1]:2749".into()],
                closes_in_seconds: 10,
            }),
        ),
        vector(
            "to_app_certificate_expires",
            "a day of the app's certificate is left.",
            0,
            Message::CertificateExpires(CertificateExpires {
                expires_unix_seconds: 1_800_000_000,
                seconds_left: 86_400,
                closes_unix_seconds: 1_800_003_600,
            }),
        ),
        vector(
            "to_app_certificate_expires_ended",
            "the app's certificate has ended a minute ago.",
            0,
            Message::CertificateExpires(CertificateExpires {
                expires_unix_seconds: 1_800_000_000,
                seconds_left: -60,
                closes_unix_seconds: 1_800_003_600,
            }),
        ),
        vector(
            "to_app_close",
            "the gateway ends the session.",
            0,
            Message::Close(Close { reason: Some(ErrorCode::GatewayStopping.into()) }),
        ),
        vector(
            "to_app_refusal",
            "a request is refused, and the session goes on.",
            5,
            Message::Refusal(Refusal {
                error: Some(Error { detail: "1009".into(), ..ErrorCode::DeviceUnknown.into() }),
            }),
        ),
        vector(
            "to_app_capability_changed",
            "the user has left the group that keys need, and sees fewer devices.",
            0,
            Message::CapabilityChanged(CapabilityChanged {
                changes: vec![CapabilityChange::Groups.into(), CapabilityChange::Devices.into()],
                groups: vec!["Standard CTI Enabled".into(), "Standard CTI Secure Connection".into()],
                keys: false,
                device_count: 1,
                rights_version: 7,
            }),
        ),
        vector(
            "to_app_capability_changed_keys",
            "the user has entered it.",
            0,
            Message::CapabilityChanged(CapabilityChanged {
                changes: vec![CapabilityChange::Groups.into()],
                groups: vec![
                    "Standard CTI Enabled".into(),
                    "Standard CTI Secure Connection".into(),
                    "Standard CTI Allow Reception of SRTP Key Material".into(),
                ],
                keys: true,
                device_count: 1,
                rights_version: 8,
            }),
        ),
        vector(
            "to_app_device_out_of_service",
            "line 2 of device 1001 is restricted now.",
            0,
            Message::DeviceOutOfService(DeviceOutOfService {
                device: "1001".into(),
                lines: vec![2],
                reason: Some(Error { detail: "1001".into(), ..ErrorCode::DeviceOutOfService.into() }),
            }),
        ),
    ]
}

fn events() -> Vec<Vector<ToApp>> {
    vec![
        event("to_app_event_call_connected", "a call is answered.", 41, 20, Body::CallState(connected())),
        event(
            "to_app_event_call_ended",
            "a call ends: it was refused with 486 Busy Here.",
            48,
            23,
            Body::CallState(CallStateChanged {
                state: CallState::Ended.into(),
                cause: EndCause::Rejected.into(),
                sip_status: 486,
                ..connected()
            }),
        ),
        event(
            "to_app_event_media_opened",
            "media flow, and the session gets both keys of the stream, told apart by an MKI.",
            43,
            15,
            Body::MediaOpened(MediaOpened {
                indicator: Indicator::KeysAvailable.into(),
                rule: "R16".into(),
                keys: Some(keys()),
                ..media_opened()
            }),
        ),
        event(
            "to_app_event_media_opened_without_keys",
            "the same for a session that monitored too late.",
            43,
            15,
            Body::MediaOpened(MediaOpened {
                indicator: Indicator::KeysUnavailable.into(),
                reason: UnavailableReason::MonitoredLate.into(),
                rule: "R16".into(),
                ..media_opened()
            }),
        ),
        event(
            "to_app_event_media_opened_not_encrypted",
            "media flow that aren't SRTP.",
            43,
            15,
            Body::MediaOpened(MediaOpened {
                generation: 0,
                keyed_at_unix_micros: 0,
                indicator: Indicator::NotEncrypted.into(),
                rule: "R17".into(),
                suite: String::new(),
                ..media_opened()
            }),
        ),
        event(
            "to_app_event_media_stopped",
            "media pause by hold.",
            45,
            16,
            Body::MediaStopped(MediaStopped {
                stream: "m0000000000004".into(),
                direction: MediaDirection::Received.into(),
                generation: 2,
                cause: StopCause::Hold.into(),
            }),
        ),
    ]
}

fn event(name: &'static str, about: &'static str, number: u64, class_number: u64, body: Body) -> Vector<ToApp> {
    let class = match body {
        Body::CallState(_) => EventClass::Call,
        Body::MediaOpened(_) | Body::MediaStopped(_) => EventClass::Media,
    };
    let event = Event {
        device: "1001".into(),
        line: 1,
        class: class.into(),
        number,
        class_number,
        at_unix_micros: START + 2_500_000,
        call: Some(call_ref()),
        body: Some(body),
    };
    vector(name, about, 0, Message::Event(event))
}

fn opened(certificate_expires_unix_seconds: i64, scram_server_final: &'static str) -> Message {
    opened_by(said(certificate_expires_unix_seconds, scram_server_final))
}

fn said(certificate_expires_unix_seconds: i64, scram_server_final: &'static str) -> Opened {
    Opened {
        session: "s0000000000007".into(),
        device_count: 2,
        heartbeat_seconds: 30,
        certificate_expires_unix_seconds,
        scram_server_final: scram_server_final.into(),
        ..Opened::default()
    }
}

fn opened_by(opened: Opened) -> Message {
    Message::OpenResult(OpenResult { result: Some(open_result::Result::Opened(opened)) })
}

fn device_list() -> Message {
    let lines = vec![Line { line: 1, number: "1001".into() }, Line { line: 2, number: "1901".into() }];
    let phone = Device { name: "1001".into(), lines, description: "Reception".into() };
    let found = Device {
        name: "udp:192.0.2.17:5060".into(),
        lines: vec![Line { line: 1, number: String::new() }],
        description: String::new(),
    };
    Message::DeviceList(DeviceList { devices: vec![phone, found], next_page_token: "udp:192.0.2.17:5060".into() })
}

fn snapshot() -> DeviceSnapshot {
    let call = CallSnapshot {
        call: Some(call_ref()),
        line: 1,
        state: CallState::Connected.into(),
        direction: CallDirection::Incoming.into(),
        calling: Some(calling()),
        called: Some(called()),
        security: CallSecurity::Secure.into(),
    };
    DeviceSnapshot { device: "1001".into(), number: 40, calls: vec![call], calls_left_out: 2 }
}

fn call_ref() -> CallRef {
    CallRef {
        id: "c0000000000003".into(),
        switch: "berlin".into(),
        switch_call: "1700000000.12".into(),
        sip_call_id: "a84b4c76e66710@pbx.example.com".into(),
    }
}

fn calling() -> Party {
    Party { uri: "sip:1002@pbx.example.com".into(), name: "Ada Example".into() }
}

fn called() -> Party {
    Party { uri: "sip:1001@pbx.example.com".into(), name: String::new() }
}

fn connected() -> CallStateChanged {
    CallStateChanged {
        state: CallState::Connected.into(),
        direction: CallDirection::Incoming.into(),
        calling: Some(calling()),
        called: Some(called()),
        cause: EndCause::Unspecified.into(),
        sip_status: 0,
    }
}

fn media_opened() -> MediaOpened {
    MediaOpened {
        stream: "m0000000000004".into(),
        direction: MediaDirection::Received.into(),
        generation: 2,
        keyed_at_unix_micros: START + 2_400_000,
        destination: "192.0.2.17:4000".into(),
        likely_source: "192.0.2.1:17012".into(),
        media: "audio".into(),
        codecs: vec![
            Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 },
            Codec { payload_type: 101, name: "telephone-event".into(), clock_rate: 8000 },
        ],
        indicator: Indicator::Unspecified.into(),
        reason: UnavailableReason::Unspecified.into(),
        rule: String::new(),
        suite: "AES_CM_128_HMAC_SHA1_80".into(),
        keys: None,
    }
}

fn keys() -> SrtpKeys {
    let key = |first: u8, mki: &'static [u8]| SrtpKey {
        key: (first..first + 16).collect::<Vec<_>>().into(),
        salt: (first + 16..first + 30).collect::<Vec<_>>().into(),
        mki: mki.into(),
        mki_length: 4,
        lifetime_packets: 1 << 20,
    };
    SrtpKeys {
        keys: vec![key(0x00, &[0, 0, 0, 1]), key(0x20, &[0, 0, 0, 2])],
        key_derivation_rate_log2: 4,
        unencrypted_srtcp: true,
        unauthenticated_srtp: true,
        window_size_hint: 64,
    }
}
