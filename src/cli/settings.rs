//! `callgate settings`

use anyhow::Result;
use callgate::{
    admin::api::{CertificateKind, LimitSettings, SecurityMode, ServiceSettings, Settings, SwitchSettings, SwitchType},
    client::admin::Path,
};

use super::{
    admin::{Form, Gateway},
    out::{Unwritten, counted},
    table::{Cell, Mood, fields},
};

const EXAMPLES: &str = "\
Examples:
  callgate settings
  callgate settings --json

They are changed in the config, and read again at SIGHUP or at the next start.";

/// The certificates that end within so many days are to be looked at.
const SOON: i64 = 30;

/// The settings in force: mode, doors, services, limits, switches; no secret is among them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowSettings {
    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

impl ShowSettings {
    pub(super) fn run(self) -> Result<()> {
        self.gateway.reach(async |admin| self.form.show(admin, &Path::of(&["settings"]), show).await)
    }
}

fn show(settings: &Settings) -> Result<(), Unwritten> {
    let mode = match settings.mode {
        SecurityMode::NonSecure => Cell::from("non-secure: no key leaves").is(Mood::Bad),
        SecurityMode::Mixed => "mixed".into(),
    };
    let doors = if settings.lenient_doors { "each user on both" } else { "each user on its own" };
    let audit = &settings.audit;
    let kept = match (audit.keep_segments, audit.keep_days) {
        (None, None) => "all of it is kept".into(),
        (Some(segments), None) => format!("{segments} segments are kept"),
        (None, Some(days)) => format!("{days} days are kept"),
        (Some(segments), Some(days)) => format!("{segments} segments or {days} days are kept"),
    };
    let mut shown: Vec<(&str, Cell)> = vec![
        ("mode", mode),
        ("doors", service(&settings.doors).into()),
        ("users", doors.into()),
        ("metrics", service(&settings.metrics).into()),
        ("administration", service(&settings.admin).into()),
        ("socket", settings.admin_socket.as_str().into()),
        ("store", settings.store.as_str().into()),
        ("audit log", format!("{}, {kept}", audit.folder).into()),
    ];
    for file in &settings.certificates {
        let name = match file.kind {
            CertificateKind::ClientCa => "client CAs",
            CertificateKind::Gateway => "certificate",
        };
        let cell = match file.days_left {
            Some(days) if days < SOON => Cell::from(format!("{}, {}", file.file, left(days))).is(Mood::Bad),
            Some(days) => format!("{}, {}", file.file, left(days)).into(),
            None => Cell::from(format!("{}, which can't be read", file.file)).is(Mood::Bad),
        };
        shown.push((name, cell));
    }
    let stop = &settings.stop;
    let stop = match stop.gateways.as_slice() {
        [] => "sessions are closed at once".into(),
        gateways => format!("sessions have {} s to go to {}", stop.drain_seconds, gateways.join(", ")),
    };
    shown.push(("planned stop", stop.into()));
    shown.extend(settings.switches.iter().map(|one| ("switch", switch(one).into())));
    shown.extend(limits(&settings.limits));
    fields(shown)
}

/// How long a certificate is good for, in whole days; of one that has ended, how long ago that was, rounded up.
fn left(days: i64) -> String {
    match days {
        ..0 => format!("ended {} ago", counted(days.unsigned_abs(), "day", "days")),
        days => format!("{} left", counted(days, "day", "days")),
    }
}

fn service(settings: &ServiceSettings) -> String {
    let ServiceSettings { level, clear, tls, networks } = settings;
    let clear = clear.iter().map(|address| format!("clear at {address}"));
    let at: Vec<String> = clear.chain(tls.iter().map(|address| format!("TLS at {address}"))).collect();
    match (at.is_empty(), networks.is_empty()) {
        (true, _) => level.clone(),
        (false, true) => format!("{level}: {}, for everybody", at.join(", ")),
        (false, false) => format!("{level}: {}, for {}", at.join(", "), networks.join(", ")),
    }
}

fn switch(settings: &SwitchSettings) -> String {
    let name = &settings.name;
    match settings.kind {
        SwitchType::Hep => {
            let listen = settings.listen.as_deref().unwrap_or_default();
            let password = if settings.has_password { "with a password" } else { "without a password" };
            format!("{name}: HEP at {listen}, {password}, from {}", settings.networks.join(", "))
        }
        SwitchType::Replay => format!("{name}: plays {}", settings.capture.as_deref().unwrap_or_default()),
        SwitchType::Simulated => {
            let devices = settings.simulated_devices.unwrap_or_default();
            format!("{name}: simulated, {}", counted(devices as usize, "device", "devices"))
        }
    }
}

fn limits(limits: &LimitSettings) -> Vec<(&'static str, Cell)> {
    let workers = if limits.workers == 0 { "one per core".into() } else { limits.workers.to_string() };
    vec![
        ("time to open", format!("{} s", limits.open_seconds).into()),
        ("time to answer a probe", format!("{} s", limits.probe_seconds).into()),
        ("connections that open", limits.opening_connections.to_string().into()),
        ("sessions", limits.sessions.to_string().into()),
        ("sessions of a user", limits.sessions_per_user.to_string().into()),
        ("devices of a session", limits.monitors_per_session.to_string().into()),
        ("requests in flight", limits.requests_in_flight.to_string().into()),
        ("bytes that wait", limits.queued_bytes_per_session.to_string().into()),
        ("failed tries a minute", limits.tries_per_source_per_minute.to_string().into()),
        ("workers", workers.into()),
        ("HTTP connections", limits.http_connections.to_string().into()),
        ("HTTP from one address", limits.http_connections_per_source.to_string().into()),
        ("time for an HTTP answer", format!("{} s", limits.http_request_seconds).into()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_says_how_long_it_is_good_for_or_since_when_it_is_not() {
        for (days, said) in [
            (-3, "ended 3 days ago"),
            (-1, "ended 1 day ago"),
            (0, "0 days left"),
            (1, "1 day left"),
            (30, "30 days left"),
        ] {
            assert_eq!(left(days), said);
        }
    }
}
