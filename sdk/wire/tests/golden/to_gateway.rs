//! What an app sends: one message of each kind.

use callgate_wire::{
    SCRAM_SHA_256, VERSION,
    v1::{
        AuthResponse, CertificateAuth, Close, ErrorCode, EventClass, Heartbeat, Hello, ListDevices, MonitorDevice,
        OpenRequest, ProbeAnswer, ScramAuth, SnapshotDevice, ToGateway, UnmonitorDevice, Version,
        open_request::Authentication, to_gateway::Message,
    },
};

use super::Vector;

pub(crate) fn vectors() -> Vec<Vector<ToGateway>> {
    let vector = |name, about, request_id, message| Vector {
        name,
        about,
        message: ToGateway { request_id, message: Some(message) },
    };
    vec![
        vector("to_gateway_hello", "the first message of a connection.", 1, hello()),
        vector(
            "to_gateway_open_certificate",
            "opens by the certificate of the TLS connection.",
            2,
            open("recorder", Authentication::Certificate(CertificateAuth {})),
        ),
        vector(
            "to_gateway_open_scram",
            "opens by SCRAM-SHA-256, with the client-first-message of RFC 7677, section 3.",
            2,
            open(
                "user",
                Authentication::Scram(ScramAuth {
                    mechanism: SCRAM_SHA_256.into(),
                    initial_response: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
                }),
            ),
        ),
        vector(
            "to_gateway_auth_response",
            "the client-final-message of RFC 7677, section 3.",
            3,
            Message::AuthResponse(AuthResponse {
                data: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=".into(),
            }),
        ),
        vector(
            "to_gateway_list_devices",
            "the second page of devices whose names contain \"10\".",
            4,
            Message::ListDevices(ListDevices {
                name_contains: "10".into(),
                page_size: 50,
                page_token: "1049".into(),
            }),
        ),
        vector(
            "to_gateway_monitor",
            "begins to receive call and media events of device 1001.",
            5,
            Message::Monitor(MonitorDevice {
                device: "1001".into(),
                classes: vec![EventClass::Call.into(), EventClass::Media.into()],
            }),
        ),
        vector(
            "to_gateway_unmonitor",
            "ends media events of device 1001.",
            6,
            Message::Unmonitor(UnmonitorDevice { device: "1001".into(), classes: vec![EventClass::Media.into()] }),
        ),
        vector(
            "to_gateway_snapshot",
            "asks how device 1001 stands now.",
            7,
            Message::Snapshot(SnapshotDevice { device: "1001".into() }),
        ),
        vector(
            "to_gateway_heartbeat",
            "the app is alive. It asks for no answer, so its number is 0.",
            0,
            Message::Heartbeat(Heartbeat {}),
        ),
        vector(
            "to_gateway_close",
            "the app ends the session.",
            8,
            Message::Close(Close { reason: Some(ErrorCode::ClosedByApp.into()) }),
        ),
        vector(
            "to_gateway_probe_answer",
            "the app is alive. It answers no number, and asks for no answer.",
            0,
            Message::ProbeAnswer(ProbeAnswer {}),
        ),
    ]
}

fn hello() -> Message {
    Message::Hello(Hello {
        versions: vec![VERSION, Version { major: 2, minor: 3 }],
        features: vec!["example-feature".into()],
        software: "Example Recorder 2.4".into(),
    })
}

fn open(user: &str, authentication: Authentication) -> Message {
    Message::Open(OpenRequest {
        user: user.into(),
        instance: "berlin1".into(),
        heartbeat_seconds: 30,
        authentication: Some(authentication),
    })
}
