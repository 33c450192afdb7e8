//! The file as it is written, every value with the place that it comes from.

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned},
};
use toml::Spanned;
use zeroize::Zeroizing;

use super::error::{Origin, Problem, list, nearest};

/// Variables with our prefix that are no settings.
const OTHER_VARIABLES: [&str; 1] = ["CALLGATE_LOG"];
const PREFIX: &str = "CALLGATE_";

/// A list at the top of the file, as it would be called. Ignored, it would leave the doors to anybody.
const LIST: &str = "DOOR_NETWORKS";

/// A value and where it comes from.
#[derive(Debug)]
pub(super) struct Setting<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// A list within a section.
pub(super) type List = Vec<Setting<String>>;

macro_rules! section {
    ($name:ident { $($key:ident: $type:ty = $default:expr),* $(,)? }) => {
        #[derive(Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(super) struct $name {
            $(pub(super) $key: Setting<$type>,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: Setting { value: $default.into(), origin: Origin::Default },)* }
            }
        }

        impl $name {
            fn each(&mut self, section: &str, visit: &mut dyn FnMut(String, &mut dyn Variable)) {
                $(visit(format!("{section}{}", stringify!($key)), &mut self.$key);)*
            }
        }
    };
}

section!(Doors {
    clear: String = "127.0.0.1:2748",
    tls: String = "127.0.0.1:2749",
    security_level: String = "unsecure+secure",
});
section!(Tls {
    certificate: String = "gateway.pem",
    key: String = "gateway.key",
    client_ca: String = "ca.pem",
    client_crl: List = [],
    ledger: String = "ledger.jsonl",
    own_ca: String = "ca.pem",
    own_ca_key: String = "",
});
section!(Store { file: String = "callgate.redb" });
section!(Audit {
    folder: String = "audit",
    key: String = "audit.key",
    checkpoints: String = "audit-checkpoints.jsonl",
    flush_milliseconds: i64 = 100,
    segment_bytes: i64 = 67_108_864,
    segment_hours: i64 = 24,
    reserve_bytes: i64 = 67_108_864,
    keep_segments: i64 = 0,
    keep_days: i64 = 0,
    log: bool = false,
});
section!(Heartbeat { default_seconds: i64 = 30, min_seconds: i64 = 5, max_seconds: i64 = 300 });
section!(Stop { gateways: List = [], drain_seconds: i64 = 10 });
section!(Limits {
    open_seconds: i64 = 10,
    probe_seconds: i64 = 3,
    opening_connections: i64 = 256,
    sessions: i64 = 10_000,
    sessions_per_user: i64 = 100,
    monitors_per_session: i64 = 10_000,
    requests_in_flight: i64 = 64,
    queued_bytes_per_session: i64 = 1_048_576,
    tries_per_source_per_minute: i64 = 60,
    workers: i64 = 0,
    http_connections: i64 = 128,
    http_connections_per_source: i64 = 16,
    http_request_seconds: i64 = 30,
});
section!(Metrics {
    security_level: String = "unsecure",
    listen: String = "127.0.0.1:9464",
    listen_tls: String = "",
    networks: List = [],
});
section!(Admin {
    security_level: String = "secure-medium",
    listen: String = "127.0.0.1:8443",
    networks: List = [],
    socket: String = "callgate.sock",
});

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) mode: Mode,
    pub(super) lenient_doors: Setting<bool>,
    pub(super) door_networks: Vec<Setting<String>>,
    pub(super) doors: Doors,
    pub(super) tls: Tls,
    pub(super) store: Store,
    pub(super) audit: Audit,
    pub(super) heartbeat: Heartbeat,
    pub(super) stop: Stop,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) admin: Admin,
    pub(super) switch: Vec<Switch>,
    pub(super) user: Vec<User>,
    pub(super) device: Vec<Device>,
}

/// The word for the mode.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Mode(pub(super) Setting<String>);

impl Default for Mode {
    fn default() -> Self {
        Self(Setting { value: "mixed".into(), origin: Origin::Default })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Switch {
    pub(super) name: Setting<String>,
    pub(super) kind: Setting<String>,
    pub(super) capture: Option<Setting<String>>,
    pub(super) speed: Option<Setting<f64>>,
    pub(super) delay_seconds: Option<Setting<i64>>,
    pub(super) listen: Option<Setting<String>>,
    pub(super) security_level: Option<Setting<String>>,
    #[serde(default)]
    pub(super) networks: Vec<Setting<String>>,
    pub(super) password_file: Option<Setting<String>>,
    pub(super) queue_bytes: Option<Setting<i64>>,
    pub(super) devices: Option<Setting<i64>>,
    pub(super) calls_per_second: Option<Setting<f64>>,
    pub(super) call_seconds: Option<Setting<i64>>,
    pub(super) ring_seconds: Option<Setting<i64>>,
    pub(super) secure_percent: Option<Setting<i64>>,
    pub(super) unanswered_percent: Option<Setting<i64>>,
    pub(super) hold_percent: Option<Setting<i64>>,
    pub(super) rekey_percent: Option<Setting<i64>>,
    pub(super) suites: Option<Vec<Setting<String>>>,
    pub(super) seed: Option<Setting<i64>>,
    #[serde(default)]
    pub(super) pbx: Vec<Setting<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: Setting<String>,
    pub(super) kind: Option<Setting<String>>,
    #[serde(default)]
    pub(super) groups: Vec<Setting<String>>,
    #[serde(default)]
    pub(super) devices: Vec<Setting<String>>,
    pub(super) password: Option<Setting<Password>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: Setting<String>,
    #[serde(default)]
    pub(super) addresses: Vec<Setting<String>>,
    pub(super) description: Option<Setting<String>>,
    #[serde(default)]
    pub(super) restricted: bool,
    #[serde(default)]
    pub(super) line: Vec<Line>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line {
    pub(super) number: Setting<i64>,
    pub(super) label: Option<Setting<String>>,
    #[serde(default)]
    pub(super) restricted: Setting<bool>,
}

/// What stands at `password`: hopefully a verifier, perhaps a password.
pub(super) struct Password(pub(super) Zeroizing<String>);

impl Raw {
    /// Every setting that a variable can override, by its dotted key.
    pub(super) fn each(&mut self, visit: &mut dyn FnMut(String, &mut dyn Variable)) {
        visit("mode".into(), &mut self.mode.0);
        visit("lenient_doors".into(), &mut self.lenient_doors);
        self.doors.each("doors.", visit);
        self.tls.each("tls.", visit);
        self.store.each("store.", visit);
        self.audit.each("audit.", visit);
        self.heartbeat.each("heartbeat.", visit);
        self.stop.each("stop.", visit);
        self.limits.each("limits.", visit);
        self.metrics.each("metrics.", visit);
        self.admin.each("admin.", visit);
    }

    /// A variable with two underscores must be a setting. One without may be somebody else's (an orchestrator that runs
    /// a service called callgate sets `CALLGATE_SERVICE_HOST`), unless it is nearly a setting.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let Some(key) = name.strip_prefix(PREFIX).filter(|_| !OTHER_VARIABLES.contains(&name)) else {
            return Ok(());
        };
        let mut known = Vec::new();
        let mut outcome = None;
        self.each(&mut |setting, target| {
            let variable = setting.to_uppercase().replace('.', "__");
            if variable == key {
                outcome = Some(target.set(name, value));
            }
            known.push(format!("{PREFIX}{variable}"));
        });
        if let Some(outcome) = outcome {
            return outcome;
        }
        let origin = Origin::Variable(name.into());
        if strsim::damerau_levenshtein(key, LIST) <= 2 {
            let message = "`door_networks` is a list, which no variable sets: write it into the file";
            return Err(Problem::new(&origin, message));
        }
        match nearest(name, known.iter().map(String::as_str)).filter(|near| is_close(name, near)) {
            Some(near) => Err(Problem::new(&origin, format!("no setting is called so: did you mean `{near}`?"))),
            None if key.contains("__") => {
                let known = list(known.iter().map(String::as_str));
                Err(Problem::new(&origin, format!("no setting is called so: known are {known}")))
            }
            None => Ok(()),
        }
    }
}

/// A setting that a variable can override.
pub(super) trait Variable {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem>;
}

impl<T: FromVariable> Variable for Setting<T> {
    fn set(&mut self, name: &str, value: &str) -> Result<(), Problem> {
        let origin = Origin::Variable(name.into());
        let Some(value) = T::from_variable(value) else {
            return Err(Problem::new(&origin, format!("{value:?} is not {}", T::WHAT)));
        };
        *self = Self { value, origin };
        Ok(())
    }
}

trait FromVariable: Sized {
    const WHAT: &'static str;
    fn from_variable(text: &str) -> Option<Self>;
}

impl FromVariable for String {
    const WHAT: &'static str = "text";
    fn from_variable(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

impl FromVariable for List {
    const WHAT: &'static str = "what a variable can set: it is a list, which is written into the file";
    fn from_variable(_: &str) -> Option<Self> {
        None
    }
}

impl FromVariable for i64 {
    const WHAT: &'static str = "a whole number";
    fn from_variable(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromVariable for bool {
    const WHAT: &'static str = "`true` or `false`";
    fn from_variable(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Default for Setting<bool> {
    fn default() -> Self {
        Self { value: false, origin: Origin::Default }
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Setting<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<T>::deserialize(deserializer)?;
        let origin = Origin::Text(spanned.span());
        Ok(Self { value: spanned.into_inner(), origin })
    }
}

impl<'de> Deserialize<'de> for Password {
    /// Serde's own error for a wrong type would quote the value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match toml::Value::deserialize(deserializer)? {
            toml::Value::String(text) => Ok(Self(Zeroizing::new(text))),
            _ => Err(de::Error::custom("a password is a SCRAM line in quotes, as `callgate passwd` prints it")),
        }
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

fn is_close(name: &str, near: &str) -> bool {
    name.contains("__") || strsim::damerau_levenshtein(name, near) <= 2
}
