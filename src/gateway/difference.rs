//! What new settings change: for the audit log, and whether anybody may do by them what he couldn't do before (R21).

use std::sync::Arc;

use time::OffsetDateTime;

use crate::{
    config::{AdminConfig, Config, Doors, HttpConfig},
    cti::TlsSide,
    http,
    model::{AllowedNetworks, Mode, Network, Strength},
    trust::{ClientCrls, Fingerprint},
};

/// So many networks of a list are named.
const NAMED: usize = 8;

/// Settings, and what was in the files of `[tls]`; `None` while nothing listens for TLS.
#[derive(Clone, Copy)]
pub(super) struct InForce<'a> {
    pub(super) config: &'a Config,
    pub(super) files: Option<&'a InFiles>,
}

/// What was in the files of `[tls]` when they were read: the same for the door and for services over HTTP.
pub(super) struct InFiles {
    crls: Arc<ClientCrls>,
    /// The SHA-256 of the gateway's own certificate.
    certificate: Fingerprint,
}

impl InFiles {
    /// By whichever was made of them.
    pub(super) fn of(door: Option<&TlsSide>, services: [Option<&http::TlsSide>; 2]) -> Option<Self> {
        let of_door = |TlsSide { crls, certificate, .. }: &TlsSide| (Arc::clone(crls), *certificate);
        let of_service = |http::TlsSide { crls, certificate, .. }: &http::TlsSide| (Arc::clone(crls), *certificate);
        let read = door.map(of_door).or_else(|| services.into_iter().flatten().next().map(of_service));
        read.map(|(crls, certificate)| Self { crls, certificate })
    }
}

/// What is different. Settings that count from the next start on are none of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    words: Vec<String>,
    /// In doubt it does.
    pub(super) grants: bool,
}

impl Difference {
    pub(super) fn between(old: InForce<'_>, new: InForce<'_>, now: OffsetDateTime) -> Self {
        // By its fields, so that nobody adds one without a thought of this.
        let Config {
            mode,
            lenient_doors,
            door_networks,
            tls,
            stop,
            doors: Doors { strength, clear: _, tls: _ },
            metrics: HttpConfig { networks: metrics, listen: _ },
            admin: AdminConfig { https: HttpConfig { networks: admin, listen: _ }, socket: _ },
            // What is said of other settings.
            overruled: _,
            // The administration's.
            directory: _,
            // From the next start on.
            store: _,
            audit: _,
            heartbeat: _,
            limits: _,
            switches: _,
        } = new.config;
        let was = old.config;
        let mut difference = Self::default();
        difference.setting("mode", was.mode, *mode, mode_name, *mode == Mode::Mixed);
        difference.setting("lenient_doors", was.lenient_doors, *lenient_doors, yes_or_no, *lenient_doors);
        let weaker = *strength < was.doors.strength;
        difference.setting("doors' security_level", was.doors.strength, *strength, strength_name, weaker);
        for (name, was, is) in [
            ("door_networks", &was.door_networks, door_networks),
            ("metrics.networks", &was.metrics.networks, metrics),
            ("admin.networks", &was.admin.https.networks, admin),
        ] {
            difference.networks(name, was, is);
        }
        if was.tls != *tls {
            difference.words.push("files of [tls]".into());
        }
        if let Some(is) = new.files {
            // Where nothing listened for TLS, whatever is in the files is new.
            let was = old.files.map_or_else(Arc::default, |was| Arc::clone(&was.crls));
            if old.files.is_none_or(|was| was.certificate != is.certificate) {
                difference.words.push(format!("gateway certificate to {}", is.certificate.to_hex()));
            }
            let change = was.change_to(&is.crls, now);
            difference.words.extend(change.words);
            difference.grants |= change.grants;
        }
        if was.stop != *stop {
            difference.words.push("[stop]".into());
        }
        difference
    }

    /// What is different, in few words; `None`: nothing is.
    pub(super) fn told(&self) -> Option<String> {
        (!self.words.is_empty()).then(|| self.words.join(", "))
    }

    fn setting<T: Copy + PartialEq>(&mut self, name: &str, was: T, is: T, word: fn(T) -> &'static str, grants: bool) {
        if was != is {
            self.words.push(format!("{name} {} to {}", word(was), word(is)));
            self.grants |= grants;
        }
    }

    fn networks(&mut self, name: &str, was: &AllowedNetworks, is: &AllowedNetworks) {
        if was != is {
            self.words.push(format!("{name} {} to {}", listed(was), listed(is)));
            self.grants |= is.exceed(was);
        }
    }
}

/// The settings that say who may do what, in words: what the log's records of a gateway's time begin with.
pub(super) fn in_words(InForce { config, files }: InForce<'_>, now: OffsetDateTime) -> String {
    let mut words = vec![
        format!("mode {}", mode_name(config.mode)),
        format!("lenient_doors {}", yes_or_no(config.lenient_doors)),
        format!("doors' security_level {}", strength_name(config.doors.strength)),
        format!("door_networks {}", listed(&config.door_networks)),
        format!("metrics.networks {}", listed(&config.metrics.networks)),
        format!("admin.networks {}", listed(&config.admin.https.networks)),
    ];
    if let Some(InFiles { crls, certificate }) = files {
        words.push(format!("gateway certificate {}", certificate.to_hex()));
        words.extend(ClientCrls::default().change_to(crls, now).words);
    }
    words.join(", ")
}

fn listed(networks: &AllowedNetworks) -> String {
    let networks = networks.listed();
    let named: Vec<String> = networks.iter().take(NAMED).map(Network::to_string).collect();
    match networks.len().saturating_sub(NAMED) {
        0 => format!("[{}]", named.join(" ")),
        more => format!("[{} and {more} more]", named.join(" ")),
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::NonSecure => "non-secure",
        Mode::Mixed => "mixed",
    }
}

fn yes_or_no(is: bool) -> &'static str {
    if is { "true" } else { "false" }
}

fn strength_name(strength: Strength) -> &'static str {
    match strength {
        Strength::Low => "low",
        Strength::Medium => "medium",
        Strength::High => "high",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "test.toml", Path::new("/nowhere"), std::iter::empty()).unwrap()
    }

    fn between(was: &str, is: &str) -> (Option<String>, bool) {
        let [was, is] = [was, is].map(config);
        let [was, is] = [&was, &is].map(|config| InForce { config, files: None });
        let difference = Difference::between(was, is, OffsetDateTime::UNIX_EPOCH);
        (difference.told(), difference.grants)
    }

    #[test]
    fn r21_what_gives_somebody_more_is_told_from_what_takes_away() {
        for (less, more, words) in [
            ("mode = \"non-secure\"", "", "mode non-secure to mixed"),
            ("", "lenient_doors = true", "lenient_doors false to true"),
            ("door_networks = [\"192.0.2.0/24\"]", "", "door_networks [192.0.2.0/24] to []"),
            (
                "door_networks = [\"192.0.2.0/24\"]",
                "door_networks = [\"192.0.2.0/23\"]",
                "door_networks [192.0.2.0/24] to [192.0.2.0/23]",
            ),
            (
                "[metrics]\nnetworks = [\"127.0.0.1\"]",
                "[metrics]\nnetworks = [\"127.0.0.1\", \"127.0.0.2\"]",
                "metrics.networks [127.0.0.1/32] to [127.0.0.1/32 127.0.0.2/32]",
            ),
            (
                "[doors]\nsecurity_level = \"secure-high\"",
                "[doors]\nsecurity_level = \"secure-low\"",
                "doors' security_level high to low",
            ),
        ] {
            assert_eq!(between(less, more), (Some(words.into()), true), "{less} to {more}");
            let (told, grants) = between(more, less);
            assert!(told.is_some() && !grants, "{more} to {less}: {told:?}");
        }
    }

    #[test]
    fn what_is_the_same_is_nothing_and_what_is_neither_is_told() {
        assert_eq!(between("", ""), (None, false));
        assert_eq!(between("", "[heartbeat]\nmin_seconds = 7"), (None, false));
        assert_eq!(between("", "[stop]\ngateways = [\"a:1\"]"), (Some("[stop]".into()), false));
        assert_eq!(between("", "[tls]\nkey = \"other.key\""), (Some("files of [tls]".into()), false));
        let networks: Vec<_> = (0..10).map(|last| format!("\"192.0.2.{last}\"")).collect();
        let (told, grants) = between("", &format!("door_networks = [{}]", networks.join(", ")));
        assert!(told.unwrap().ends_with("192.0.2.7/32 and 2 more]") && !grants);
    }
}
