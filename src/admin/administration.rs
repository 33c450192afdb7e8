//! A change from the wish to its acknowledgement.
//!
//! Judged by the directory's rules, begun on record, durable in the store, in effect at the doors and behind them, done on
//! record, answered: in this order. What only takes rights away doesn't wait for a log that can't be written: its record
//! waits in the store instead (R21).

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};
use tracing::error;

use super::{
    Actor, OpenError, Refused, Seed, Seeded, State,
    journal::{AdminRecord, Journal, Outcome},
    outbox::{self, LastStep},
    seed::seed,
    state::Working,
};
use crate::{
    cti::LiveRights,
    directory::{Cascade, Change, Direction, Of, Plan, Step, Write},
    hub::{Certificates, Effect, Rights},
    model::UserName,
    store::{Bucket, Expect, Store, StoreError, Urgency, Version},
    trust::{CertificateRecord, Fingerprint, Ledger},
};

/// Users, groups, devices and certificates, and the way to change them.
#[derive(Debug)]
pub struct Administration {
    store: Arc<dyn Store>,
    journal: Arc<dyn Journal>,
    /// What handshakes ask.
    ledger: Arc<Ledger>,
    state: ArcSwap<State>,
    /// Taken for as long as a change takes: one at a time.
    working: Mutex<Working>,
    live: std::sync::OnceLock<LiveRights>,
}

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
}

impl Administration {
    /// Takes over a store, which gets the seed if it is empty, and what an earlier process has left to be done.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn open(
        store: Arc<dyn Store>,
        journal: Arc<dyn Journal>,
        from: Seed,
    ) -> Result<(Self, Seeded), OpenError> {
        let seeded = seed(&*store, &from).await?;
        outbox::deliver(&*store, &*journal, true).await?;
        let mut working = Working::read(&*store, Arc::clone(&from.made_up)).await?;
        let state = working.state();
        let administration = Self {
            ledger: Arc::new(Ledger::kept(&state.ledger)),
            state: ArcSwap::from_pointee(state),
            working: Mutex::new(working),
            live: std::sync::OnceLock::new(),
            store,
            journal,
        };
        Ok((administration, seeded))
    }

    /// From now on changes reach these sessions. Called once, before anybody administers.
    pub fn go_live(&self, live: LiveRights) {
        let _ = self.live.set(live);
    }

    /// Everything as it stands.
    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// The ledger that handshakes ask.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.ledger)
    }

    /// Changes users, groups or devices. A user goes only when none of its certificates count; with [`Cascade::All`] they
    /// are revoked first.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn change(&self, actor: &Actor, change: &Change, of: Of, cascade: Cascade) -> Result<Done, Refused> {
        let mut working = self.working.lock().await;
        let mut plan = change.plan(of, cascade, working.records())?;
        if let Change::RemoveUser(name) = change {
            let revoked = revocations(&working, name, OffsetDateTime::now_utc());
            if cascade == Cascade::Nothing && !revoked.is_empty() {
                return Err(Refused::StillCertified { user: name.to_string(), count: revoked.len() });
            }
            plan.steps.splice(0..0, revoked);
        }
        let (kind, name) = change.subject();
        self.carry(&mut working, actor, plan, (change.verb(), kind, name)).await
    }

    /// Adds a certificate to the ledger. It counts when this returns, and not before. Adding the same one again changes
    /// nothing.
    ///
    /// # Errors
    /// [`Refused`]: it may be handed to nobody.
    pub async fn add_certificate(
        &self,
        actor: &Actor,
        fingerprint: Fingerprint,
        record: &CertificateRecord,
    ) -> Result<Done, Refused> {
        let mut working = self.working.lock().await;
        let sha256 = fingerprint.to_hex();
        if let Some((_, known)) = working.certificates().get(&fingerprint) {
            let owner = format!("{}/{}", known.user, known.instance);
            return Err(Refused::CertificateTaken { sha256, owner });
        }
        let put = Write::Put(zeroize::Zeroizing::new(record.to_value()), Expect::Absent);
        let step = Step { bucket: Bucket::CERTIFICATES, key: sha256.clone(), write: put };
        let detail = format!("{}/{} serial {} until {}", record.user, record.instance, record.serial, record.not_after);
        let plan = Plan { steps: vec![step], direction: Direction::Grants, detail };
        self.carry(&mut working, actor, plan, ("add", "certificate", &sha256)).await
    }

    /// Revokes a certificate, for good. The session that is open by it is closed when this returns, and by no other.
    /// Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn revoke(&self, actor: &Actor, fingerprint: Fingerprint, reason: &str) -> Result<Done, Refused> {
        let mut working = self.working.lock().await;
        let sha256 = fingerprint.to_hex();
        let Some((version, record)) = working.certificates().get(&fingerprint) else {
            return Err(Refused::NoCertificate(sha256));
        };
        let steps = vec![revocation(fingerprint, *version, record, OffsetDateTime::now_utc(), reason)];
        let detail = format!("{}/{}: {reason}", record.user, record.instance);
        let plan = Plan { steps, direction: Direction::Takes, detail };
        self.carry(&mut working, actor, plan, ("revoke", "certificate", &sha256)).await
    }

    /// Takes over what a ledger's file says: certificates that are new to the store, and revocations. Returns how many of
    /// each. What the store has revoked stays so.
    ///
    /// # Errors
    /// [`Refused`]: what was taken before it is in effect.
    pub async fn import(
        &self,
        actor: &Actor,
        records: &BTreeMap<Fingerprint, CertificateRecord>,
    ) -> Result<(usize, usize), Refused> {
        let (mut added, mut revoked) = (0, 0);
        for (fingerprint, record) in records {
            let known = self.state().certificates.get(fingerprint).map(|(_, known)| Arc::clone(known));
            match (known, &record.revoked) {
                (None, _) => {
                    self.add_certificate(actor, *fingerprint, record).await?;
                    added += 1;
                }
                (Some(known), Some(revocation)) if known.revoked.is_none() => {
                    self.revoke(actor, *fingerprint, &revocation.reason).await?;
                    revoked += 1;
                }
                (Some(_), _) => {}
            }
        }
        Ok((added, revoked))
    }

    /// Writes the records that wait because the log could not be written. Whether any wait still.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn deliver_outbox(&self) -> Result<bool, StoreError> {
        // No change is between its outbox and its effect then.
        let _working = self.working.lock().await;
        outbox::deliver(&*self.store, &*self.journal, false).await
    }

    async fn carry(
        &self,
        working: &mut MutexGuard<'_, Working>,
        actor: &Actor,
        plan: Plan,
        (verb, kind, name): (&str, &str, &str),
    ) -> Result<Done, Refused> {
        let begun = AdminRecord {
            change: change_id()?,
            actor: actor.to_string(),
            verb: verb.into(),
            kind: kind.into(),
            name: name.into(),
            detail: plan.detail,
            outcome: Outcome::Begun,
        };
        let recorded = self.journal.write(&begun);
        if let Err(closed) = recorded {
            match (plan.direction, plan.steps.last()) {
                (Direction::Takes, Some(last)) => outbox::keep(&*self.store, &begun, &last_step(last)).await?,
                _ => return Err(closed.into()),
            }
        }
        let urgency = if plan.direction == Direction::Takes { Urgency::TakesAway } else { Urgency::Ordinary };
        let written = self.write(working, plan.steps, urgency).await;
        if written.is_err() {
            // Nobody knows what of it is there.
            working.read_again(&*self.store).await;
        }
        let effect = self.make_live(working).await;
        let outcome = if written.is_ok() && effect.is_ok() { Outcome::Done } else { Outcome::Failed };
        let done = AdminRecord { outcome, ..begun };
        match recorded {
            Ok(()) => self.journal.write_soon(&done),
            // The log may have healed since; if not, it waits.
            Err(_) => {
                if let Err(error) = outbox::deliver(&*self.store, &*self.journal, false).await {
                    error!(%error, "a record waits in the store");
                }
            }
        }
        let version = written?;
        let (rights, effect) = effect?;
        Ok(Done { change: done.change, version, rights, effect })
    }

    /// Writes the steps, and returns the version that the last one has.
    async fn write(
        &self,
        working: &mut Working,
        steps: Vec<Step>,
        urgency: Urgency,
    ) -> Result<Option<Version>, StoreError> {
        let mut last = None;
        for Step { bucket, key, write } in steps {
            let entry = match write {
                Write::Delete(version) => {
                    self.store.delete(bucket, &key, version, urgency).await?;
                    None
                }
                Write::Put(value, expect) => {
                    let version = self.store.put(bucket, &key, &value, expect, urgency).await?;
                    Some(crate::store::Entry { key: key.clone(), value: value.as_slice().into(), version })
                }
            };
            last = entry.as_ref().map(|entry| entry.version);
            if let Err(error) = working.take(bucket, &key, entry.as_ref()) {
                error!(%error, "what was just written can't be read");
            }
        }
        Ok(last)
    }

    /// What was taken counts from here on: for readers, at the doors, and when this returns, behind them.
    async fn make_live(&self, working: &mut Working) -> Result<(u64, Effect), Refused> {
        let state = Arc::new(working.state());
        self.state.store(Arc::clone(&state));
        // Handshakes first: what is revoked gets no further, and what is added is known to the rights below.
        self.ledger.replace(Arc::clone(&state.ledger));
        let Some(live) = self.live.get() else { return Ok((0, Effect::default())) };
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

fn revocations(working: &Working, user: &UserName, now: OffsetDateTime) -> Vec<Step> {
    let of_user =
        working.certificates().iter().filter(|(_, (_, record))| record.user == *user && record.counts_at(now));
    of_user
        .map(|(fingerprint, (version, record))| revocation(*fingerprint, *version, record, now, "the user was removed"))
        .collect()
}

fn revocation(
    fingerprint: Fingerprint,
    version: Version,
    record: &CertificateRecord,
    now: OffsetDateTime,
    reason: &str,
) -> Step {
    let value = record.revoked(now, reason).to_value();
    let write = Write::Put(zeroize::Zeroizing::new(value), Expect::Version(version));
    Step { bucket: Bucket::CERTIFICATES, key: fingerprint.to_hex(), write }
}

fn last_step(step: &Step) -> LastStep<'_> {
    let before = match &step.write {
        Write::Delete(version) | Write::Put(_, Expect::Version(version)) => Some(*version),
        Write::Put(_, Expect::Absent) => None,
    };
    LastStep { bucket: step.bucket, key: &step.key, before }
}

/// 16 hex digits that nothing else has.
pub(super) fn change_id() -> Result<String, Refused> {
    let mut bytes = [0; 8];
    rand::fill(&mut bytes).map_err(|_| Refused::Randomness)?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
