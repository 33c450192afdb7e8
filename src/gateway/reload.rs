//! New settings for a running gateway (R15).
//!
//! What can be wrong with them is found first, and leaves the old ones in force as a whole. Then doors judge by the new
//! rights, a door that must close is closed, and the barrier goes to the workers.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Gateway, StartError, rights,
    tls_files::{http_side, tls_side},
};
use crate::{
    config::{Config, Doors, HttpConfig},
    cti::Current,
    directory::Directory,
    hub::Effect,
    model::{Address, DeviceName, Mode},
};

/// New rights on their way to the workers.
#[must_use = "nothing is acknowledged before it is waited for"]
pub struct Acknowledgement {
    effects: mpsc::UnboundedReceiver<Effect>,
    reloaded: Reloaded,
}

/// New rights that are in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Their number, counted from 1 at the start of the gateway.
    pub version: u64,
    /// What they did to sessions.
    pub effect: Effect,
    /// What is different in the settings, and counts from the next start on.
    pub after_restart: Vec<String>,
}

/// The part of the gateway that carries new rights to the workers has failed, so the gateway is about to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the new rights did not reach the sessions: the hub has failed, and the gateway stops")]
pub struct NotAcknowledged;

impl Acknowledgement {
    /// Waits until no key can leave by the old rights any more, and nothing else is done by them (R15).
    ///
    /// # Errors
    /// [`NotAcknowledged`]: nobody can say so.
    pub async fn acknowledged(mut self) -> Result<Reloaded, NotAcknowledged> {
        self.reloaded.effect += self.effects.recv().await.ok_or(NotAcknowledged)?;
        while let Some(effect) = self.effects.recv().await {
            self.reloaded.effect += effect;
        }
        Ok(self.reloaded)
    }
}

impl Gateway {
    /// Takes new settings: mode, doors' rules and networks, users, devices, the ledger, and the files of the TLS door. The others count
    /// from the next start on, and are named in the answer. When this returns, nobody new is let in by the old ones:
    /// who is being opened is judged again before it is open. Only a TLS handshake that was done by the old files isn't done
    /// again; the certificate in it is looked up in the new ledger. What it returns says when the old ones are out of effect for open sessions, too.
    ///
    /// # Errors
    /// [`StartError`]: the old settings stay in force as a whole.
    pub async fn reload(&mut self, config: Config) -> Result<Acknowledgement, StartError> {
        let after_restart = self.after_restart(&config);
        // A door that was open doesn't move. The TLS door opens and closes with the mode.
        let Doors { clear, tls, .. } = self.config.doors;
        let next = Config {
            mode: config.mode,
            lenient_doors: config.lenient_doors,
            door_networks: config.door_networks,
            tls: config.tls,
            directory: config.directory,
            // Where it listens doesn't change, nor how; who may connect does.
            metrics: HttpConfig { listen: self.config.metrics.listen, networks: config.metrics.networks },
            doors: Doors { clear, tls: tls.or(config.doors.tls), ..config.doors },
            ..self.config.clone()
        };
        let mut side = tls_side(&next)?;
        let metrics_side = match &self.metrics {
            Some(metrics) if metrics.has_tls() => http_side(&next, &next.metrics)?,
            _ => None,
        };
        let current = self.entrance.current.load_full();
        let rights = Arc::new(rights(current.rights.version + 1, &next, side.as_ref()));
        let opened = match (next.doors.tls, &self.tls, side.take()) {
            (Some(address), None, Some(side)) => Some(self.open_tls(address, side).await?),
            (_, Some(door), Some(side)) => {
                door.side.store(Arc::new(side));
                None
            }
            _ => None,
        };

        // From here on nothing fails.
        let decoy = current.decoy.for_directory(&rights.directory);
        let networks = next.door_networks.clone();
        self.entrance.current.store(Arc::new(Current { rights: Arc::clone(&rights), decoy, networks }));
        if next.mode == Mode::NonSecure
            && let Some(door) = self.tls.take()
        {
            door.stop.cancel();
            // Its port is free then, and no handshake is under way.
            let _ = door.runs.await;
        }
        if let Some((door, side)) = opened {
            self.run_tls(door, side);
        }
        if let Some(metrics) = &self.metrics {
            metrics.change(next.metrics.networks.clone(), metrics_side);
        }
        self.config = next;
        self.tell_doors();
        let version = rights.version;
        let effects = self.entrance.hub.change_rights(rights);
        Ok(Acknowledgement { effects, reloaded: Reloaded { version, effect: Effect::default(), after_restart } })
    }

    /// What is different, and can't change while the gateway runs.
    fn after_restart(&self, new: &Config) -> Vec<String> {
        let running = &self.config;
        // By its fields, so that nobody adds one without a thought of this.
        let Config {
            mode: _,
            lenient_doors: _,
            door_networks: _,
            tls: _,
            overruled: _,
            doors,
            heartbeat,
            limits,
            metrics,
            admin,
            switches,
            directory,
        } = new;
        let moved = running.doors.tls.is_some() && running.doors.tls != doors.tls && new.mode == Mode::Mixed;
        let differences = [
            ("doors.clear", running.doors.clear != doors.clear),
            ("doors.tls", moved),
            ("[heartbeat]", running.heartbeat != *heartbeat),
            ("[limits]", running.limits != *limits),
            ("[metrics]", running.metrics.listen != metrics.listen),
            ("[admin]", running.admin.listen != admin.listen),
            ("[[switch]]", running.switches != *switches),
            // Connectors were told of them at the start.
            ("addresses of devices", !addresses(&self.started_with).eq(addresses(directory))),
        ];
        differences.into_iter().filter(|(_, is_different)| *is_different).map(|(name, _)| name.into()).collect()
    }
}

fn addresses(directory: &Directory) -> impl Iterator<Item = (&DeviceName, &[Address])> {
    let devices = directory.devices().map(|device| (&device.name, device.addresses.as_slice()));
    devices.filter(|(_, addresses)| !addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acknowledgement() -> (mpsc::UnboundedSender<Effect>, Acknowledgement) {
        let (done, effects) = mpsc::unbounded_channel();
        let reloaded = Reloaded { version: 2, effect: Effect::default(), after_restart: Vec::new() };
        (done, Acknowledgement { effects, reloaded })
    }

    #[tokio::test]
    async fn r15_without_the_hub_nothing_is_acknowledged() {
        let (done, acknowledgement) = acknowledgement();
        drop(done);
        assert_eq!(acknowledgement.acknowledged().await, Err(NotAcknowledged));

        let (done, acknowledgement) = self::acknowledgement();
        done.send(Effect::default()).unwrap();
        drop(done);
        assert_eq!(acknowledgement.acknowledged().await.unwrap().effect, Effect::default(), "there are no sessions");
    }
}
