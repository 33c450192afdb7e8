//! A change from its plan to its acknowledgement.
//!
//! Begun on record, durable in the store, in effect at the doors and behind them, done on record, answered: in this order,
//! and in a task of its own, so that nobody's going away leaves it half way. What only takes rights away waits for nothing:
//! without a log its record waits in the store, and without a store it is in effect all the same, and written later (R21).

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use time::OffsetDateTime;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::{Mutex, OwnedMutexGuard},
    task::block_in_place,
};
use tracing::{error, warn};

use super::{
    Actor, Refused, State,
    accounts::Accounts,
    journal::{AdminRecord, Journal, Outcome},
    outbox::{self, LastStep},
    owed::Paid,
    state::Working,
};
use crate::{
    cti::{LiveRights, NotAcknowledged},
    directory::{Direction, Plan, Step},
    hub::{Certificates, Effect, Rights},
    store::{Store, StoreError, Urgency, Version},
    trust::Ledger,
};

/// Carries changes, one at a time.
#[derive(Debug)]
pub(super) struct Carrier {
    pub(super) store: Arc<dyn Store>,
    pub(super) journal: Arc<dyn Journal>,
    /// What handshakes ask.
    pub(super) ledger: Arc<Ledger>,
    pub(super) state: ArcSwap<State>,
    /// Taken for as long as a change takes, in the order of asking.
    working: Arc<Mutex<Working>>,
    /// Records may wait in the store for the log. They come before those of any later change.
    waits_for_log: AtomicBool,
    pub(super) live: OnceLock<LiveRights>,
}

/// Nobody else changes anything while it lives.
pub(super) type Turn = OwnedMutexGuard<Working>;

/// A change that is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// Names the change in the records.
    pub change: String,
    /// The version that what was changed has now; `None` if it is gone.
    pub version: Option<Version>,
    /// The number of the rights that are in effect; 0 while no gateway runs.
    pub rights: u64,
    /// What the change did to sessions.
    pub effect: Effect,
    /// How many certificates were revoked with what is gone.
    pub revoked: usize,
}

/// What the store did with the steps of a change.
enum Written {
    /// All are durable. The last has this version; `None`: it is gone.
    Stored(Option<Version>),
    /// Some aren't, and are in effect all the same.
    Owed(StoreError),
}

impl Carrier {
    pub(super) fn new(store: Arc<dyn Store>, journal: Arc<dyn Journal>, mut working: Working) -> Self {
        let state = working.state();
        Self {
            store,
            journal,
            ledger: Arc::new(Ledger::kept(&state.ledger)),
            state: ArcSwap::from_pointee(state),
            working: Arc::new(Mutex::new(working)),
            waits_for_log: AtomicBool::new(true),
            live: OnceLock::new(),
        }
    }

    /// Waits until it is this actor's turn to change something, in the order of asking.
    ///
    /// # Errors
    /// [`Refused::ActorGone`]: it waited for the change that took its own rights away. [`Refused::NotAcknowledged`].
    pub(super) async fn turn(self: &Arc<Self>, actor: &Actor) -> Result<Turn, Refused> {
        let turn = self.any_turn().await?;
        stands(turn.accounts(), actor)?;
        Ok(turn)
    }

    /// Brings to the store and to the log what waits for them. Whether anything waits still.
    ///
    /// # Errors
    /// The store can't be used.
    pub(super) async fn heal(self: &Arc<Self>) -> Result<bool, StoreError> {
        // No change is between its outbox and its effect then.
        let Ok(turn) = self.any_turn().await else { return Ok(true) };
        self.deliver(&turn).await
    }

    /// As [`Owed::why`].
    pub(super) async fn owed(self: &Arc<Self>) -> Option<StoreError> {
        self.any_turn().await.ok()?.owed.why().cloned()
    }

    /// Makes the change that was planned in this turn.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn carry(
        self: &Arc<Self>,
        turn: Turn,
        actor: &Actor,
        plan: Plan,
        subject: (&str, &str, &str),
    ) -> Result<Done, Refused> {
        self.carry_with(turn, actor, plan, subject, Vec::new()).await
    }

    /// The same for a change that has records `besides`, since one doesn't hold all that it does: what came of it is what came
    /// of them.
    ///
    /// # Errors
    /// [`Refused`].
    pub(super) async fn carry_with(
        self: &Arc<Self>,
        mut turn: Turn,
        actor: &Actor,
        plan: Plan,
        subject: (&str, &str, &str),
        besides: Vec<AdminRecord>,
    ) -> Result<Done, Refused> {
        let begun = AdminRecord::begun(actor, subject, plan.detail)?;
        let carrier = Arc::clone(self);
        in_a_task(async move { carrier.make(&mut turn, (begun, besides), plan.steps, plan.direction).await }).await?
    }

    /// The next turn, before which all is done that the ones before have left to be done: to its end, even if nobody waits for
    /// the turn any more. Else what is stored would not be in effect everywhere.
    async fn any_turn(self: &Arc<Self>) -> Result<Turn, NotAcknowledged> {
        let mut working = Arc::clone(&self.working).lock_owned().await;
        let can_deliver = self.waits_for_log.load(Ordering::Relaxed) && self.journal.can_write();
        if working.is_certain && working.owed.is_settled() && !can_deliver {
            return Ok(working);
        }
        let carrier = Arc::clone(self);
        in_a_task(async move {
            if !working.is_certain {
                working.is_certain = working.read_again(&*carrier.store).await;
                if let Err(error) = carrier.make_live(&mut working).await {
                    error!(%error, "what the store has is not in effect everywhere");
                }
            }
            carrier.pay(&mut working).await;
            if can_deliver && let Err(error) = carrier.deliver(&working).await {
                error!(%error, "a record waits in the store");
            }
            working
        })
        .await
    }

    async fn make(
        &self,
        working: &mut Working,
        (begun, besides): (AdminRecord, Vec<AdminRecord>),
        steps: Vec<Step>,
        direction: Direction,
    ) -> Result<Done, Refused> {
        let takes = direction == Direction::Takes;
        if let (Some(why), false) = (working.owed.why(), takes) {
            // The store doesn't take what came before, so it won't take this.
            return Err(why.clone().into());
        }
        let kept = match (self.journal.write(&begun), steps.last()) {
            (Ok(()), _) => None,
            (Err(_), Some(last)) if takes => {
                self.waits_for_log.store(true, Ordering::Relaxed);
                Some(outbox::keep(&begun, &last_step(working, last)))
            }
            (Err(closed), _) => return Err(closed.into()),
        };
        // What was owed before was just tried.
        let go_one_by_one = working.owed.why().is_none() && steps.len() + usize::from(kept.is_some()) > 1;
        working.is_certain = false;
        let written = self.write(working, kept.as_ref(), steps, takes).await;
        // After an error nobody knows what of it is there.
        let is_known = written.is_ok() || working.read_again(&*self.store).await;
        let effect = self.make_live(working).await;
        working.is_certain = is_known;
        let mut is_kept = matches!(written, Ok(Written::Stored(_)));
        let written = match written {
            Ok(Written::Owed(why)) if go_one_by_one => {
                is_kept = self.keep(kept.as_ref()).await;
                Ok(if is_kept { self.pay_now(working, why).await } else { Written::Owed(why) })
            }
            written => written,
        };
        let outcome = match (&written, &effect) {
            (Ok(Written::Stored(_)), Ok(_)) => Outcome::Done,
            (Ok(Written::Owed(_)), Ok(_)) => Outcome::InEffect,
            _ => Outcome::Failed,
        };
        let change = begun.change.clone();
        for record in besides {
            self.end(working, record, outcome).await;
        }
        if kept.is_none() {
            self.end(working, begun, outcome).await;
        } else {
            self.end_unbegun(working, begun, outcome, is_kept).await;
        }
        let written = written?;
        let (rights, effect) = effect?;
        match written {
            Written::Stored(version) => Ok(Done { change, version, rights, effect, revoked: 0 }),
            Written::Owed(error) => Err(Refused::NotStored(error)),
        }
    }

    /// Whether the record of a change that couldn't be begun on record is in the store, or the change has none that has to be there.
    async fn keep(&self, kept: Option<&Step>) -> bool {
        let Some(kept) = kept else { return true };
        match self.store.write(&[kept.as_write()], Urgency::TakesAway).await {
            // It was there already.
            Ok(_) | Err(StoreError::Conflict { .. }) => true,
            Err(_) => false,
        }
    }

    /// What the store didn't take as a whole it may take key by key: a full disk has room for one key at a time, and not for a
    /// thousand. They are paid in their order, in which a crash between two of them leaves nobody with more.
    async fn pay_now(&self, working: &mut Working, why: StoreError) -> Written {
        let version = self.pay(working).await;
        if working.owed.is_settled() { Written::Stored(version) } else { Written::Owed(why) }
    }

    /// Puts on record what came of a change, and later that it is done if it isn't stored yet.
    async fn end(&self, working: &mut Working, record: AdminRecord, outcome: Outcome) {
        if outcome == Outcome::InEffect {
            working.owed.then_record(AdminRecord { outcome: Outcome::Done, ..record.clone() });
        }
        self.record(&AdminRecord { outcome, ..record }).await;
    }

    /// The same for a change that couldn't be begun on record. It has one record, which waits in the store, and in memory if that
    /// is where the change is.
    async fn end_unbegun(&self, working: &mut Working, record: AdminRecord, outcome: Outcome, is_kept: bool) {
        match outcome {
            Outcome::InEffect if !is_kept => {
                working.owed.then_record(AdminRecord { outcome: Outcome::Done, ..record });
            }
            Outcome::Failed => self.keep_outcome(&AdminRecord { outcome, ..record }).await,
            _ => {}
        }
        if let Err(error) = self.deliver(working).await {
            error!(%error, "a record waits in the store");
        }
    }

    /// Brings the records that wait in the store to the log, if it can be written. Whether anything waits still. As long as something is
    /// owed they wait: some say that it is done.
    async fn deliver(&self, working: &Working) -> Result<bool, StoreError> {
        if working.owed.why().is_some() {
            return Ok(true);
        }
        let waits = outbox::deliver(&*self.store, &*self.journal, false).await?;
        self.waits_for_log.store(waits, Ordering::Relaxed);
        Ok(waits)
    }

    /// Puts on record what came of a change that was begun on record. While the log can't be written it waits in the store, so
    /// that no acknowledged change loses its end by a crash; without a store it waits in memory.
    async fn record(&self, record: &AdminRecord) {
        if self.journal.write(record).is_ok() {
            return;
        }
        if record.outcome == Outcome::InEffect {
            // So is the change, and the record of its end comes behind this one.
            self.journal.write_soon(record);
        } else {
            self.keep_outcome(record).await;
        }
    }

    /// Keeps what came of a change in the store, or else in memory.
    async fn keep_outcome(&self, record: &AdminRecord) {
        self.waits_for_log.store(true, Ordering::Relaxed);
        if let Err(error) = outbox::keep_outcome(&*self.store, record).await {
            warn!(%error, change = record.change, "what came of a change waits for the log, and not in the store");
            self.journal.write_soon(record);
        }
    }

    /// Writes the steps, together where the store can. Those of a change that only takes are made in memory when the store doesn't
    /// take them: all of them, since nobody knows which it took, if any. `kept` is the step before them that keeps their record. It is
    /// never owed: what is in memory has its record there.
    async fn write(
        &self,
        working: &mut Working,
        kept: Option<&Step>,
        steps: Vec<Step>,
        takes: bool,
    ) -> Result<Written, StoreError> {
        let urgency = if takes { Urgency::TakesAway } else { Urgency::Ordinary };
        let written = match working.owed.why() {
            // Behind what is owed, so that the order stays.
            Some(why) => Err(why.clone()),
            None => {
                let all: Vec<_> = kept.into_iter().chain(&steps).map(Step::as_write).collect();
                self.store.write(&all, urgency).await
            }
        };
        match written {
            Ok(versions) => {
                let mut last = None;
                let versions = versions.into_iter().skip(usize::from(kept.is_some()));
                for (step, version) in steps.into_iter().zip(versions) {
                    let entry = step.entry(version);
                    last = entry.as_ref().map(|entry| entry.version);
                    working.take_or_tell(step.bucket, &step.key, entry.as_ref());
                }
                Ok(Written::Stored(last))
            }
            Err(why) if takes && why.is_of_the_store() => {
                warn!(error = %why, "the store doesn't take what takes rights away: it is in effect, and is tried again");
                for step in steps {
                    let (bucket, key) = (step.bucket, step.key.clone());
                    let entry = working.owed.owe(step, why.clone());
                    working.take_or_tell(bucket, &key, entry.as_ref());
                }
                Ok(Written::Owed(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes what is owed, as far as the store takes it. Given up at any moment, it can go on later. Returns the version that the last
    /// key has now that was written; `None` if it is gone.
    async fn pay(&self, working: &mut Working) -> Option<Version> {
        let (mut is_anything_paid, mut last) = (false, None);
        while let Paid::Taken(bucket, key, entry) = working.owed.pay_one(&*self.store).await {
            // It is in effect already, and has its version now.
            working.take_or_tell(bucket, &key, entry.as_ref());
            last = entry.map(|entry| entry.version);
            is_anything_paid = true;
        }
        while let Some(record) = working.owed.next_record() {
            self.record_paid(&record).await;
        }
        if is_anything_paid && let Err(error) = self.make_live(working).await {
            error!(%error, "what the store has is not in effect everywhere");
        }
        last
    }

    /// As [`Self::record`] for a change that is stored at last: its record may be in the store, if that took it and said it didn't.
    async fn record_paid(&self, record: &AdminRecord) {
        if self.journal.write_once(record).is_err() {
            self.keep_outcome(record).await;
        }
    }

    /// What was taken counts from here on: for readers, at the doors, and when this returns, behind them.
    async fn make_live(&self, working: &mut Working) -> Result<(u64, Effect), NotAcknowledged> {
        let changes_rights = working.changes_rights();
        let state = aside(working.size(), || {
            let state = Arc::new(working.state());
            self.state.store(Arc::clone(&state));
            state
        });
        // Handshakes first: what is revoked gets no further, and what is added is known to the rights below.
        self.ledger.replace(Arc::clone(&state.ledger));
        let Some(live) = self.live.get() else { return Ok((0, Effect::default())) };
        if !changes_rights {
            return Ok((live.current().rights.version, Effect::default()));
        }
        let (version, effects) = live
            .change(|rights| Rights {
                version: rights.version,
                mode: rights.mode,
                lenient_doors: rights.lenient_doors,
                directory: Arc::clone(&state.directory),
                certificates: Certificates {
                    known: Arc::clone(&state.ledger),
                    ledger: rights.certificates.ledger.clone(),
                    crls: Arc::clone(&rights.certificates.crls),
                },
            })
            .await;
        Ok((version, effects.all().await?))
    }
}

/// Does work to its end, even if whoever waits for it goes away. Where no runtime is, as in a simulation, who waits does it.
///
/// # Errors
/// [`NotAcknowledged`]: a fault, or the end of the process, has ended it early.
pub(super) async fn in_a_task<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, NotAcknowledged> {
    match Handle::try_current() {
        Ok(runtime) => runtime.spawn(work).await.map_err(|_| NotAcknowledged),
        Err(_) => Ok(work.await),
    }
}

/// Does what may take seconds with so many records, in place: whom else this thread runs, another one runs meanwhile. A runtime of
/// one thread has no other. With few it takes less than the other thread's beginning, and the memory that each thread has of its own.
fn aside<T>(records: usize, work: impl FnOnce() -> T) -> T {
    const MANY: usize = 5_000;
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) if records >= MANY => block_in_place(work),
        _ => work(),
    }
}

/// Whether the actor may still act.
///
/// # Errors
/// [`Refused::ActorGone`].
pub(super) fn stands(accounts: &Accounts, actor: &Actor) -> Result<(), Refused> {
    let Actor::Account(standing) = actor else { return Ok(()) };
    match accounts.stands(standing, OffsetDateTime::now_utc()) {
        Some(_) => Ok(()),
        None => Err(Refused::ActorGone),
    }
}

fn last_step<'a>(working: &Working, step: &'a Step) -> LastStep<'a> {
    let before = working.owed.found(step.bucket, &step.key).unwrap_or(step.expected());
    LastStep { bucket: step.bucket, key: &step.key, before }
}
