//! What takes rights away while the store can't be written: in effect at once, stored when it can be (R21).

use std::time::Duration;

use super::*;

/// Nothing is written from now on.
fn break_store(rig: &Rig) {
    rig.store.fail_after(0);
}

fn mend_store(rig: &Rig) {
    rig.store.fail_after(u64::MAX);
}

async fn taken(rig: &Rig, change: &Change) {
    let error = rig.administration.change(&ACTOR, change, Of::Latest, Cascade::All).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::StoreUnavailable);
    assert!(matches!(error, Refused::NotStored(_)), "{error:?}");
}

/// A user with so many certificates.
async fn add_user_with_certificates(rig: &Rig, count: u8) {
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    for n in 0..count {
        let record = certificate("u", &n.to_string());
        rig.administration.add_certificate(&ACTOR, Fingerprint([n; 32]), &record).await.unwrap();
    }
}

async fn remove_user(rig: &Rig) -> Result<Done, Refused> {
    let remove = Change::RemoveUser("u".parse().unwrap());
    rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await
}

async fn stored_groups(rig: &Rig) -> Groups {
    Rig::over(rig.store.clone(), Seed::default()).await.groups("u")
}

#[tokio::test]
async fn r21_without_a_store_what_is_taken_is_gone_at_once_and_stored_later() {
    let rig = Rig::new().await;
    rig.change(&device("1001")).await.unwrap();
    rig.change(&user("u", &[Group::CtiEnabled], &["1001"])).await.unwrap();
    rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "1")).await.unwrap();
    rig.log.told();
    break_store(&rig);
    taken(&rig, &user("u", &[], &["1001"])).await;
    let revoked = rig.administration.revoke(&ACTOR, Fingerprint([1; 32]), "lost").await.unwrap_err();
    assert!(matches!(revoked, Refused::NotStored(_)));
    taken(&rig, &Change::RemoveDevice("1001".parse().unwrap())).await;
    let state = rig.administration.state();
    assert!(rig.groups("u").is_empty() && state.directory.device("1001").is_none());
    assert!(state.directory.user("u").unwrap().devices.is_empty());
    assert!(!state.certificates[&Fingerprint([1; 32])].1.counts_at(OffsetDateTime::now_utc()));
    assert!(rig.administration.heal().await.unwrap(), "it waits");
    let refused = rig.change(&user("v", &[], &[])).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::StoreUnavailable, "nothing else is changed meanwhile");
    assert!(rig.administration.state().directory.user("v").is_none());

    let outcomes = |rig: &Rig| rig.log.told().into_iter().map(|(.., outcome)| outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&rig), [Outcome::Begun, Outcome::InEffect].repeat(3));
    mend_store(&rig);
    assert!(!rig.administration.heal().await.unwrap());
    let done = [("put", "u"), ("revoke", &*"01".repeat(32)), ("remove", "1001")];
    let done = done.map(|(verb, name)| (verb.to_owned(), name.to_owned(), Outcome::Done));
    assert_eq!(rig.log.told(), done, "in their order");
    let again = Rig::over(rig.store.clone(), Seed::default()).await.administration.state();
    assert!(again.directory.device("1001").is_none() && again.directory.user("u").unwrap().groups.is_empty());
    assert!(!again.certificates[&Fingerprint([1; 32])].1.counts_at(OffsetDateTime::now_utc()));
    assert_eq!(again.records.users["u"].version, rig.administration.state().records.users["u"].version);
}

#[tokio::test]
async fn r21_what_is_taken_is_gone_at_once_also_where_the_store_s_file_is_found_damaged() {
    let rig = Rig::new().await;
    add_user_with_certificates(&rig, 1).await;
    rig.store.is_damaged.store(true, Ordering::Relaxed);
    break_store(&rig);
    let revoked = rig.administration.revoke(&ACTOR, Fingerprint([0; 32]), "stolen").await.unwrap_err();
    assert!(matches!(revoked, Refused::NotStored(StoreError::Damaged { .. })), "{revoked:?}");
    taken(&rig, &user("u", &[], &[])).await;
    assert!(!rig.administration.state().certificates[&Fingerprint([0; 32])].1.counts_at(OffsetDateTime::now_utc()));
    assert!(rig.groups("u").is_empty());
    mend_store(&rig);
    assert!(!rig.administration.heal().await.unwrap());
    assert!(stored_groups(&rig).await.is_empty());
}

#[tokio::test]
async fn r21_what_waits_has_a_version_of_its_own_and_goes_before_any_other_change() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled, Group::CallMonitoring], &[])).await.unwrap();
    let version = |rig: &Rig| rig.administration.state().records.users["u"].version;
    let first = version(&rig);
    break_store(&rig);
    taken(&rig, &user("u", &[Group::CtiEnabled], &[])).await;
    let second = version(&rig);
    let late = rig.administration.change(&ACTOR, &user("u", &[], &[]), Of::Version(first), Cascade::Nothing).await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::VersionConflict, "it was changed since");
    let next = rig.administration.change(&ACTOR, &user("u", &[], &[]), Of::Version(second), Cascade::Nothing).await;
    assert!(matches!(next.unwrap_err(), Refused::NotStored(_)));
    assert!(stored_groups(&rig).await.contains(Group::CallMonitoring), "nothing of it is stored");
    mend_store(&rig);
    rig.change(&user("v", &[], &[])).await.unwrap();
    assert!(stored_groups(&rig).await.is_empty());
    assert!(version(&rig) != first && version(&rig) != second);

    // What was made while it waited, and went again.
    break_store(&rig);
    taken(&rig, &Change::RemoveUser("u".parse().unwrap())).await;
    taken(&rig, &Change::RemoveUser("v".parse().unwrap())).await;
    let gone = rig.change(&Change::RemoveUser("u".parse().unwrap())).await.unwrap_err();
    assert_eq!(gone.code(), ErrorCode::NotFound);
    mend_store(&rig);
    assert!(!rig.administration.heal().await.unwrap());
    assert!(Rig::over(rig.store.clone(), Seed::default()).await.administration.state().records.users.is_empty());
}

#[tokio::test]
async fn r21_without_a_store_and_a_log_it_is_recorded_when_both_are_back() {
    for store_first in [true, false] {
        let rig = Rig::new().await;
        rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
        rig.log.told();
        break_store(&rig);
        rig.log.close(true);
        taken(&rig, &user("u", &[], &[])).await;
        assert!(rig.groups("u").is_empty());
        let (mend, open): (&dyn Fn(), &dyn Fn()) = (&|| mend_store(&rig), &|| rig.log.close(false));
        let (first, second) = if store_first { (mend, open) } else { (open, mend) };
        first();
        assert!(rig.administration.heal().await.unwrap(), "the other one is missing");
        assert_eq!(rig.log.told(), []);
        second();
        assert!(!rig.administration.heal().await.unwrap());
        assert_eq!(rig.log.told(), [("put".into(), "u".into(), Outcome::Done)]);
        assert!(stored_groups(&rig).await.is_empty());
    }
}

#[tokio::test]
async fn r21_what_the_store_is_owed_is_paid_though_who_began_it_goes_away() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    break_store(&rig);
    taken(&rig, &user("u", &[], &[])).await;
    mend_store(&rig);
    let flow = Arc::clone(&rig.store.flow).write_owned().await;
    // It pays first, and is given up in the midst of that.
    let next = tokio::time::timeout(Duration::from_millis(50), rig.change(&user("v", &[], &[]))).await;
    assert!(next.is_err());
    drop(flow);
    let mut waited = 0;
    while !stored_groups(&rig).await.is_empty() {
        waited += 1;
        assert!(waited < 1000, "nobody pays any more");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(
        rig.log.told().iter().any(|(verb, name, outcome)| (&**verb, &**name, *outcome) == ("put", "u", Outcome::Done))
    );
}

#[tokio::test]
async fn r21_what_was_not_made_while_the_log_was_closed_is_not_recorded_as_done() {
    for has_transactions in [false, true] {
        is_not_recorded_as_done(has_transactions).await;
    }
}

async fn is_not_recorded_as_done(has_transactions: bool) {
    let rig = Rig::new().await;
    rig.store.has_transactions.store(has_transactions, Ordering::Relaxed);
    rig.change(&user("u", &[Group::CtiEnabled, Group::CallMonitoring], &[])).await.unwrap();
    // Another node of a cluster, with the same store, has changed it since.
    let other = Rig::over(Failing { store: rig.store.store.clone(), ..Failing::new() }, Seed::default()).await;
    other.change(&user("u", &[Group::CtiEnabled, Group::CallRecording], &[])).await.unwrap();
    rig.log.told();
    rig.log.close(true);
    let refused = rig.change(&user("u", &[], &[])).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::VersionConflict);
    rig.log.close(false);
    assert!(!rig.administration.heal().await.unwrap());
    assert_eq!(rig.log.told(), [("put".into(), "u".into(), Outcome::Failed)]);
    assert!(stored_groups(&rig).await.contains(Group::CallRecording));
}

#[tokio::test]
async fn r21_at_every_write_that_fails_what_is_taken_is_in_effect_and_stored_in_the_end() {
    for (writes, takes_one_by_one) in (0..8).flat_map(|writes| [(writes, false), (writes, true)]) {
        let rig = Rig::new().await;
        rig.change(&device("1001")).await.unwrap();
        rig.change(&user("u", &[Group::CtiEnabled], &["1001"])).await.unwrap();
        rig.store.takes_one_by_one.store(takes_one_by_one, Ordering::Relaxed);
        for n in 1..3 {
            let record = certificate("u", &n.to_string());
            rig.administration.add_certificate(&ACTOR, Fingerprint([n; 32]), &record).await.unwrap();
        }
        rig.log.close(writes % 2 == 0);
        rig.store.fail_after(writes);
        let remove = |name: &str| Change::RemoveUser(name.parse().unwrap());
        let _ = rig.administration.change(&ACTOR, &remove("u"), Of::Latest, Cascade::All).await;
        let remove = Change::RemoveDevice("1001".parse().unwrap());
        let _ = rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await;
        let is_gone = |state: &State| {
            state.directory.user("u").is_none()
                && state.directory.device("1001").is_none()
                && state.certificates.values().all(|(_, record)| record.revoked.is_some())
        };
        assert!(is_gone(&rig.administration.state()), "{writes}");
        rig.log.close(false);
        mend_store(&rig);
        assert!(!rig.administration.heal().await.unwrap(), "{writes}");
        let done =
            rig.log.told().iter().filter(|(verb, _, outcome)| verb == "remove" && *outcome == Outcome::Done).count();
        assert_eq!(done, 2, "{writes}");
        let again = Rig::over(rig.store.clone(), Seed::default()).await;
        assert!(is_gone(&again.administration.state()), "{writes}");
    }
}

#[tokio::test]
async fn r21_a_store_that_has_room_for_one_key_at_a_time_gets_one_after_the_other() {
    for log_is_closed in [false, true] {
        let rig = Rig::new().await;
        add_user_with_certificates(&rig, 20).await;
        rig.store.takes_one_by_one.store(true, Ordering::Relaxed);
        rig.log.told();
        rig.log.close(log_is_closed);
        let done = remove_user(&rig).await.unwrap();
        assert_eq!((done.version, done.revoked), (None, 20));
        assert!(rig.administration.owed().await.is_none());
        let again = Rig::over(rig.store.clone(), Seed::default()).await;
        let state = again.administration.state();
        assert!(state.directory.user("u").is_none());
        assert!(state.certificates.values().all(|(_, record)| record.revoked.is_some()));
        rig.log.close(false);
        rig.administration.heal().await.unwrap();
        let mut told = if log_is_closed { again.log.told() } else { rig.log.told() };
        told.retain(|(verb, ..)| verb == "remove");
        let remove = |outcome| ("remove".to_owned(), "u".to_owned(), outcome);
        // The other one came after a crash, as far as it knows.
        let records = if log_is_closed {
            vec![remove(Outcome::Recovered)]
        } else {
            vec![remove(Outcome::Begun), remove(Outcome::Done)]
        };
        assert_eq!(told, records);
    }
}

#[tokio::test]
async fn r21_a_change_that_is_stored_key_by_key_has_the_version_of_its_last_key_and_one_end() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    rig.store.takes_one_by_one.store(true, Ordering::Relaxed);
    rig.log.told();
    rig.log.close(true);
    let done = rig.change(&user("u", &[], &[])).await.unwrap();
    assert_eq!(done.version, Some(rig.administration.state().records.users["u"].version));
    assert_eq!(done.version, rig.store.get(Bucket::USERS, "u").await.unwrap().map(|user| user.version));
    rig.log.close(false);
    assert!(!rig.administration.heal().await.unwrap());
    assert_eq!(rig.log.told(), [("put".into(), "u".into(), Outcome::Done)]);
}

#[tokio::test]
async fn r21_a_store_that_has_room_for_some_of_the_keys_is_owed_the_others() {
    for log_is_closed in [false, true] {
        let rig = Rig::new().await;
        add_user_with_certificates(&rig, 5).await;
        rig.store.takes_one_by_one.store(true, Ordering::Relaxed);
        rig.log.told();
        rig.log.close(log_is_closed);
        rig.store.fail_after(3);
        assert!(matches!(remove_user(&rig).await.unwrap_err(), Refused::NotStored(_)));
        rig.log.close(false);
        assert!(rig.administration.heal().await.unwrap());
        let of_log = if log_is_closed { vec![] } else { vec![Outcome::Begun, Outcome::InEffect] };
        assert_eq!(rig.log.told().into_iter().map(|(.., outcome)| outcome).collect::<Vec<_>>(), of_log, "not done");
        mend_store(&rig);
        assert!(!rig.administration.heal().await.unwrap());
        assert_eq!(rig.log.told(), [("remove".into(), "u".into(), Outcome::Done)]);
        let again = Rig::over(rig.store.clone(), Seed::default()).await;
        assert!(again.administration.state().directory.user("u").is_none());
    }
}

#[tokio::test]
async fn r41a_what_is_owed_is_bounded_however_often_it_is_taken_while_the_log_is_closed() {
    let rig = Rig::new().await;
    add_user_with_certificates(&rig, 1).await;
    rig.log.told();
    break_store(&rig);
    rig.log.close(true);
    for _ in 0..100 {
        let revoked = rig.administration.revoke(&ACTOR, Fingerprint([0; 32]), "lost").await.unwrap_err();
        assert!(matches!(revoked, Refused::NotStored(_)));
    }
    rig.log.close(false);
    rig.store.fail_after(1000);
    assert!(!rig.administration.heal().await.unwrap());
    assert_eq!(rig.store.writes_left.load(Ordering::Relaxed), 999, "one key was owed");
    assert_eq!(rig.log.told(), vec![("revoke".into(), "00".repeat(32), Outcome::Done); 100]);
    assert_eq!(rig.store.list(Bucket::OUTBOX).await.unwrap(), []);
}

#[tokio::test]
async fn r21_that_owed_changes_are_done_is_kept_in_the_store_while_the_log_is_closed() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    break_store(&rig);
    taken(&rig, &user("u", &[], &[])).await;
    rig.log.close(true);
    mend_store(&rig);
    assert!(rig.administration.heal().await.unwrap(), "its record waits");

    let after = Rig::over(rig.store.clone(), Seed::default()).await;
    assert!(after.groups("u").is_empty());
    assert_eq!(after.log.told(), [("put".into(), "u".into(), Outcome::Done)]);
}

#[tokio::test]
async fn what_another_has_changed_meanwhile_is_taken_away_too() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled, Group::CallMonitoring], &[])).await.unwrap();
    rig.change(&user("v", &[Group::CtiEnabled], &[])).await.unwrap();
    break_store(&rig);
    taken(&rig, &user("u", &[], &[])).await;
    taken(&rig, &user("v", &[], &[])).await;
    // Another node of a cluster, with the same store.
    let other = Rig::over(Failing { store: rig.store.store.clone(), ..Failing::new() }, Seed::default()).await;
    other.change(&user("u", &[Group::CtiEnabled, Group::CallRecording], &[])).await.unwrap();
    other.change(&Change::RemoveUser("v".parse().unwrap())).await.unwrap();
    mend_store(&rig);
    assert!(!rig.administration.heal().await.unwrap());
    let again = Rig::over(rig.store.clone(), Seed::default()).await;
    assert!(again.groups("u").is_empty());
    assert!(again.administration.state().directory.user("v").is_none(), "and comes not back");
}

#[tokio::test]
async fn r21_no_backup_leaves_without_a_record_or_with_what_was_taken_away() {
    let rig = Rig::new().await;
    rig.change(&device("1001")).await.unwrap();
    rig.change(&user("u", &[Group::CtiEnabled], &["1001"])).await.unwrap();
    rig.log.told();
    let (_, made) = rig.administration.back_up(&ACTOR).await.unwrap();
    assert!(made.entries >= 2);
    let record = |outcome| ("back up".to_owned(), String::new(), outcome);
    assert_eq!(rig.log.told(), [record(Outcome::Begun), record(Outcome::Done)]);

    rig.log.close(true);
    assert_eq!(rig.administration.back_up(&ACTOR).await.unwrap_err().code(), ErrorCode::AuditUnavailable);
    rig.log.close(false);

    // A restore would give it back.
    break_store(&rig);
    taken(&rig, &user("u", &[], &["1001"])).await;
    rig.log.told();
    assert_eq!(rig.administration.back_up(&ACTOR).await.unwrap_err().code(), ErrorCode::StoreUnavailable);
    assert_eq!(rig.log.told(), []);
    mend_store(&rig);
    rig.administration.heal().await.unwrap();
    rig.administration.back_up(&ACTOR).await.unwrap();
}

#[tokio::test]
async fn of_changes_at_once_the_last_one_counts() {
    let rig = Arc::new(Rig::new().await);
    rig.change(&user("u", &[], &[])).await.unwrap();
    let flow = Arc::clone(&rig.store.flow).write_owned().await;
    let mut asked = tokio::task::JoinSet::new();
    for groups in [&[Group::CtiEnabled][..], &[Group::CtiEnabled, Group::CallMonitoring]].repeat(3) {
        let (rig, change) = (Arc::clone(&rig), user("u", groups, &[]));
        asked.spawn(async move { rig.change(&change).await });
        tokio::task::yield_now().await;
    }
    drop(flow);
    assert!(asked.join_all().await.iter().all(Result::is_ok));
    assert!(rig.groups("u").contains(Group::CallMonitoring));
}
