//! What was seen, in words for people. Names from the network are shown without control characters.

use std::time::SystemTime;

use time::{OffsetDateTime, macros::format_description};

use super::seen::{CallSeen, MediaSeen, Seen, Who};
use crate::model::counted;

/// One line. `None`: nothing to say.
pub fn line(seen: &Seen) -> Option<String> {
    let text = match seen {
        Seen::Opened(opened) => format!(
            "session {} is open at {}: {}, heartbeat {} s{}",
            opened.session,
            opened.gateway,
            counted(opened.devices, "device", "devices"),
            opened.heartbeat_seconds,
            opened.certificate_expires.as_ref().map_or_else(String::new, |at| format!(", certificate until {at}"))
        ),
        // They are told of together.
        Seen::Monitored(monitored) if monitored.is_one_of_many => return None,
        Seen::MonitoredMany { devices, with_calls } => {
            let are = if *devices == 1 { "is" } else { "are" };
            format!("{} {are} monitored, {with_calls} with calls in progress", counted(*devices, "device", "devices"))
        }
        Seen::Monitored(monitored) => {
            let calls = monitored.calls.len() + monitored.calls_left_out as usize;
            format!("{} is monitored: {} in progress", monitored.device, counted(calls, "call", "calls"))
        }
        Seen::Closed(closed) => {
            let what = if closed.was_open { "closed" } else { "no session" };
            let again =
                closed.retry_seconds.map_or_else(String::new, |seconds| format!(" Trying again in {seconds} s."));
            format!("{what}: {}{again}", ended(&closed.why))
        }
        Seen::CapabilityChanged(_)
        | Seen::CertificateExpires(_)
        | Seen::GatewayLeaving(_)
        | Seen::DeviceOutOfService(_) => return rights(seen),
        Seen::Pulse { .. } => return None,
        event => return happened(event).map(|text| format!("{} {text}", clock(event))),
    };
    Some(shown(&text))
}

/// What changed in the session's rights. `None`: something else was seen.
pub(super) fn rights(seen: &Seen) -> Option<String> {
    let text = match seen {
        Seen::CapabilityChanged(changed) => format!(
            "rights changed: {}, {}; groups: {}",
            counted(changed.devices, "device", "devices"),
            if changed.may_have_keys { "may have keys" } else { "no keys" },
            if changed.groups.is_empty() { "none".into() } else { changed.groups.join(", ") }
        ),
        Seen::CertificateExpires(told) if told.seconds_left == 0 => {
            format!("the certificate has ended at {}: the session is closed at {}", told.expires, told.closes)
        }
        Seen::CertificateExpires(told) => format!("the certificate ends at {}: renew it", told.expires),
        Seen::GatewayLeaving(told) => {
            let (to, seconds) = (told.gateways.join(", "), told.closes_in_seconds);
            format!("the gateway stops in {seconds} s: go to {to}")
        }
        Seen::DeviceOutOfService(gone) if gone.lines.is_empty() => {
            format!("{} is out of service: {}", gone.device, gone.why)
        }
        Seen::DeviceOutOfService(gone) => {
            let lines: Vec<_> = gone.lines.iter().map(u32::to_string).collect();
            format!("{} line {} is out of service: {}", gone.device, lines.join(", "), gone.why)
        }
        _ => return None,
    };
    Some(shown(&text))
}

/// The same of an event, without its time.
pub(super) fn happened(event: &Seen) -> Option<String> {
    let text = match event {
        Seen::Call(call) => format!("{} {}{}", call.head.device, call_words(call), line_words(call.head.line)),
        Seen::MediaOpened(media) => format!("{} {}", media.head.device, stream_words(media)),
        Seen::MediaStopped(stopped) => format!(
            "{} {} media stopped ({}), generation {}",
            stopped.head.device,
            stopped.direction.to_lowercase(),
            stopped.cause.to_lowercase().replace('_', " "),
            stopped.generation
        ),
        Seen::Gap(gap) => format!(
            "{} {} events of class {} were lost{}",
            gap.device,
            gap.missed,
            gap.class.to_lowercase(),
            line_words(gap.line)
        ),
        Seen::Unknown(head) => format!("{} an event of a later version, number {}", head.device, head.number),
        _ => return None,
    };
    Some(shown(&text))
}

/// When it happened, by the switch's clock in UTC.
pub(super) fn clock(seen: &Seen) -> String {
    seen.head().map_or_else(|| "--:--:--.---".into(), |head| time_of(head.time))
}

/// The time of the day in UTC.
pub(super) fn time_of(at: SystemTime) -> String {
    let format = format_description!("[hour]:[minute]:[second].[subsecond digits:3]");
    OffsetDateTime::from(at).format(format).unwrap_or_default()
}

/// How a stream stands, in words.
pub(super) fn indicator_words(media: &MediaSeen) -> String {
    match (media.indicator.as_str(), media.reason.as_deref()) {
        ("KEYS_AVAILABLE", _) => "keys are here".into(),
        ("NOT_ENCRYPTED", _) => "not encrypted".into(),
        ("USER_NOT_AUTHORIZED", _) => "no keys: the user lacks a group".into(),
        ("KEYS_UNAVAILABLE", Some(reason)) => format!(
            "no keys: {}",
            match reason {
                "MODE" => "non-secure mode",
                "DOOR" => "this is the clear door",
                "MONITORED_LATE" => "monitored too late",
                "SWITCH" => "the switch doesn't know them",
                "AUDIT_UNAVAILABLE" => "the record can't be written",
                "GATEWAY_RESTARTED" => "the gateway was restarted",
                other => other,
            }
        ),
        (other, _) => other.into(),
    }
}

/// From whom to whom: the names where there are any.
pub(super) fn parties(calling: &Who, called: &Who) -> String {
    let who = |who: &Who| match (who.name.as_str(), who.uri.as_str()) {
        ("", "") => "unknown".to_owned(),
        ("", uri) => uri.to_owned(),
        (name, uri) => format!("{name:?} {uri}"),
    };
    format!("{} to {}", who(calling), who(called))
}

/// Text without control characters and without those that turn the direction of writing: it comes from the network, and
/// must neither move a terminal's cursor nor look like something else.
pub fn shown(text: &str) -> String {
    let is_harmless = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    text.chars().map(|c| if is_harmless(c) { c } else { '?' }).collect()
}

/// A state as it is read: `HELD_BY_REMOTE` is "held by remote".
pub(super) fn small(name: &str) -> String {
    name.to_lowercase().replace('_', " ")
}

fn call_words(call: &CallSeen) -> String {
    let why = match (&call.cause, call.sip_status) {
        (Some(cause), Some(status)) => format!(" ({}, {status})", small(cause)),
        (Some(cause), None) => format!(" ({})", small(cause)),
        (None, _) => String::new(),
    };
    format!("call {}{why}, {}", small(&call.state), parties(&call.calling, &call.called))
}

fn stream_words(media: &MediaSeen) -> String {
    let code = match &media.reason {
        Some(reason) => format!("{}/{reason}", media.indicator),
        None => media.indicator.clone(),
    };
    let (direction, words) = (small(&media.direction), indicator_words(media));
    let mut text = format!("{direction} {}: {words} ({code}), to {}", media.media, media.destination);
    if let Some(suite) = &media.suite {
        text.push_str(&format!(", {suite}, generation {}", media.generation));
    }
    text
}

/// Only a device of several lines has others than the first.
fn line_words(line: u32) -> String {
    if line > 1 { format!(", line {line}") } else { String::new() }
}

/// Reasons of the gateway end with a full stop, those of the system don't.
pub(super) fn ended(why: &str) -> String {
    let why = why.trim_end();
    if why.ends_with(['.', '?']) { why.into() } else { format!("{why}.") }
}
