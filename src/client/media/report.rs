//! The account of a capture's streams: one JSON object, or a table for people.

use std::fmt;

use serde::Serialize;

use crate::model::StreamDirection;

/// All streams, in the order in which they were opened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// One for each call, stream and device.
    pub streams: Vec<StreamReport>,
}

/// One stream of a call as one device sees it, all generations together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamReport {
    /// The SIP Call-ID.
    pub call: String,
    /// The device's name.
    pub device: String,
    /// As the device sees it.
    #[serde(serialize_with = "direction_name")]
    pub direction: StreamDirection,
    /// The crypto suite of the latest generation; none if it is not encrypted or not known.
    pub suite: Option<String>,
    /// How the latest generation stood for this app.
    pub indicator: Indicator,
    /// Where the packets came from, as "address:port": the first authentic one, or the first one if none was. None if
    /// there was no packet.
    pub source: Option<String>,
    /// Where the packets went, as "address:port".
    pub destination: String,
    /// The sources of RTP, each of 8 lower-case hex digits, in the order of appearance.
    pub ssrcs: Vec<String>,
    /// RTP packets to the destination during the call.
    pub packets: u64,
    /// How many of them authenticated. 0 for a stream without keys.
    pub authentic: u64,
    /// Whether the app got a key for it.
    #[serde(skip)]
    pub keyed: bool,
}

/// How a stream stands for an app (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Indicator {
    /// It is not SRTP.
    NotEncrypted,
    /// The user lacks a group.
    UserNotAuthorized,
    /// Something else stands against it.
    KeysUnavailable,
    /// The app has the keys.
    KeysAvailable,
}

impl Indicator {
    /// Its name in the protocol.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotEncrypted => "NOT_ENCRYPTED",
            Self::UserNotAuthorized => "USER_NOT_AUTHORIZED",
            Self::KeysUnavailable => "KEYS_UNAVAILABLE",
            Self::KeysAvailable => "KEYS_AVAILABLE",
        }
    }
}

impl Report {
    /// Whether every packet of every stream with a key authenticated.
    pub fn all_authentic(&self) -> bool {
        self.streams.iter().filter(|stream| stream.keyed).all(|stream| stream.authentic == stream.packets)
    }

    /// The report as one JSON object on one line.
    ///
    /// # Errors
    /// None in practice: all keys are text.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl StreamReport {
    /// A name for the stream's WAV file, where `number` counts the streams from 1. Only letters, digits, `.`, `-` and `_`
    /// of the device's name are kept: it comes from the network.
    pub fn file_name(&self, number: usize) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        let device: String = self.device.chars().take(64).map(safe).collect();
        format!("{number:02}-{device}-{}.wav", stream_direction(self.direction))
    }
}

/// A table: names of what was seen on the network are shown without control characters.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["DEVICE", "DIRECTION", "SOURCE", "DESTINATION", "SUITE", "INDICATOR", "AUTHENTIC", "SSRC", "CALL"]
            .map(String::from);
        let rows: Vec<_> = std::iter::once(head).chain(self.streams.iter().map(row)).collect();
        let mut widths = [0; 9];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &rows {
            let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn row(stream: &StreamReport) -> [String; 9] {
    let shown = |text: &str| text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>();
    let or_dash = |text: Option<&str>| text.map_or_else(|| "-".into(), shown);
    [
        shown(&stream.device),
        stream_direction(stream.direction).into(),
        or_dash(stream.source.as_deref()),
        shown(&stream.destination),
        or_dash(stream.suite.as_deref()),
        stream.indicator.name().into(),
        if stream.keyed {
            format!("{} of {}", stream.authentic, stream.packets)
        } else {
            format!("- of {}", stream.packets)
        },
        or_dash(Some(stream.ssrcs.join(" ").as_str()).filter(|ssrcs| !ssrcs.is_empty())),
        shown(&stream.call),
    ]
}

/// The direction's name in reports and file names.
pub fn stream_direction(direction: StreamDirection) -> &'static str {
    match direction {
        StreamDirection::Sent => "sent",
        StreamDirection::Received => "received",
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn direction_name<S: serde::Serializer>(direction: &StreamDirection, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(stream_direction(*direction))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> StreamReport {
        StreamReport {
            call: "fae1cf5a60a4100c".into(),
            device: "1001".into(),
            direction: StreamDirection::Sent,
            suite: Some("AES_CM_128_HMAC_SHA1_80".into()),
            indicator: Indicator::KeysAvailable,
            source: Some("127.0.0.1:21114".into()),
            destination: "127.0.0.1:20212".into(),
            ssrcs: vec!["97583dce".into()],
            packets: 452,
            authentic: 452,
            keyed: true,
        }
    }

    fn silent() -> StreamReport {
        StreamReport {
            direction: StreamDirection::Received,
            suite: None,
            indicator: Indicator::NotEncrypted,
            source: None,
            ssrcs: vec![],
            packets: 0,
            authentic: 0,
            keyed: false,
            ..stream()
        }
    }

    #[test]
    fn the_json_object_has_exactly_the_agreed_keys_in_their_order() {
        let report = Report { streams: vec![stream(), silent()] };
        assert_eq!(
            report.to_json().unwrap(),
            concat!(
                r#"{"streams":[{"call":"fae1cf5a60a4100c","device":"1001","direction":"sent","#,
                r#""suite":"AES_CM_128_HMAC_SHA1_80","indicator":"KEYS_AVAILABLE","source":"127.0.0.1:21114","#,
                r#""destination":"127.0.0.1:20212","ssrcs":["97583dce"],"packets":452,"authentic":452},"#,
                r#"{"call":"fae1cf5a60a4100c","device":"1001","direction":"received","#,
                r#""suite":null,"indicator":"NOT_ENCRYPTED","source":null,"#,
                r#""destination":"127.0.0.1:20212","ssrcs":[],"packets":0,"authentic":0}]}"#
            )
        );
        assert_eq!(Report::default().to_json().unwrap(), r#"{"streams":[]}"#);
    }

    #[test]
    fn indicators_are_named_alike_everywhere() {
        for indicator in [
            Indicator::NotEncrypted,
            Indicator::UserNotAuthorized,
            Indicator::KeysUnavailable,
            Indicator::KeysAvailable,
        ] {
            assert_eq!(serde_json::to_value(indicator).unwrap(), indicator.name());
        }
    }

    #[test]
    fn only_streams_with_a_key_must_authenticate() {
        let mut report = Report { streams: vec![stream(), silent(), StreamReport { packets: 9, ..silent() }] };
        assert!(report.all_authentic());
        report.streams[0].authentic -= 1;
        assert!(!report.all_authentic());
    }

    #[test]
    fn r42b_a_file_name_can_t_leave_its_folder() {
        let named = |device: &str| StreamReport { device: device.into(), ..stream() }.file_name(3);
        assert_eq!(named("127.0.0.1:16010"), "03-127.0.0.1_16010-sent.wav");
        assert_eq!(named("../../etc/\0passwd"), "03-.._.._etc__passwd-sent.wav");
        assert!(named(&"é".repeat(128)).len() < 100);
    }

    #[test]
    fn the_table_is_aligned_and_can_t_move_the_cursor() {
        let report = Report { streams: vec![stream(), StreamReport { call: "a\x1b[2Jb".into(), ..silent() }] };
        assert_eq!(
            report.to_string(),
            "\
DEVICE  DIRECTION  SOURCE           DESTINATION      SUITE                    INDICATOR       AUTHENTIC   SSRC      CALL
1001    sent       127.0.0.1:21114  127.0.0.1:20212  AES_CM_128_HMAC_SHA1_80  KEYS_AVAILABLE  452 of 452  97583dce  fae1cf5a60a4100c
1001    received   -                127.0.0.1:20212  -                        NOT_ENCRYPTED   - of 0      -         a?[2Jb
"
        );
    }
}
