//! What a restore of a backup may not forget: revocations and certificates that are newer than the backup, and records that
//! wait for the log.
//!
//! All else is as the backup has it, and what comes back by that is told to who restores. Tokens and sessions of
//! administrators, and of apps, end by the store's new epoch.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use super::{
    Actor, Refused,
    journal::{AdminRecord, Outcome},
    outbox,
};
use crate::{
    model::UserName,
    store::{Bucket, Entry, Holdings, Reconcile, Values, Version},
    trust::{CertificateRecord, Fingerprint},
};

/// Why the certificates of a user that the backup doesn't know are revoked.
const NO_USER: &str = "a backup was restored that has no such user";

/// A restore, with its record for the log.
#[derive(Debug)]
pub struct Restoration {
    now: OffsetDateTime,
    record: AdminRecord,
}

impl Restoration {
    /// One that this actor makes now.
    ///
    /// # Errors
    /// [`Refused::Randomness`].
    pub fn new(actor: &Actor, now: OffsetDateTime) -> Result<Self, Refused> {
        let detail = "a backup took the place of users, groups, devices and accounts";
        let begun = AdminRecord::begun(actor, ("restore", "store", ""), detail.into())?;
        Ok(Self { now, record: AdminRecord { outcome: Outcome::Done, ..begun } })
    }
}

impl Reconcile for Restoration {
    fn reconcile(&self, bucket: Bucket, store: Holdings<'_>, backup: Holdings<'_>) -> Result<Values, String> {
        match bucket {
            Bucket::ACCOUNTS | Bucket::DEVICES | Bucket::GROUPS | Bucket::META | Bucket::USERS => {
                Ok(backup.values(bucket))
            }
            Bucket::CERTIFICATES => certificates(store, backup, self.now),
            Bucket::OUTBOX => Ok(outbox::replaced([store, backup], &self.record)),
            // All open ones fail by a restore (R30), and this gateway doesn't know which those are.
            Bucket::PROFILES if backup.values(bucket).is_empty() => Ok(Values::new()),
            _ => Err("the backup has some, and this gateway doesn't know what they are: restore it with the one that wrote it".into()),
        }
    }
}

/// The certificates of both. Who is revoked by either stays so, and so does every serial number that was given (R3). Those of
/// users that the backup doesn't have are revoked: whoever got such a name later would own them (R11).
fn certificates(store: Holdings<'_>, backup: Holdings<'_>, now: OffsetDateTime) -> Result<Values, String> {
    let users = backup.values(Bucket::USERS);
    let mut records = read(store).map_err(|reason| format!("in the store: {reason}"))?;
    for (fingerprint, record) in read(backup).map_err(|reason| format!("in the backup: {reason}"))? {
        let Some(known) = records.get_mut(&fingerprint) else {
            records.insert(fingerprint, record);
            continue;
        };
        if (&known.user, &known.instance) != (&record.user, &record.instance) {
            let owner = |record: &CertificateRecord| format!("{}/{}", record.user, record.instance);
            return Err(format!(
                "{} is of {} in the store and of {} in the backup: they are not of the same gateway",
                fingerprint.to_hex(),
                owner(known),
                owner(&record)
            ));
        }
        known.revoked = known.revoked.take().or(record.revoked);
    }
    let value = |record: CertificateRecord| {
        let is_orphan = !users.contains_key::<str>(UserName::as_str(&record.user)) && record.revoked.is_none();
        if is_orphan { record.revoked(now, NO_USER) } else { record }.to_value().into()
    };
    Ok(records.into_iter().map(|(fingerprint, record)| (fingerprint.to_hex(), value(record))).collect())
}

fn read(held: Holdings<'_>) -> Result<BTreeMap<Fingerprint, CertificateRecord>, String> {
    let values = held.values(Bucket::CERTIFICATES).into_iter();
    let read = |(key, value)| {
        let entry = Entry { key, value, version: Version(0) };
        CertificateRecord::from_entry(&entry).map_err(|reason| format!("{}: {reason}", entry.key))
    };
    values.map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use super::*;
    use crate::{
        admin::{Administration, Seed},
        audit::LogTarget,
        directory::{Cascade, Change, Of, UserSettings},
        store::{
            BUCKETS, BackupError, Difference, Embedded, Expect, Fate, Options, Restore, Store, Urgency, backup, restore,
        },
    };

    const ACTOR: Actor = Actor::Local(1000);

    /// A folder with a store, and a backup of it.
    struct Shelf(tempfile::TempDir);

    impl Shelf {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn store(&self) -> std::path::PathBuf {
            self.0.path().join("store")
        }

        fn backup(&self) -> std::path::PathBuf {
            self.0.path().join("backup")
        }

        async fn open(&self) -> Administration {
            open(&self.store()).await
        }

        fn back_up(&self) {
            backup(&self.store(), &self.backup(), &options()).unwrap();
        }

        fn plan(&self) -> Result<Restore, BackupError> {
            Restore::plan(&self.backup(), &self.store(), &options(), &restoration())
        }
    }

    async fn open(store: &Path) -> Administration {
        let store = Embedded::open(store, options()).unwrap();
        Administration::open(Arc::new(store), Arc::new(LogTarget), Seed::default()).await.unwrap().0
    }

    fn options() -> Options {
        Options { ballast: 0, ..Options::default() }
    }

    fn restoration() -> Restoration {
        Restoration::new(&ACTOR, OffsetDateTime::now_utc()).unwrap()
    }

    async fn put_user(administration: &Administration, name: &str) {
        let change = Change::PutUser(name.parse().unwrap(), UserSettings::default());
        administration.change(&ACTOR, &change, Of::Latest, Cascade::Nothing).await.unwrap();
    }

    async fn add(administration: &Administration, number: u8, user: &str) {
        let (fingerprint, serial) = (Fingerprint([number; 32]), format!("{number:02x}"));
        administration.add_certificate(&ACTOR, fingerprint, &CertificateRecord::of(user, "1", &serial)).await.unwrap();
    }

    fn reasons(administration: &Administration) -> Vec<(u8, Option<String>)> {
        let certificates = &administration.state().certificates;
        let reason = |record: &CertificateRecord| record.revoked.as_ref().map(|revoked| revoked.reason.clone());
        certificates.iter().map(|(fingerprint, (_, record))| (fingerprint.0[0], reason(record))).collect()
    }

    #[tokio::test]
    async fn r3_r11_a_restore_keeps_revocations_and_serials_and_gives_no_certificate_to_a_later_user() {
        let shelf = Shelf::new();
        let administration = shelf.open().await;
        for name in ["ann", "bob"] {
            put_user(&administration, name).await;
        }
        for (number, user) in [(1, "ann"), (2, "ann"), (3, "bob")] {
            add(&administration, number, user).await;
        }
        administration.revoke(&ACTOR, Fingerprint([2; 32]), "before").await.unwrap();
        drop(administration);
        shelf.back_up();

        let administration = shelf.open().await;
        administration.revoke(&ACTOR, Fingerprint([1; 32]), "after").await.unwrap();
        put_user(&administration, "carl").await;
        add(&administration, 4, "bob").await;
        add(&administration, 5, "carl").await;
        let remove = Change::RemoveUser("bob".parse().unwrap());
        administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await.unwrap();
        put_user(&administration, "bob").await;
        add(&administration, 6, "bob").await;
        drop(administration);

        let plan = shelf.plan().unwrap();
        let told: Vec<_> = plan.differences().iter().filter(|known| known.bucket == Bucket::USERS).collect();
        assert_eq!(told, [&Difference { bucket: Bucket::USERS, key: "carl".into(), fate: Fate::Gone }]);
        plan.carry_out().unwrap();
        let removed = Some("the user was removed".to_owned());
        let expected = [
            (1, Some("after".into())),
            (2, Some("before".into())),
            (3, removed.clone()),
            (4, removed),
            (5, Some(NO_USER.into())),
            (6, None),
        ];
        let administration = shelf.open().await;
        assert_eq!(reasons(&administration), expected);
        assert!(administration.state().directory.user("bob").is_some());
        drop(administration);

        // To a machine that has nothing: what the backup says, and nothing is lost by doing it twice.
        let other = Shelf::new();
        for _ in 0..2 {
            restore(&shelf.backup(), &other.store(), &options(), &restoration()).unwrap();
        }
        assert_eq!(reasons(&other.open().await), [(1, None), (2, Some("before".into())), (3, None)]);
    }

    #[tokio::test]
    async fn r11_a_backup_of_another_gateway_is_refused() {
        let (shelf, other) = (Shelf::new(), Shelf::new());
        for (shelf, user) in [(&shelf, "ann"), (&other, "bob")] {
            let administration = shelf.open().await;
            put_user(&administration, user).await;
            add(&administration, 1, user).await;
        }
        other.back_up();
        let refused = Restore::plan(&other.backup(), &shelf.store(), &options(), &restoration());
        let refused = refused.err().unwrap().to_string();
        assert!(refused.starts_with("certificates: 0101"), "{refused}");
        assert!(refused.contains("is of ann/1 in the store and of bob/1 in the backup"), "{refused}");
    }

    #[tokio::test]
    async fn r30_profiles_that_nobody_here_can_read_are_not_opened_again() {
        let shelf = Shelf::new();
        let store = Embedded::open(&shelf.store(), options()).unwrap();
        store.put(Bucket::PROFILES, "p", b"?", Expect::Absent, Urgency::Ordinary).await.unwrap();
        drop(store);
        shelf.back_up();
        let refused = shelf.plan().err().unwrap().to_string();
        assert!(refused.starts_with("profiles: the backup has some"), "{refused}");
        // Those that are newer than the backup go: they are open in no case.
        let other = Shelf::new();
        drop(other.open().await);
        other.back_up();
        restore(&other.backup(), &shelf.store(), &options(), &restoration()).unwrap();
    }

    #[tokio::test]
    async fn every_bucket_has_been_thought_of() {
        let shelf = Shelf::new();
        let store = Embedded::open(&shelf.store(), options()).unwrap();
        let valued = BUCKETS.iter().filter(|bucket| ![Bucket::PROFILES, Bucket::CERTIFICATES].contains(bucket));
        for bucket in valued {
            store.put(*bucket, "k", b"{}", Expect::Absent, Urgency::Ordinary).await.unwrap();
        }
        drop(store);
        shelf.back_up();
        assert_eq!(shelf.plan().unwrap().differences().len(), 1, "the record of the restore");
    }
}
