//! What administrators can ask for. What becomes of it is in [`super::carrier`].

use std::{collections::BTreeMap, fs::File, io, sync::Arc};

use time::OffsetDateTime;

use super::{
    Actor, Done, OpenError, Refused, Seed, Seeded, State,
    accounts::{AccountChange, Token, TokenKind},
    carrier::{Carrier, in_a_task, stands},
    journal::{AdminRecord, Journal, Outcome},
    outbox,
    seed::seed,
    state::Working,
};
use crate::{
    cti::LiveRights,
    directory::{Cascade, Change, Direction, Of, Plan, Refusal, Step, Write},
    hub::Standing,
    model::UserName,
    store::{BackedUp, BackupError, Bucket, Expect, Store, StoreError, Version},
    trust::{CertificateRecord, ClientCrls, CrlCheck, Fingerprint, Ledger},
};

/// How many certificates the record of their user's removal names: more don't fit into it. Each of the others has a record of its
/// own.
const NAMED: usize = 12;
const USER_REMOVED: &str = "the user was removed";

/// How many certificates a ledger's file had that the store didn't have so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Imported {
    /// New ones.
    pub added: usize,
    /// Those of which the CRL of their CA counts otherwise.
    pub changed: usize,
    /// Those that were revoked.
    pub revoked: usize,
}

/// Users, groups, devices, certificates and accounts, and the way to change them.
///
/// A change that has begun is made to its end, even if nobody waits for its answer any more.
#[derive(Debug)]
pub struct Administration {
    carrier: Arc<Carrier>,
}

impl Administration {
    /// Takes over a store, which gets the seed if it is empty, and what an earlier process has left to be done.
    ///
    /// # Errors
    /// The store can't be used, or is empty and what it is to get can't be recorded.
    pub async fn open(
        store: Arc<dyn Store>,
        journal: Arc<dyn Journal>,
        from: Seed,
    ) -> Result<(Self, Seeded), OpenError> {
        let seeded = seed(&*store, &*journal, &from).await?;
        outbox::deliver(&*store, &*journal, true).await?;
        let working = Working::read(&*store, Arc::clone(&from.made_up)).await?;
        Ok((Self { carrier: Arc::new(Carrier::new(store, journal, working)) }, seeded))
    }

    /// From now on changes reach these sessions. Called once, before anybody administers.
    pub fn go_live(&self, live: LiveRights) {
        let _ = self.carrier.live.set(live);
    }

    /// Everything as it stands.
    pub fn state(&self) -> Arc<State> {
        self.carrier.state.load_full()
    }

    /// The ledger that handshakes ask.
    pub fn ledger(&self) -> Arc<Ledger> {
        Arc::clone(&self.carrier.ledger)
    }

    /// The number of the rights that are in effect; 0 while no gateway runs.
    pub fn rights(&self) -> u64 {
        self.carrier.live.get().map_or(0, |live| live.current().rights.version)
    }

    /// What other CAs have revoked, as the TLS door knows it; nothing while no gateway runs.
    pub fn client_crls(&self) -> Arc<ClientCrls> {
        let live = self.carrier.live.get();
        live.map(|live| Arc::clone(&live.current().rights.certificates.crls)).unwrap_or_default()
    }

    /// Whether a certificate counts at this moment: by the ledger, by its dates, and by the CRL of its CA.
    pub fn certificate_counts(&self, certificate: &Fingerprint, now: OffsetDateTime) -> bool {
        let is_known = self.state().certificates.get(certificate).is_some_and(|(_, record)| record.counts_at(now));
        let by_ca = self.carrier.live.get().map(|live| live.current().rights.certificates.standing(&certificate.0));
        is_known && by_ca.is_none_or(|standing| standing == Standing::Issued)
    }

    /// Changes users, groups or devices. A user goes only when none of its certificates count; with [`Cascade::All`] they
    /// are revoked first.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn change(&self, actor: &Actor, change: &Change, of: Of, cascade: Cascade) -> Result<Done, Refused> {
        let turn = self.carrier.turn(actor).await?;
        let mut plan = change.plan(of, cascade, turn.records())?;
        let (kind, name) = change.subject();
        let subject = (change.verb(), kind, name);
        let Change::RemoveUser(user) = change else { return self.carrier.carry(turn, actor, plan, subject).await };
        let now = OffsetDateTime::now_utc();
        let (revocations, counting) = (revocations(&turn, user, now), counting(&turn, user, now));
        let count = revocations.len();
        if cascade == Cascade::Nothing && counting > 0 {
            return Err(Refused::StillCertified { user: user.to_string(), count: counting });
        }
        // All of it in one turn: the user has nothing left when the first certificate has gone.
        let sha256: Vec<String> = revocations.iter().map(|step| step.key.clone()).collect();
        let (named, others) = sha256.split_at(count.min(NAMED));
        plan.detail = named.iter().map(|sha256| format!("-certificate {sha256}")).collect::<Vec<_>>().join(", ");
        let alone = |sha256: &String| {
            let begun = AdminRecord::begun(actor, ("revoke", "certificate", sha256), USER_REMOVED.into())?;
            Ok(AdminRecord { outcome: Outcome::Done, ..begun })
        };
        let besides = others.iter().map(alone).collect::<Result<Vec<_>, Refused>>()?;
        plan.steps.splice(0..0, revocations);
        let done = self.carrier.carry_with(turn, actor, plan, subject, besides).await?;
        Ok(Done { revoked: count, ..done })
    }

    /// Adds a certificate of a user to the ledger. It counts when this returns, and not before. One that was imported can be
    /// added again to change how the CRL of its CA counts.
    ///
    /// # Errors
    /// [`Refused`]: the user isn't there, or the certificate is.
    pub async fn add_certificate(
        &self,
        actor: &Actor,
        fingerprint: Fingerprint,
        record: &CertificateRecord,
    ) -> Result<Done, Refused> {
        let turn = self.carrier.turn(actor).await?;
        if !turn.records().users.contains_key(&record.user) {
            // Whoever got that name later would own it.
            return Err(Refusal::Field { field: "user", problem: format!("there is no user {:?}", record.user) }.into());
        }
        let (verb, plan) = match imported_again(&turn, fingerprint, record) {
            Some(plan) => ("change", plan),
            None => ("add", addition(&turn, fingerprint, record)?),
        };
        self.carrier.carry(turn, actor, plan, (verb, "certificate", &fingerprint.to_hex())).await
    }

    /// Revokes a certificate, for good. The session that is open by it is closed when this returns, and by no other.
    /// Revoking it again changes nothing.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn revoke(&self, actor: &Actor, fingerprint: Fingerprint, reason: &str) -> Result<Done, Refused> {
        let turn = self.carrier.turn(actor).await?;
        let sha256 = fingerprint.to_hex();
        let Some((version, record)) = turn.certificates().get(&fingerprint) else {
            return Err(Refused::NoCertificate(sha256));
        };
        let steps = vec![revocation(fingerprint, *version, record, OffsetDateTime::now_utc(), reason)];
        let detail = format!("{}/{}: {reason}", record.user, record.instance);
        let plan = Plan { steps, direction: Direction::Takes, detail };
        self.carrier.carry(turn, actor, plan, ("revoke", "certificate", &sha256)).await
    }

    /// Takes over what a ledger's file says: certificates that are new to the store, of whomever, later imports that change how
    /// the CRL of a CA counts, and revocations. What the store has revoked stays so.
    ///
    /// What can't be recorded or stored holds up none of the others, of which some may take something away (R21).
    ///
    /// # Errors
    /// [`Refused`]: the first reason why one of them isn't taken over, or isn't stored yet. What was taken is in effect.
    pub async fn import(
        &self,
        actor: &Actor,
        records: &BTreeMap<Fingerprint, CertificateRecord>,
    ) -> Result<Imported, Refused> {
        let mut imported = Imported::default();
        let mut left = None;
        for (fingerprint, record) in records {
            match self.import_one(actor, *fingerprint, record, &mut imported).await {
                Ok(()) => {}
                Err(refused) if refused.passes() => drop(left.get_or_insert(refused)),
                Err(refused) => return Err(refused),
            }
        }
        left.map_or(Ok(imported), Err)
    }

    async fn import_one(
        &self,
        actor: &Actor,
        fingerprint: Fingerprint,
        record: &CertificateRecord,
        imported: &mut Imported,
    ) -> Result<(), Refused> {
        let known = self.state().certificates.get(&fingerprint).map(|(_, known)| Arc::clone(known));
        let sha256 = fingerprint.to_hex();
        match (known, &record.revoked) {
            (None, _) => {
                let turn = self.carrier.turn(actor).await?;
                let plan = addition(&turn, fingerprint, record)?;
                self.carrier.carry(turn, actor, plan, ("add", "certificate", &sha256)).await?;
                imported.added += 1;
            }
            (Some(known), Some(revocation)) if known.revoked.is_none() => {
                self.revoke(actor, fingerprint, &revocation.reason).await?;
                imported.revoked += 1;
            }
            (Some(known), _) if known.imported_again(record).is_some() => {
                let turn = self.carrier.turn(actor).await?;
                let Some(plan) = imported_again(&turn, fingerprint, record) else { return Ok(()) };
                self.carrier.carry(turn, actor, plan, ("change", "certificate", &sha256)).await?;
                imported.changed += 1;
            }
            (Some(_), _) => {}
        }
        Ok(())
    }

    /// Changes accounts and tokens of the administration.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn change_account(&self, actor: &Actor, change: &AccountChange, of: Of) -> Result<Done, Refused> {
        let turn = self.carrier.turn(actor).await?;
        let plan = change.plan(of, turn.accounts(), turn.certificates(), OffsetDateTime::now_utc())?;
        let (kind, name) = change.subject();
        self.carrier.carry(turn, actor, plan, (change.verb(), kind, &name)).await
    }

    /// A setup token, if the first administrator is still to be made and none was told before that can be used still: it must be
    /// told now. Nobody has asked for it, so it isn't made where administrators are there whose certificates have ended, or seem to
    /// by a clock that is wrong.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn first_setup_token(&self) -> Result<Option<Token>, Refused> {
        let state = self.state();
        if state.accounts.have_made_administrator() || state.accounts.have_setup_token(OffsetDateTime::now_utc()) {
            return Ok(None);
        }
        self.new_setup_token(&Actor::Gateway).await.map(|(token, _)| Some(token))
    }

    /// A setup token that takes the place of the one before, while there is no administrator.
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn new_setup_token(&self, actor: &Actor) -> Result<(Token, Done), Refused> {
        let token = Token::draw(TokenKind::Setup).ok_or(Refused::Randomness)?;
        let done = self.change_account(actor, &AccountChange::OfferSetup(token.hash()), Of::Latest).await?;
        Ok((token, done))
    }

    /// Does something that takes something away and stores nothing, such as closing a session, with its records: they are
    /// written when the log can be written. It is done to its end, as a change is. Returns what names it in the records.
    ///
    /// # Errors
    /// [`Refused`]: the actor doesn't stand any more, the system has no randomness, or the gateway is about to stop.
    pub async fn act<T: Send + 'static, E: Send + 'static>(
        &self,
        actor: &Actor,
        subject: (&str, &str, &str),
        detail: &str,
        act: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> Result<(String, Result<T, E>), Refused> {
        stands(&self.state().accounts, actor)?;
        let begun = AdminRecord::begun(actor, subject, detail.into())?;
        let change = begun.change.clone();
        let journal = Arc::clone(&self.carrier.journal);
        let acted = in_a_task(async move {
            journal.write_soon(&begun);
            let acted = act.await;
            let outcome = if acted.is_ok() { Outcome::Done } else { Outcome::Failed };
            journal.write_soon(&AdminRecord { outcome, ..begun });
            acted
        });
        Ok((change, acted.await?))
    }

    /// All that the store holds, as a backup in a file without a name. It is on record before anybody gets it: it has the
    /// hashes of passwords.
    ///
    /// # Errors
    /// [`Refused`]: it can't be recorded, or the store can't be read, or hasn't taken yet what takes rights away: a restore would
    /// bring that back.
    pub async fn back_up(&self, actor: &Actor) -> Result<(File, BackedUp), Refused> {
        let turn = self.carrier.turn(actor).await?;
        if let Some(why) = turn.owed.why() {
            return Err(why.clone().into());
        }
        drop(turn);
        let begun = AdminRecord::begun(actor, ("back up", "store", ""), "all that it holds is handed out".into())?;
        self.carrier.journal.write(&begun)?;
        let made = self.carrier.store.export().await;
        let (outcome, detail) = match &made {
            Ok((_, made)) => (Outcome::Done, format!("{} entries, version {}", made.entries, made.version.0)),
            Err(error) => (Outcome::Failed, error.to_string()),
        };
        self.carrier.journal.write_soon(&AdminRecord { outcome, detail, ..begun });
        made.map_err(|error| match error {
            BackupError::Store(error) => error.into(),
            error => StoreError::from(io::Error::other(error)).into(),
        })
    }

    /// Puts on record what gives something back and stores nothing, such as new tries to log in. It may be done when this returns, and
    /// not before.
    ///
    /// # Errors
    /// [`Refused`]: it can't be recorded, the actor doesn't stand any more, or the system has no randomness.
    pub fn permit(&self, actor: &Actor, subject: (&str, &str, &str)) -> Result<(), Refused> {
        stands(&self.state().accounts, actor)?;
        let begun = AdminRecord::begun(actor, subject, String::new())?;
        self.carrier.journal.write(&AdminRecord { outcome: Outcome::Done, ..begun })?;
        Ok(())
    }

    /// Puts on record what was no change, such as a login.
    pub fn note(&self, actor: &str, subject: (&str, &str, &str), detail: String, outcome: Outcome) {
        let Ok(begun) = AdminRecord::begun(&actor, subject, detail) else { return };
        self.carrier.journal.write_soon(&AdminRecord { outcome, ..begun });
    }

    /// Whether the log can be written, as far as is known: without it nothing is granted, and no key leaves (R21).
    pub fn can_record(&self) -> bool {
        self.carrier.journal.can_write()
    }

    /// Brings to the store what it didn't take, and to the log the records that wait for it. Whether anything waits still.
    ///
    /// # Errors
    /// The store can't be used.
    pub async fn heal(&self) -> Result<bool, StoreError> {
        self.carrier.heal().await
    }

    /// Why the store doesn't take what takes rights away; `None` if it isn't owed anything.
    pub async fn owed(&self) -> Option<StoreError> {
        self.carrier.owed().await
    }
}

fn addition(working: &Working, fingerprint: Fingerprint, record: &CertificateRecord) -> Result<Plan, Refused> {
    let sha256 = fingerprint.to_hex();
    if let Some((_, known)) = working.certificates().get(&fingerprint) {
        let owner = format!("{}/{}", known.user, known.instance);
        return Err(Refused::CertificateTaken { sha256, owner });
    }
    let put = Write::Put(zeroize::Zeroizing::new(record.to_value()), Expect::Absent);
    let step = Step { bucket: Bucket::CERTIFICATES, key: sha256, write: put };
    let detail = format!("{}/{} serial {} until {}", record.user, record.instance, record.serial, record.not_after);
    Ok(Plan { steps: vec![step], direction: Direction::Grants, detail })
}

/// How an import again changes a certificate that is known, if it does.
fn imported_again(working: &Working, fingerprint: Fingerprint, record: &CertificateRecord) -> Option<Plan> {
    let (version, known) = working.certificates().get(&fingerprint)?;
    if (&known.user, &known.instance) != (&record.user, &record.instance) {
        return None;
    }
    let changed = known.imported_again(record)?;
    let needs_crl = changed.foreign.as_ref().is_none_or(|foreign| foreign.crl == CrlCheck::Required);
    let value = zeroize::Zeroizing::new(changed.to_value());
    let write = Write::Put(value, Expect::Version(*version));
    Some(Plan {
        steps: vec![Step { bucket: Bucket::CERTIFICATES, key: fingerprint.to_hex(), write }],
        direction: if needs_crl { Direction::Takes } else { Direction::Grants },
        detail: format!(
            "{}/{}: {}",
            known.user,
            known.instance,
            if needs_crl { "CRL required" } else { "without CRL" }
        ),
    })
}

/// How many certificates of a user count.
fn counting(working: &Working, user: &UserName, now: OffsetDateTime) -> usize {
    let of_user = working.certificates().values().filter(|(_, record)| record.user == *user);
    of_user.filter(|(_, record)| record.counts_at(now)).count()
}

/// Of all certificates of a user that aren't revoked, those that have expired included: the clock may be wrong, and whoever gets
/// the name later would own one that counts again (R11).
fn revocations(working: &Working, user: &UserName, now: OffsetDateTime) -> Vec<Step> {
    let of_user =
        working.certificates().iter().filter(|(_, (_, record))| record.user == *user && record.revoked.is_none());
    of_user
        .map(|(fingerprint, (version, record))| revocation(*fingerprint, *version, record, now, USER_REMOVED))
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
