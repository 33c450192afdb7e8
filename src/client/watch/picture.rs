//! A watched session as a picture of a terminal: what is seen goes in, lines come out.
//!
//! Pure: time, size and style are arguments. No line is wider than the terminal, and there are never more than fit.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, SystemTime},
};

use super::{
    seen::{CallInProgress, CallSeen, MediaSeen, Monitored, Seen},
    text,
};

/// How many events are kept to be shown.
const LAST_EVENTS: usize = 200;
/// Over how many seconds the rate of events is taken.
const RATE_SECONDS: u64 = 10;
/// The most calls that are kept; the gateway bounds them, too.
const MAX_CALLS: usize = 10_000;
/// Below this width and height there is no room for anything.
const SMALLEST: Size = Size { columns: 20, rows: 4 };

/// A terminal's size, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Its width.
    pub columns: usize,
    /// Its height.
    pub rows: usize,
}

/// Whether colours are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// They are, by ANSI codes.
    Colour,
    /// They aren't.
    Plain,
}

/// What is known of the session.
#[derive(Debug)]
pub struct Picture {
    who: String,
    gateway: String,
    state: State,
    since: SystemTime,
    begun: SystemTime,
    /// The devices that are monitored.
    devices: BTreeSet<String>,
    /// By device and call.
    calls: BTreeMap<(String, String), Call>,
    /// The number of the last event of each device.
    numbers: BTreeMap<String, u64>,
    last: VecDeque<(String, Paint)>,
    events: u64,
    lost: u64,
    sessions: u64,
    /// Seconds since 1970, and how many events came in each.
    rate: VecDeque<(u64, u64)>,
    /// How old the last event was when it came: by the switch's clock and this one.
    delay: Option<Duration>,
}

#[derive(Debug)]
enum State {
    Connecting,
    Open { session: String, devices: u32, heartbeat_seconds: u64, silence_seconds: u64 },
    Closed { why: String, retry_at: Option<SystemTime> },
}

#[derive(Debug)]
struct Call {
    state: String,
    parties: String,
    /// When it came into this state, by our clock.
    since: SystemTime,
    /// Of a snapshot: `SECURE` ...
    security: Option<String>,
    streams: BTreeMap<String, (String, Paint)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    None,
    Bold,
    Dim,
    Good,
    Warn,
    Bad,
}

impl Picture {
    /// Nothing was seen yet. `who` watches, at this gateway until it goes elsewhere.
    pub fn new(who: &str, gateway: &str, now: SystemTime) -> Self {
        Self {
            who: text::shown(who),
            gateway: text::shown(gateway),
            state: State::Connecting,
            since: now,
            begun: now,
            devices: BTreeSet::new(),
            calls: BTreeMap::new(),
            numbers: BTreeMap::new(),
            last: VecDeque::new(),
            events: 0,
            lost: 0,
            sessions: 0,
            rate: VecDeque::new(),
            delay: None,
        }
    }

    /// Takes in what was seen at the time `now`.
    pub fn on(&mut self, seen: &Seen, now: SystemTime) {
        match seen {
            Seen::Opened(opened) => {
                self.sessions += 1;
                self.since = now;
                self.gateway = text::shown(&opened.gateway);
                // What went on meanwhile is told by the snapshots that follow; a gateway that began anew counts anew.
                (self.devices, self.calls, self.numbers) = Default::default();
                self.note(
                    format!("{} session {} is open", text::time_of(now), text::shown(&opened.session)),
                    Paint::Good,
                );
                self.state = State::Open {
                    session: text::shown(&opened.session),
                    devices: opened.devices,
                    heartbeat_seconds: opened.heartbeat_seconds,
                    silence_seconds: 0,
                };
            }
            Seen::Monitored(monitored) => self.on_monitored(monitored, now),
            Seen::Closed(closed) => {
                let retry =
                    closed.retry_seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default());
                let retry_at = retry.map(|retry| now + retry);
                let why = text::shown(&closed.why);
                let what = if closed.was_open { "closed" } else { "no session" };
                self.note(format!("{} {what}: {why}", text::time_of(now)), Paint::Bad);
                self.state = State::Closed { why, retry_at };
            }
            Seen::Pulse { silence_seconds: silent } => {
                if let State::Open { silence_seconds, .. } = &mut self.state {
                    *silence_seconds = *silent;
                }
            }
            Seen::Call(call) => self.on_call(call, now),
            Seen::MediaOpened(media) => self.on_media(media),
            Seen::MediaStopped(stopped) => {
                let key = (stopped.head.device.clone(), stopped.head.call.id.clone());
                if let Some(stream) = self.calls.get_mut(&key).and_then(|call| call.streams.get_mut(&stopped.stream)) {
                    match stopped.cause.as_str() {
                        "HOLD" => *stream = (format!("{:8} held", text::small(&stopped.direction)), Paint::Dim),
                        _ => drop(self.calls.get_mut(&key).and_then(|call| call.streams.remove(&stopped.stream))),
                    }
                }
            }
            Seen::Gap(gap) => self.lost = self.lost.saturating_add(gap.missed),
            Seen::CapabilityChanged(changed) => {
                if let State::Open { devices, .. } = &mut self.state {
                    *devices = changed.devices;
                }
            }
            Seen::DeviceOutOfService(gone) if gone.lines.is_empty() => {
                self.devices.remove(&gone.device);
                self.calls.retain(|(device, _), _| *device != gone.device);
            }
            Seen::CertificateExpires(_)
            | Seen::GatewayLeaving(_)
            | Seen::DeviceOutOfService(_)
            | Seen::Unknown(_)
            | Seen::MonitoredMany { .. } => {}
        }
        if let Some(text) = text::rights(seen) {
            self.note(format!("{} {text}", text::time_of(now)), Paint::Warn);
        }
        if seen.is_event() {
            self.count(seen, now);
        }
    }

    /// The picture at the time `now`, of at most `size.rows` lines.
    pub fn lines(&self, size: Size, style: Style, now: SystemTime) -> Vec<String> {
        let size = Size { columns: size.columns.max(SMALLEST.columns), rows: size.rows.max(SMALLEST.rows) };
        let mut lines = self.head(now);
        lines.push(Line::default());
        let calls = self.call_lines(now);
        // The last events get at least a third.
        let room = size.rows.saturating_sub(lines.len() + 2);
        let for_calls = calls.len().min(room.saturating_sub((room / 3).min(self.last.len())));
        let left_out = calls.get(for_calls..).map_or(0, |left| left.iter().filter(|line| line.is_call).count());
        lines.extend(calls.into_iter().take(for_calls));
        if left_out > 0 {
            lines.pop();
            lines.push(Line::of(format!("... and {left_out} more calls"), Paint::Dim));
        }
        lines.push(Line::default());
        lines.push(Line::of("LAST EVENTS", Paint::Bold));
        let room = size.rows.saturating_sub(lines.len());
        let first = self.last.len().saturating_sub(room);
        lines.extend(self.last.range(first..).map(|(text, paint)| Line::of(text.clone(), *paint)));
        lines.truncate(size.rows);
        lines.iter().map(|line| line.painted(size.columns, style)).collect()
    }

    fn on_monitored(&mut self, monitored: &Monitored, now: SystemTime) {
        self.devices.insert(monitored.device.clone());
        // Events of this device that were read before its snapshot are newer.
        if self.numbers.get(&monitored.device).is_some_and(|number| *number > monitored.number) {
            return;
        }
        for call in &monitored.calls {
            self.calls.insert((monitored.device.clone(), call.call.id.clone()), Call::in_progress(call, now));
        }
    }

    fn on_call(&mut self, call: &CallSeen, now: SystemTime) {
        let key = (call.head.device.clone(), call.head.call.id.clone());
        if call.state == "ENDED" {
            self.calls.remove(&key);
            return;
        }
        if self.calls.len() >= MAX_CALLS && !self.calls.contains_key(&key) {
            return;
        }
        let known = self.calls.entry(key).or_insert_with(|| Call::new(now));
        if known.state != call.state {
            (known.state, known.since) = (call.state.clone(), now);
        }
        known.parties = text::parties(&call.calling, &call.called);
    }

    fn on_media(&mut self, media: &MediaSeen) {
        let key = (media.head.device.clone(), media.head.call.id.clone());
        if let Some(call) = self.calls.get_mut(&key) {
            let codec = media.codecs.first().map_or("", String::as_str);
            let mut text = format!(
                "{:8} {:32} {} {codec} to {}",
                text::small(&media.direction),
                text::indicator_words(media),
                media.media,
                media.destination
            );
            if let Some(suite) = &media.suite {
                text.push_str(&format!(", {suite}, generation {}", media.generation));
            }
            call.security = None;
            call.streams.insert(media.stream.clone(), (text, paint_of(media)));
        }
    }

    fn count(&mut self, seen: &Seen, now: SystemTime) {
        self.events += 1;
        let second = seconds(now);
        match self.rate.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.rate.push_back((second, 1)),
        }
        while self.rate.len() > RATE_SECONDS as usize {
            self.rate.pop_front();
        }
        if let Some(head) = seen.head() {
            self.delay = now.duration_since(head.time).ok();
            self.numbers.insert(head.device.clone(), head.number);
        }
        if let Some(text) = text::happened(seen) {
            let paint = match seen {
                Seen::MediaOpened(media) => paint_of(media),
                Seen::Gap(_) => Paint::Bad,
                _ => Paint::None,
            };
            self.note(format!("{} {text}", text::clock(seen)), paint);
        }
    }

    fn note(&mut self, text: String, paint: Paint) {
        self.last.push_back((text, paint));
        if self.last.len() > LAST_EVENTS {
            self.last.pop_front();
        }
    }

    fn head(&self, now: SystemTime) -> Vec<Line> {
        let (text, paint) = match &self.state {
            State::Connecting => ("connecting".into(), Paint::Warn),
            State::Open { .. } => (format!("open for {}", span(now, self.since)), Paint::Good),
            State::Closed { retry_at: None, .. } => ("closed".into(), Paint::Bad),
            State::Closed { retry_at: Some(retry_at), .. } => {
                let left = retry_at.duration_since(now).map_or(0, |left| left.as_secs_f64().ceil() as u64);
                (format!("closed, next try in {left} s"), Paint::Bad)
            }
        };
        let mut first = Line::of(format!("{} at {}  ", self.who, self.gateway), Paint::Bold);
        first.add(text, paint);
        let mut lines = vec![first];
        match &self.state {
            State::Open { session, devices, heartbeat_seconds, silence_seconds } => {
                lines.push(Line::of(
                    format!(
                        "session {session}  monitored {} of {devices} devices  heartbeat {heartbeat_seconds} s, heard \
                         {silence_seconds} s ago",
                        self.devices.len()
                    ),
                    Paint::Dim,
                ));
            }
            State::Closed { why, .. } => lines.push(Line::of(why.clone(), Paint::Bad)),
            State::Connecting => lines.push(Line::default()),
        }
        let rate: u64 = {
            let begin = seconds(now).saturating_sub(RATE_SECONDS);
            self.rate.iter().filter(|(second, _)| *second > begin).map(|(_, count)| count).sum()
        };
        // So soon after the start there weren't so many seconds.
        let passed = now.duration_since(self.begun).unwrap_or_default().as_secs_f64().clamp(1.0, RATE_SECONDS as f64);
        let delay = self.delay.map_or_else(|| "-".into(), age);
        let mut third = Line::of(
            format!(
                "calls {}  events {} ({:.1}/s)  delay {delay}  sessions {}  ",
                self.calls.len(),
                self.events,
                rate as f64 / passed,
                self.sessions
            ),
            Paint::Dim,
        );
        third.add(format!("lost {}", self.lost), if self.lost > 0 { Paint::Bad } else { Paint::Dim });
        lines.push(third);
        lines
    }

    fn call_lines(&self, now: SystemTime) -> Vec<Line> {
        let head = Line::of(format!("{:16} {:14} {:>8}  PARTIES, STREAMS", "DEVICE", "STATE", "FOR"), Paint::Bold);
        let mut lines = vec![head];
        for ((device, _), call) in &self.calls {
            let device = text::shown(device);
            let text =
                format!("{device:16} {:14} {:>8}  {}", text::small(&call.state), span(now, call.since), call.parties);
            lines.push(Line { is_call: true, ..Line::of(text::shown(&text), Paint::None) });
            if let Some(security) = &call.security {
                lines.push(Line::of(
                    format!("    streams from before: {}, no keys (R19)", text::small(security)),
                    Paint::Dim,
                ));
            }
            for (text, paint) in call.streams.values() {
                lines.push(Line::of(format!("    {}", text::shown(text)), *paint));
            }
        }
        match (&self.state, self.calls.is_empty()) {
            (State::Closed { .. }, false) => {
                for piece in lines.iter_mut().flat_map(|line| &mut line.pieces) {
                    piece.1 = Paint::Dim;
                }
                if let Some(head) = lines.first_mut() {
                    head.add(", as they were last seen", Paint::Bad);
                }
            }
            (_, true) => lines.push(Line::of("no call in progress", Paint::Dim)),
            (_, false) => {}
        }
        lines
    }
}

impl Call {
    fn new(now: SystemTime) -> Self {
        Self { state: String::new(), parties: String::new(), since: now, security: None, streams: BTreeMap::new() }
    }

    fn in_progress(call: &CallInProgress, now: SystemTime) -> Self {
        Self {
            state: call.state.clone(),
            parties: text::parties(&call.calling, &call.called),
            security: (call.security != "NO_MEDIA").then(|| call.security.clone()),
            ..Self::new(now)
        }
    }
}

/// A line in pieces, each with its colour.
#[derive(Debug, Default)]
struct Line {
    pieces: Vec<(String, Paint)>,
    /// It is the first one of a call.
    is_call: bool,
}

impl Line {
    fn of(text: impl Into<String>, paint: Paint) -> Self {
        Self { pieces: vec![(text.into(), paint)], is_call: false }
    }

    fn add(&mut self, text: impl Into<String>, paint: Paint) {
        self.pieces.push((text.into(), paint));
    }

    /// As it is written: cut at the terminal's width.
    fn painted(&self, columns: usize, style: Style) -> String {
        let (mut left, mut out) = (columns, String::new());
        for (text, paint) in &self.pieces {
            let cut: String = text.chars().take(left).collect();
            left -= cut.chars().count();
            match (style, paint.code()) {
                (Style::Colour, Some(code)) if !cut.is_empty() => out.push_str(&format!("\x1b[{code}m{cut}\x1b[0m")),
                _ => out.push_str(&cut),
            }
        }
        out
    }
}

impl Paint {
    /// ANSI's code (ECMA-48, SGR).
    fn code(self) -> Option<u8> {
        match self {
            Self::None => None,
            Self::Bold => Some(1),
            Self::Dim => Some(2),
            Self::Bad => Some(31),
            Self::Good => Some(32),
            Self::Warn => Some(33),
        }
    }
}

fn paint_of(media: &MediaSeen) -> Paint {
    match media.indicator.as_str() {
        "KEYS_AVAILABLE" => Paint::Good,
        "NOT_ENCRYPTED" => Paint::Warn,
        _ => Paint::Bad,
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// From then until now, as hours, minutes and seconds.
fn span(now: SystemTime, then: SystemTime) -> String {
    let seconds = now.duration_since(then).unwrap_or_default().as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

/// In the largest unit that fits.
fn age(age: Duration) -> String {
    match age.as_secs() {
        0 => format!("{} ms", age.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
