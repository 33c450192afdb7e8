//! While the audit log takes nothing, and what is recorded when it does again (R21).

use super::*;

#[tokio::test]
async fn r21_while_the_log_is_closed_nothing_is_granted_and_all_is_taken_at_once() {
    let rig = Rig::new().await;
    rig.change(&device("1001")).await.unwrap();
    rig.change(&user("u", &[Group::CtiEnabled, Group::CallMonitoring], &["1001"])).await.unwrap();
    rig.log.told();
    assert!(rig.administration.can_record());
    rig.log.close(true);
    assert!(!rig.administration.can_record());
    for grants in [user("u", &[Group::CtiEnabled, Group::CallMonitoring, Group::CallRecording], &["1001"]), device("2")]
    {
        let refused = rig.change(&grants).await.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::AuditUnavailable);
    }
    let settings = rig.administration.state().records.users["u"].record.settings.clone();
    let verifier = Arc::new(ScramVerifier::generate("pencil", 4096).unwrap());
    let password = Change::PutUserWithPassword("u".parse().unwrap(), settings, Some(verifier));
    assert_eq!(rig.change(&password).await.unwrap_err().code(), ErrorCode::AuditUnavailable);
    assert!(rig.administration.state().records.users["u"].record.password.is_none(), "nothing of it is done");
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
async fn r21_what_was_taken_while_the_log_was_closed_is_on_record_before_any_later_change() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    rig.log.told();
    rig.log.close(true);
    rig.change(&user("u", &[], &[])).await.unwrap();
    rig.change(&Change::RemoveUser("u".parse().unwrap())).await.unwrap();
    rig.log.close(false);
    // Nobody has had the time to bring to the log what waits.
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    let mut told = rig.log.told();
    let later = told.split_off(2);
    told.sort();
    let of = |verb: &str, outcome| (verb.into(), "u".into(), outcome);
    assert_eq!(told, [of("put", Outcome::Done), of("remove", Outcome::Done)]);
    assert_eq!(later, [of("put", Outcome::Begun), of("put", Outcome::Done)]);
}

#[tokio::test]
async fn r21_a_removal_that_a_crash_came_before_is_failed_on_record_also_if_the_log_heals_long_after() {
    for is_kept in [true, false] {
        let rig = Rig::new().await;
        rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
        rig.log.close(true);
        rig.store.fail_after(1);
        let remove = Change::RemoveUser("u".parse().unwrap());
        assert_eq!(rig.change(&remove).await.unwrap_err().code(), ErrorCode::StoreUnavailable);

        // The next one starts while the log can't be written yet, and perhaps the store neither.
        rig.store.fail_after(if is_kept { u64::MAX } else { 0 });
        let log = Arc::new(Log::default());
        log.close(true);
        let after = Rig::over_log(rig.store.clone(), Seed::default(), log).await;
        rig.store.fail_after(u64::MAX);
        assert!(after.administration.state().directory.user("u").is_some());
        if is_kept {
            // Another removal of the same user says nothing of the first one.
            after.change(&remove).await.unwrap();
        }
        after.log.close(false);
        assert!(!after.administration.heal().await.unwrap());
        let mut told = after.log.told();
        told.sort();
        let of = |outcome| ("remove".into(), "u".into(), outcome);
        let second = is_kept.then_some(of(Outcome::Done));
        assert_eq!(told, second.into_iter().chain([of(Outcome::Failed)]).collect::<Vec<_>>(), "{is_kept}");
    }
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
