//! New settings for a running gateway (R15).
//!
//! What can be wrong with them is found first, and leaves the old ones in force as a whole. Then doors judge by the new
//! rights, a door that must close is closed, and the barrier goes to the workers.

use std::sync::Arc;

use callgate_wire::v1::ErrorCode;
use metrics::counter;
use time::OffsetDateTime;

use super::{
    Gateway, StartError,
    difference::{Difference, InFiles, InForce, in_words},
    doors::ClosedDoors,
    rights,
    tls_files::{ends, has_tls_service, http_side, tls_side},
};
use crate::{
    admin::{Actor, AdminRecord, Journal, Outcome},
    audit::Trail,
    config::{AdminConfig, Config, Doors, HttpConfig, HttpListen},
    cti::{Effects, NotAcknowledged},
    http::HttpService,
    hub::Effect,
    model::Mode,
};

/// New rights on their way to the workers.
#[must_use = "nothing is acknowledged before it is waited for"]
pub struct Acknowledgement {
    effects: Effects,
    reloaded: Reloaded,
    /// What was begun on record, to be recorded as done when it is.
    begun: Option<AdminRecord>,
    trail: Arc<dyn Trail>,
}

/// New rights that are in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Their number, counted from 1 at the start of the gateway.
    pub version: u64,
    /// What they did to sessions.
    pub effect: Effect,
    /// What is different in the settings, in the words of its record; `None`: nothing is.
    pub settings: Option<String>,
    /// What is different in the settings, and counts from the next start on.
    pub after_restart: Vec<String>,
    /// Only the mode was taken, which takes keys away: the rest would give somebody something, and can't be recorded (R21).
    pub only_mode: bool,
}

/// The files of `[tls]`, for what listens for TLS still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Files {
    /// They are read.
    Anew,
    /// What was in them stays in force.
    AsTheyWere,
}

impl Acknowledgement {
    /// Waits until no key can leave by the old rights any more, and nothing else is done by them (R15).
    ///
    /// # Errors
    /// [`NotAcknowledged`]: nobody can say so.
    pub async fn acknowledged(mut self) -> Result<Reloaded, NotAcknowledged> {
        let effect = self.effects.all().await;
        if let Some(begun) = self.begun {
            let outcome = if effect.is_ok() { Outcome::Done } else { Outcome::Failed };
            Journal::write_soon(&self.trail, &AdminRecord { outcome, ..begun });
        }
        self.reloaded.effect = effect?;
        Ok(self.reloaded)
    }
}

impl Gateway {
    /// Takes new settings: mode, doors' rules and networks, users, devices, the ledger, and the files of the TLS door. The others count
    /// from the next start on, and are named in the answer. When this returns, nobody new is let in by the old ones:
    /// who is being opened is judged again before it is open. Only a TLS handshake that was done by the old files isn't done
    /// again; the certificate in it is looked up in the new ledger. What it returns says when the old ones are out of effect for open sessions, too.
    ///
    /// It is on record before somebody gets something by it, such as the mixed mode or a network more; what only takes away is done
    /// without a log, too, and recorded when that is open again. So is the mode to non-secure, whatever else there is to take.
    ///
    /// # Errors
    /// [`StartError`]: the old settings stay in force as a whole.
    pub async fn reload(&mut self, config: Config) -> Result<Acknowledgement, StartError> {
        let running = Arc::clone(&self.config.borrow());
        let to_non_secure = self.would_close_tls_door(&config);
        match self.take(config, Files::Anew).await {
            Err(StartError::NotRecorded(_)) if to_non_secure => {
                let only_mode = Config { mode: Mode::NonSecure, ..(*running).clone() };
                let mut taken = self.take(only_mode, Files::AsTheyWere).await?;
                taken.reloaded.only_mode = true;
                Ok(taken)
            }
            taken => taken,
        }
    }

    /// Whether these settings are those of the non-secure mode, and the ones in force aren't.
    pub(super) fn would_close_tls_door(&self, config: &Config) -> bool {
        config.mode == Mode::NonSecure && self.config.borrow().mode == Mode::Mixed
    }

    async fn take(&mut self, config: Config, files: Files) -> Result<Acknowledgement, StartError> {
        let after_restart = self.after_restart(&config);
        let live = self.live.clone();
        let turn = live.turn().await;
        let current = turn.current();
        // A door that was open doesn't move. The TLS door opens and closes with the mode.
        let running = Arc::clone(&self.config.borrow());
        let Doors { clear, tls, .. } = running.doors;
        let next = Config {
            mode: config.mode,
            lenient_doors: config.lenient_doors,
            door_networks: config.door_networks,
            tls: config.tls,
            // What administrators change is theirs: the file has seeded it, and no more.
            directory: if self.is_administered() { Arc::clone(&current.rights.directory) } else { config.directory },
            // Where it listens doesn't change, nor how; who may connect does.
            metrics: HttpConfig { listen: running.metrics.listen, networks: config.metrics.networks },
            admin: AdminConfig {
                https: HttpConfig { listen: running.admin.https.listen, networks: config.admin.https.networks },
                socket: running.admin.socket.clone(),
            },
            stop: config.stop,
            doors: Doors { clear, tls: tls.or(config.doors.tls), ..config.doors },
            ..(*running).clone()
        };
        let side = tls_side(&next, self.ledger.as_ref())?;
        let side_of = |service: &Option<HttpService>, settings: &HttpConfig| {
            let side = service.as_ref().and_then(HttpService::tls_side).filter(|_| files == Files::Anew);
            side.map_or(Ok(None), |_| http_side(&next, settings, self.ledger.as_ref()))
        };
        let metrics_side = side_of(&self.metrics, &next.metrics)?;
        let administration_side = side_of(&self.administration, &next.admin.https)?;
        let ends = match files {
            Files::Anew => ends(&next)?,
            Files::AsTheyWere => self.ends.borrow().filter(|_| has_tls_service(&next)),
        };
        let rights = Arc::new(rights(current.rights.version + 1, &next, side.as_ref()));
        let difference = {
            let was = self.in_files();
            let is = match files {
                Files::Anew => InFiles::of(side.as_ref(), [administration_side.as_ref(), metrics_side.as_ref()]),
                Files::AsTheyWere => self.in_files(),
            };
            let was = InForce { config: &running, files: was.as_ref() };
            let is = InForce { config: &next, files: is.as_ref() };
            Difference::between(was, is, OffsetDateTime::now_utc())
        };
        let (opened, new_side) = match (next.doors.tls, &self.tls, side) {
            (tls @ Some(_), None, side @ Some(_)) => {
                let doors = Doors { clear: None, tls, ..next.doors };
                (Some(ClosedDoors::bind(doors, &self.entrance, side).await?), None)
            }
            (_, Some(_), Some(side)) => (None, Some(side)),
            _ => (None, None),
        };
        let begun = self.begin(&difference)?;

        // From here on nothing fails.
        if let (Some(door), Some(side)) = (&self.tls, new_side) {
            door.side.store(Arc::new(side));
        }
        turn.at_doors(Arc::clone(&rights), next.door_networks.clone());
        if next.mode == Mode::NonSecure
            && let Some(door) = self.tls.take()
        {
            door.stop.cancel();
            // Its port is free then, and no handshake is under way.
            let _ = door.runs.await;
        }
        if let Some(doors) = opened {
            self.open(doors);
        }
        self.ends.send_replace(ends);
        if let Some(metrics) = &self.metrics {
            metrics.change(next.metrics.networks.clone(), metrics_side);
        }
        if let Some(administration) = &self.administration {
            administration.change(next.admin.https.networks.clone(), administration_side);
        }
        self.config.send_replace(Arc::new(next));
        self.tell_doors();
        let version = rights.version;
        let effects = turn.at_workers(rights);
        let reloaded = Reloaded {
            version,
            effect: Effect::default(),
            settings: difference.told(),
            after_restart,
            only_mode: false,
        };
        Ok(Acknowledgement { effects, reloaded, begun, trail: Arc::clone(&self.entrance.trail) })
    }

    /// Puts on record what is going to be different; nothing if nothing is.
    ///
    /// # Errors
    /// [`StartError::NotRecorded`]: it gives somebody something, and is not to be done.
    fn begin(&self, difference: &Difference) -> Result<Option<AdminRecord>, StartError> {
        let Some(told) = difference.told() else { return Ok(None) };
        let begun = AdminRecord::begun(&Actor::Gateway, ("reload", "settings", ""), told)?;
        let trail = &self.entrance.trail;
        if !difference.grants {
            Journal::write_soon(trail, &begun);
        } else if let Err(closed) = Journal::write(trail, &begun) {
            counter!("callgate_admin_refusals_total", "code" => ErrorCode::AuditUnavailable.as_str_name()).increment(1);
            Journal::write_soon(trail, &AdminRecord { outcome: Outcome::Failed, ..begun });
            return Err(closed.into());
        }
        Ok(Some(begun))
    }

    /// The settings in force, in words.
    pub(super) fn settings_in_words(&self) -> String {
        let files = self.in_files();
        let in_force = InForce { config: &self.config.borrow(), files: files.as_ref() };
        in_words(in_force, OffsetDateTime::now_utc())
    }

    fn in_files(&self) -> Option<InFiles> {
        let door = self.tls.as_ref().map(|door| door.side.load_full());
        let services = [&self.administration, &self.metrics];
        let services = services.map(|service| service.as_ref().and_then(HttpService::tls_side));
        InFiles::of(door.as_deref(), services.each_ref().map(Option::as_deref))
    }

    /// What is different, and can't change while the gateway runs.
    fn after_restart(&self, new: &Config) -> Vec<String> {
        let running = Arc::clone(&self.config.borrow());
        // By its fields, so that nobody adds one without a thought of this.
        let Config {
            mode: _,
            lenient_doors: _,
            door_networks: _,
            tls: _,
            overruled: _,
            stop: _,
            doors,
            store,
            audit,
            heartbeat,
            limits,
            metrics,
            admin,
            switches,
            directory: _,
        } = new;
        // It listens on, though a start in non-secure mode would not begin that.
        let closed_by_mode = new.mode == Mode::NonSecure && admin.https.listen == HttpListen::Closed;
        let admin_moved = running.admin.https.listen != admin.https.listen && !closed_by_mode;
        let moved = running.doors.tls.is_some() && running.doors.tls != doors.tls && new.mode == Mode::Mixed;
        let differences = [
            ("doors.clear", running.doors.clear != doors.clear),
            ("doors.tls", moved),
            ("[store]", running.store != *store),
            ("[audit]", running.audit != *audit),
            ("[heartbeat]", running.heartbeat != *heartbeat),
            ("[limits]", running.limits != *limits),
            ("[metrics]", running.metrics.listen != metrics.listen),
            ("[admin]", admin_moved || running.admin.socket != admin.socket),
            ("[[switch]]", running.switches != *switches),
        ];
        differences.into_iter().filter(|(_, is_different)| *is_different).map(|(name, _)| name.into()).collect()
    }
}
