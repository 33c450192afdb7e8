//! Changes: each on record from its begin to its end, in turn, and made to its end.

use super::*;

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
    let now = OffsetDateTime::now_utc();
    let have_administrator = state.accounts.have_administrator(None, &state.certificates, now);
    assert!(!state.accounts.have_setup_token(now) && !have_administrator, "what it has counts");
    rig.store.fail_after(u64::MAX);
    let again = rig.administration.first_setup_token().await.unwrap().unwrap();
    let AccountChange::Setup { account, password, .. } = change else { unreachable!() };
    let change = AccountChange::Setup { token: again.hash(), account, password };
    rig.administration.change_account(&ACTOR, &change, Of::New).await.unwrap();
    assert!(rig.administration.first_setup_token().await.unwrap().is_none(), "there is an administrator");
}

#[tokio::test]
async fn r38_no_setup_token_is_told_unasked_where_an_administrator_was_made() {
    let rig = Rig::new().await;
    // It isn't in the ledger: as one that has ended, it lets nobody in.
    let settings = AccountSettings {
        role: Role::Administrator,
        description: String::new(),
        certificates: [Fingerprint([9; 32])].into(),
    };
    let root: AccountName = "root".parse().unwrap();
    let add = AccountChange::Add(root.clone(), NewAccount { settings, password: None });
    rig.administration.change_account(&ACTOR, &add, Of::New).await.unwrap();
    assert!(rig.administration.first_setup_token().await.unwrap().is_none());
    assert!(rig.administration.new_setup_token(&ACTOR).await.is_ok(), "who asks for it gets one");

    let rig = Rig::new().await;
    rig.administration.change_account(&ACTOR, &add, Of::New).await.unwrap();
    let disable = AccountChange::SetDisabled(root, true);
    rig.administration.change_account(&ACTOR, &disable, Of::Latest).await.unwrap();
    assert!(rig.administration.first_setup_token().await.unwrap().is_some(), "it may not log in at all");
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
