//! Changes through a store that can fail, and a log that can be closed.

mod gate;
mod owed;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use callgate_wire::v1::ErrorCode;
use time::OffsetDateTime;

use super::{
    accounts::{AccountChange, Password, Passwords},
    *,
};
use crate::{
    directory::{Cascade, Change, Device, DeviceRecord, Directory, Of, User, UserKind, UserSettings},
    model::{DeviceName, Group, Groups},
    store::{Answer, Bucket, Entry, Epoch, Expect, Export, Memory, Store, StoreError, Urgency, Version, Watch},
    trust::{CertificateRecord, CrlCheck, Fingerprint, Foreign, Origin},
};

const ACTOR: Actor = Actor::Local(1000);

/// A log that can be closed.
#[derive(Debug, Default)]
struct Log {
    closed: AtomicBool,
    records: Mutex<Vec<AdminRecord>>,
    later: Mutex<Vec<AdminRecord>>,
}

impl Log {
    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
        if !closed {
            self.records.lock().unwrap().append(&mut self.later.lock().unwrap());
        }
    }

    /// What was different by what is done since the last call: verb, name and detail.
    fn details(&self) -> Vec<[String; 3]> {
        let records = std::mem::take(&mut *self.records.lock().unwrap()).into_iter();
        let done = records.filter(|record| record.outcome == Outcome::Done);
        done.map(|record| [record.verb, record.name, record.detail]).collect()
    }

    /// Verb, name and outcome of each record since the last call.
    fn told(&self) -> Vec<(String, String, Outcome)> {
        let records = std::mem::take(&mut *self.records.lock().unwrap());
        records.into_iter().map(|record| (record.verb, record.name, record.outcome)).collect()
    }
}

impl Journal for Log {
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(JournalClosed);
        }
        self.records.lock().unwrap().push(record.clone());
        Ok(())
    }

    fn write_soon(&self, record: &AdminRecord) {
        if self.write(record).is_err() {
            self.later.lock().unwrap().push(record.clone());
        }
    }

    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        if self.records.lock().unwrap().contains(record) {
            return Ok(());
        }
        self.write(record)
    }
}

/// A store whose n-th write from now on, and all behind it, fail; and whose writes can be made to wait.
#[derive(Debug, Clone)]
struct Failing {
    store: Memory,
    writes_left: Arc<AtomicU64>,
    /// Held by who wants writes to wait.
    flow: Arc<tokio::sync::RwLock<()>>,
}

impl Failing {
    fn new() -> Self {
        Self { store: Memory::new(), writes_left: Arc::new(AtomicU64::new(u64::MAX)), flow: Arc::default() }
    }

    fn fail_after(&self, writes: u64) {
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    fn take(&self) -> Result<(), StoreError> {
        let left = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Ok(()),
            Err(_) => Err(std::io::Error::other("the disk is gone").into()),
        }
    }
}

impl Store for Failing {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.store.get(bucket, key)
    }

    fn put<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        value: &'a [u8],
        expect: Expect,
        urgency: Urgency,
    ) -> Answer<'a, Version> {
        Box::pin(async move {
            let _flow = self.flow.read().await;
            self.take()?;
            self.store.put(bucket, key, value, expect, urgency).await
        })
    }

    fn delete<'a>(&'a self, bucket: Bucket, key: &'a str, expect: Version, urgency: Urgency) -> Answer<'a, Version> {
        Box::pin(async move {
            self.take()?;
            self.store.delete(bucket, key, expect, urgency).await
        })
    }

    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>> {
        self.store.list(bucket)
    }

    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch> {
        self.store.watch(bucket)
    }

    fn epoch(&self) -> Answer<'_, Epoch> {
        self.store.epoch()
    }

    fn export(&self) -> Export<'_> {
        self.store.export()
    }
}

struct Rig {
    store: Failing,
    log: Arc<Log>,
    administration: Administration,
}

impl Rig {
    async fn new() -> Self {
        Self::over(Failing::new(), Seed::default()).await
    }

    async fn over(store: Failing, seed: Seed) -> Self {
        let log = Arc::new(Log::default());
        let (kept, journal) = (Arc::new(store.clone()), Arc::clone(&log));
        let (administration, _) = Administration::open(kept, journal, seed).await.unwrap();
        Self { store, log, administration }
    }

    async fn change(&self, change: &Change) -> Result<Done, Refused> {
        self.administration.change(&ACTOR, change, Of::Latest, Cascade::Nothing).await
    }

    fn groups(&self, user: &str) -> Groups {
        self.administration.state().directory.user(user).map(|user| user.groups).unwrap_or_default()
    }
}

fn user(name: &str, groups: &[Group], devices: &[&str]) -> Change {
    let settings = UserSettings {
        groups: groups.iter().copied().collect(),
        devices: devices.iter().map(|device| device.parse().unwrap()).collect(),
        ..UserSettings::default()
    };
    Change::PutUser(name.parse().unwrap(), settings)
}

fn device(name: &str) -> Change {
    Change::PutDevice(name.parse().unwrap(), DeviceRecord::default())
}

fn certificate(user: &str, instance: &str) -> CertificateRecord {
    CertificateRecord::of(user, instance, "01")
}

#[tokio::test]
async fn a_change_is_begun_and_done_on_record_and_there_for_the_next_start() {
    let rig = Rig::new().await;
    rig.change(&device("1001")).await.unwrap();
    let done = rig.change(&user("u", &[Group::CtiEnabled], &["1001"])).await.unwrap();
    assert_eq!((done.rights, done.effect.sessions), (0, 0), "nothing runs");
    assert_eq!(Some(done.version.unwrap()), rig.administration.state().records.users.get("u").map(|user| user.version));
    let told = rig.log.told();
    assert_eq!(told[2..], [("put".into(), "u".into(), Outcome::Begun), ("put".into(), "u".into(), Outcome::Done)]);

    let again = Rig::over(rig.store.clone(), Seed::default()).await;
    let state = again.administration.state();
    let devices: Vec<_> =
        state.directory.devices_of(state.directory.user("u").unwrap()).map(|d| d.name.as_str()).collect();
    assert_eq!(devices, ["1001"]);
    assert_eq!(again.log.told(), [], "nothing is left to be done");
}

#[tokio::test]
async fn an_empty_store_is_seeded_once_and_a_cut_seed_is_finished() {
    let user = User {
        name: "u".parse().unwrap(),
        kind: UserKind::EndUser,
        groups: [Group::CtiEnabled].into_iter().collect(),
        devices: Arc::new(BTreeSet::from(["1001".parse().unwrap(), "sim-1".parse().unwrap()])),
        password: None,
        incarnation: 0,
    };
    let devices = ["1001", "sim-1", "sim-2"].map(|name| Device::named(name.parse().unwrap()));
    let restricted = Device { restricted: true, ..Device::named("sim-3".parse().unwrap()) };
    let directory = Directory::new([user], devices.into_iter().chain([restricted])).unwrap();
    let directory = Arc::new(directory);
    let seed = || Seed {
        directory: Arc::clone(&directory),
        made_up: Arc::new(["sim-1", "sim-2", "sim-3"].iter().map(|name| name.parse().unwrap()).collect()),
    };
    for cut in 0..5 {
        let store = Failing::new();
        store.fail_after(cut);
        let log = Arc::new(Log::default());
        let opened = Administration::open(Arc::new(store.clone()), log.clone(), seed()).await;
        assert_eq!(opened.is_ok(), cut == 4, "4 writes: {cut}");
        store.fail_after(u64::MAX);
        let (administration, seeded) = Administration::open(Arc::new(store), log, seed()).await.unwrap();
        let state = administration.state();
        assert_eq!(seeded == Seeded::Before, cut == 4);
        let described: Vec<_> = state.records.devices.keys().map(DeviceName::as_str).collect();
        assert_eq!(described, ["1001", "sim-3"], "what a switch makes up is no record, unless somebody described it");
        assert_eq!(state.directory.devices().count(), 4);
        assert_eq!(state.directory.user("u").unwrap().devices.len(), 2);
    }
}

#[tokio::test]
async fn r3_a_ledger_s_file_adds_what_is_new_and_brings_nothing_back() {
    let rig = Rig::new().await;
    let record = certificate("u", "1");
    let records = |numbers: &[(u8, bool)]| {
        let at = OffsetDateTime::UNIX_EPOCH;
        let record = |is_revoked| if is_revoked { record.revoked(at, "lost") } else { record.clone() };
        numbers.iter().map(|(n, is_revoked)| (Fingerprint([*n; 32]), record(*is_revoked))).collect()
    };
    for (file, added, revoked) in
        [([(1, false), (2, true)], 2, 0), ([(1, true), (2, false)], 0, 1), ([(1, false), (2, false)], 0, 0)]
    {
        let imported = rig.administration.import(&ACTOR, &records(&file)).await.unwrap();
        assert_eq!(imported, Imported { added, changed: 0, revoked });
    }
    let state = rig.administration.state();
    assert!(state.certificates.values().all(|(_, record)| record.revoked.is_some()));
}

#[tokio::test]
async fn r11_a_later_import_changes_how_the_crl_counts_and_an_older_one_doesn_t() {
    let rig = Rig::new().await;
    let import = |crl, at: &str, user: &str| CertificateRecord {
        origin: Origin::Imported,
        foreign: Some(Foreign { issuer: "ab".into(), crl }),
        added_at: at.into(),
        ..certificate(user, "1")
    };
    let needs_crl = || {
        let state = rig.administration.state();
        let foreign = state.certificates[&Fingerprint([1; 32])].1.foreign.clone();
        foreign.unwrap().crl == CrlCheck::Required
    };
    let (early, late) = ("2026-02-01T00:00:00.5Z", "2026-02-01T00:00:01Z");
    for (record, changed, is_needed) in [
        (import(CrlCheck::Required, early, "u"), 0, true),
        (import(CrlCheck::None, early, "u"), 0, true),
        (import(CrlCheck::None, late, "v"), 0, true),
        (import(CrlCheck::None, late, "u"), 1, false),
        (import(CrlCheck::Required, early, "u"), 0, false),
    ] {
        let imported = rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), record)].into()).await.unwrap();
        assert_eq!((imported.changed, needs_crl()), (changed, is_needed));
    }
    // Without the log only what takes is done.
    rig.log.close(true);
    let later = import(CrlCheck::Required, "2026-02-02T00:00:00Z", "u");
    rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), later)].into()).await.unwrap();
    assert!(needs_crl());
    let later = import(CrlCheck::None, "2026-02-03T00:00:00Z", "u");
    let refused = rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), later)].into()).await.unwrap_err();
    assert_eq!((refused.code(), needs_crl()), (ErrorCode::AuditUnavailable, true));
}

#[tokio::test]
async fn r21_while_the_log_is_closed_nothing_is_granted_and_all_is_taken_at_once() {
    let rig = Rig::new().await;
    rig.change(&device("1001")).await.unwrap();
    rig.change(&user("u", &[Group::CtiEnabled, Group::CallMonitoring], &["1001"])).await.unwrap();
    rig.log.told();
    rig.log.close(true);
    for grants in [user("u", &[Group::CtiEnabled, Group::CallMonitoring, Group::CallRecording], &["1001"]), device("2")]
    {
        let refused = rig.change(&grants).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::AuditUnavailable);
    }
    let add = rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "1")).await;
    assert_eq!(add.unwrap_err().code(), ErrorCode::AuditUnavailable);
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    assert_eq!(rig.groups("u"), [Group::CtiEnabled].into_iter().collect());
    assert_eq!(rig.log.told(), []);
    assert!(rig.administration.heal().await.unwrap(), "it waits");
    rig.log.close(false);
    assert!(!rig.administration.heal().await.unwrap());
    assert_eq!(rig.log.told(), [("put".into(), "u".into(), Outcome::Done)]);
    assert!(!rig.administration.heal().await.unwrap());
    assert_eq!(rig.log.told(), [], "once");
}

#[tokio::test]
async fn r21_what_was_taken_while_the_log_was_closed_is_recorded_after_a_crash() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    rig.log.close(true);
    rig.change(&user("u", &[], &[])).await.unwrap();
    // The record of a change that the crash came before.
    rig.store.fail_after(1);
    assert_eq!(
        rig.change(&Change::RemoveUser("u".parse().unwrap())).await.unwrap_err().code(),
        ErrorCode::StoreUnavailable
    );
    rig.store.fail_after(u64::MAX);

    let after = Rig::over(rig.store.clone(), Seed::default()).await;
    let mut told = after.log.told();
    told.sort();
    assert_eq!(
        told,
        [("put".into(), "u".into(), Outcome::Recovered), ("remove".into(), "u".into(), Outcome::Failed)],
        "what was made, and what was not"
    );
    assert!(after.groups("u").is_empty() && after.administration.state().directory.user("u").is_some());
}

#[tokio::test]
async fn r21_what_came_of_a_change_while_the_log_closed_is_recorded_after_a_crash() {
    let rig = Rig::new().await;
    rig.log.told();
    let flow = Arc::clone(&rig.store.flow).write_owned().await;
    let close = async {
        while rig.log.records.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        rig.log.close(true);
        drop(flow);
    };
    let change = user("u", &[Group::CtiEnabled], &[]);
    let (done, ()) = tokio::join!(rig.change(&change), close);
    done.unwrap();
    assert_eq!(rig.log.told(), [("put".into(), "u".into(), Outcome::Begun)]);

    let after = Rig::over(rig.store.clone(), Seed::default()).await;
    assert_eq!(after.log.told(), [("put".into(), "u".into(), Outcome::Done)]);
    assert!(!after.administration.heal().await.unwrap());
    assert_eq!(after.log.told(), [], "once");
}

#[tokio::test]
async fn what_the_store_does_not_take_is_failed_on_record_and_what_it_has_counts() {
    let rig = Rig::new().await;
    let (setup, _) = rig.administration.new_setup_token(&ACTOR).await.unwrap();
    rig.log.told();
    // The setup token is used, and then the disk fails.
    rig.store.fail_after(1);
    let change = AccountChange::Setup {
        token: setup.hash(),
        account: "root".parse().unwrap(),
        password: Passwords::new().unwrap().hash(Password::typed("a".repeat(12))).await.unwrap(),
    };
    let cut = rig.administration.change_account(&ACTOR, &change, Of::New).await.unwrap_err();
    assert_eq!(cut.code(), ErrorCode::StoreUnavailable);
    assert_eq!(rig.log.told().last().unwrap().2, Outcome::Failed);
    let state = rig.administration.state();
    assert!(state.accounts.setup_token().is_none() && !state.accounts.have_administrator(), "what it has counts");
    rig.store.fail_after(u64::MAX);
    let again = rig.administration.first_setup_token().await.unwrap().unwrap();
    let AccountChange::Setup { account, password, .. } = change else { unreachable!() };
    let change = AccountChange::Setup { token: again.hash(), account, password };
    rig.administration.change_account(&ACTOR, &change, Of::New).await.unwrap();
    assert!(rig.administration.first_setup_token().await.unwrap().is_none(), "there is an administrator");
}

#[tokio::test]
async fn r15_a_change_that_nobody_waits_for_any_more_is_made_to_its_end() {
    let rig = Arc::new(Rig::new().await);
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    let waits = rig.store.flow.write().await;
    let asked = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move { rig.change(&user("u", &[], &[])).await }
    });
    while rig.log.records.lock().unwrap().len() < 3 {
        tokio::task::yield_now().await;
    }
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled(), "between its record and its store");
    drop(waits);
    rig.administration.heal().await.unwrap();
    assert!(rig.groups("u").is_empty());
    assert_eq!(rig.log.told().last().unwrap(), &("put".into(), "u".into(), Outcome::Done));
}

#[tokio::test]
async fn what_is_done_without_a_change_is_on_record_and_done_to_its_end() {
    let rig = Rig::new().await;
    rig.log.close(true);
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let mut act = Box::pin(rig.administration.act(&ACTOR, ("close", "session", "u/1"), "", async {
        let _ = begun.await;
        let _ = end.send(());
        Ok::<_, ()>(())
    }));
    tokio::select! {
        biased;
        _ = &mut act => panic!("nothing has ended it"),
        () = tokio::task::yield_now() => {}
    }
    drop(act);
    begin.send(()).unwrap();
    ended.await.unwrap();
    rig.log.close(false);
    let close = |outcome| ("close".to_string(), "u/1".to_string(), outcome);
    assert_eq!(rig.log.told(), [close(Outcome::Begun), close(Outcome::Done)]);
    let failed = async { Err::<(), _>("gone") };
    let (_, acted) = rig.administration.act(&ACTOR, ("close", "session", "u/1"), "", failed).await.unwrap();
    assert_eq!(acted, Err("gone"));
    assert_eq!(rig.log.told(), [close(Outcome::Begun), close(Outcome::Failed)]);
}

#[tokio::test]
async fn r11_a_user_goes_only_without_certificates_that_count() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[], &[])).await.unwrap();
    rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "1")).await.unwrap();
    let taken = rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "2")).await;
    assert_eq!(taken.unwrap_err().code(), ErrorCode::AlreadyExists);
    let nobody = rig.administration.add_certificate(&ACTOR, Fingerprint([2; 32]), &certificate("v", "1")).await;
    assert_eq!(nobody.unwrap_err().code(), ErrorCode::FieldInvalid, "who gets that name later would own it");
    let remove = Change::RemoveUser("u".parse().unwrap());
    assert_eq!(rig.change(&remove).await.unwrap_err().code(), ErrorCode::StillCertified);
    rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await.unwrap();
    let state = rig.administration.state();
    assert!(state.directory.user("u").is_none());
    assert!(!state.certificates[&Fingerprint([1; 32])].1.counts_at(OffsetDateTime::now_utc()));
}

#[tokio::test]
async fn r21_each_certificate_that_goes_with_its_user_is_named_on_record_and_counted() {
    // As many as a record names, and more.
    for count in [0, 2, 12, 15] {
        let rig = Rig::new().await;
        rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
        for n in 0..count {
            let record = certificate("u", &n.to_string());
            rig.administration.add_certificate(&ACTOR, Fingerprint([n; 32]), &record).await.unwrap();
        }
        rig.log.told();
        let remove = Change::RemoveUser("u".parse().unwrap());
        let done = rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await.unwrap();
        assert_eq!(done.revoked, usize::from(count));
        let details = rig.log.details();
        let ([verb, name, named], before) = details.split_last().unwrap();
        assert_eq!((&**verb, &**name), ("remove", "u"));
        // The log keeps so much of a value.
        assert!(named.len() <= 1024, "{named}");
        for n in 0..count {
            let sha256 = Fingerprint([n; 32]).to_hex();
            let is_named = named.split(", ").any(|part| part == format!("-certificate {sha256}"));
            let is_alone = before.iter().any(|[verb, name, detail]| {
                (&**verb, name, detail.ends_with("the user was removed")) == ("revoke", &sha256, true)
            });
            assert!(is_named != is_alone, "{n} of {count}: {details:?}");
        }
        assert_eq!(before.len(), usize::from(count.saturating_sub(12)));
        let certificates = &rig.administration.state().certificates;
        assert!(certificates.values().all(|(_, record)| record.revoked.is_some()));
    }
}

#[tokio::test]
async fn r3_revoked_is_at_the_handshake_at_once_and_for_good() {
    let rig = Rig::new().await;
    let ledger = rig.administration.ledger();
    let fingerprint = Fingerprint([1; 32]);
    let unknown = rig.administration.revoke(&ACTOR, fingerprint, "lost").await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::NotFound);
    rig.change(&user("u", &[], &[])).await.unwrap();
    rig.administration.add_certificate(&ACTOR, fingerprint, &certificate("u", "1")).await.unwrap();
    assert_eq!(ledger.current().lookup(&[1; 32]).unwrap().status, crate::trust::Status::Issued);
    rig.administration.revoke(&ACTOR, fingerprint, "lost").await.unwrap();
    rig.administration.revoke(&ACTOR, fingerprint, "and again").await.unwrap();
    match &ledger.current().lookup(&[1; 32]).unwrap().status {
        crate::trust::Status::Revoked { reason, .. } => assert_eq!(reason, "lost"),
        status => panic!("{status:?}"),
    }
}

#[tokio::test]
async fn changes_at_once_take_turns_and_none_is_lost() {
    let rig = Arc::new(Rig::new().await);
    rig.change(&user("u", &[], &[])).await.unwrap();
    let version = rig.administration.state().records.users.get("u").unwrap().version;
    let tasks = Group::ALL.map(|group| {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            rig.administration.change(&ACTOR, &user("u", &[group], &[]), Of::Version(version), Cascade::Nothing).await
        })
    });
    let mut won = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(refused) => {
                assert!(
                    matches!(refused.code(), ErrorCode::VersionConflict | ErrorCode::GroupNeedsOthers),
                    "{refused}"
                );
            }
        }
    }
    assert_eq!(won, 1);
}
