//! The one way to change what counts while the gateway runs: first at the doors, then behind them (R15).

use std::{fmt, sync::Arc};

use tokio::sync::{Mutex, MutexGuard, mpsc};

use super::{Current, Entrance};
use crate::{
    hub::{Effect, Rights},
    model::AllowedNetworks,
};

/// Changes rights, one change at a time: workers get them in the order of their numbers.
#[derive(Clone)]
pub struct LiveRights {
    entrance: Arc<Entrance>,
    turn: Arc<Mutex<()>>,
    tell: Arc<dyn Fn(&Rights) + Send + Sync>,
}

/// Nobody else changes rights while it lives.
pub struct Turn<'a> {
    live: &'a LiveRights,
    _turn: MutexGuard<'a, ()>,
}

/// What workers say that a change did. It is acknowledged when all have said it.
#[must_use = "nothing is acknowledged before it is waited for"]
#[derive(Debug)]
pub struct Effects(mpsc::UnboundedReceiver<Effect>);

/// The part of the gateway that carries new rights to the workers has failed, so the gateway is about to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the new rights did not reach the sessions: the hub has failed, and the gateway stops")]
pub struct NotAcknowledged;

impl LiveRights {
    /// For the doors that share this entrance. Who else must know of new rights is told by `tell`, in their order and before
    /// the workers.
    pub fn new(entrance: Arc<Entrance>, tell: impl Fn(&Rights) + Send + Sync + 'static) -> Self {
        Self { entrance, turn: Arc::default(), tell: Arc::new(tell) }
    }

    /// What counts for who comes in now.
    pub fn current(&self) -> Arc<Current> {
        self.entrance.current.load_full()
    }

    /// Waits until nobody else changes rights.
    pub async fn turn(&self) -> Turn<'_> {
        Turn { _turn: self.turn.lock().await, live: self }
    }

    /// Changes rights to what `make` makes of them, with the next number, and everything else as it is. When it returns,
    /// nobody is let in by the old ones.
    pub async fn change(&self, make: impl FnOnce(&Rights) -> Rights) -> (u64, Effects) {
        let turn = self.turn().await;
        let current = turn.current();
        let version = current.rights.version + 1;
        let rights = Arc::new(Rights { version, ..make(&current.rights) });
        turn.at_doors(Arc::clone(&rights), current.networks.clone());
        (version, turn.at_workers(rights))
    }
}

impl fmt::Debug for LiveRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveRights").field("version", &self.current().rights.version).finish()
    }
}

impl Turn<'_> {
    /// What counts until this turn changes it.
    pub fn current(&self) -> Arc<Current> {
        self.live.current()
    }

    /// From now on doors judge by these rights and networks.
    pub fn at_doors(&self, rights: Arc<Rights>, networks: AllowedNetworks) {
        let decoy = self.current().decoy.for_directory(&rights.directory);
        self.live.entrance.current.store(Arc::new(Current { rights, decoy, networks }));
    }

    /// Sends the rights that [`at_doors`](Self::at_doors) has to the workers.
    pub fn at_workers(self, rights: Arc<Rights>) -> Effects {
        (self.live.tell)(&rights);
        Effects(self.live.entrance.hub.change_rights(rights))
    }
}

impl Effects {
    /// Waits until no key can leave by the old rights any more, and nothing else is done by them (R15). Returns what the
    /// change did to all sessions.
    ///
    /// # Errors
    /// [`NotAcknowledged`]: nobody can say so.
    pub async fn all(mut self) -> Result<Effect, NotAcknowledged> {
        // The hub answers, too: without any answer it is gone.
        let mut all = self.0.recv().await.ok_or(NotAcknowledged)?;
        while let Some(effect) = self.0.recv().await {
            all += effect;
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r15_without_the_hub_nothing_is_acknowledged() {
        let (done, effects) = mpsc::unbounded_channel();
        drop(done);
        assert_eq!(Effects(effects).all().await, Err(NotAcknowledged));

        let (done, effects) = mpsc::unbounded_channel();
        done.send(Effect { closed: 1, ..Effect::default() }).unwrap();
        done.send(Effect { closed: 2, ..Effect::default() }).unwrap();
        drop(done);
        assert_eq!(Effects(effects).all().await.unwrap().closed, 3);
    }
}
