//! An empty store takes what the config and the switches have.

use super::*;

fn user_of(devices: &[&str]) -> User {
    User {
        name: "u".parse().unwrap(),
        kind: UserKind::EndUser,
        groups: [Group::CtiEnabled].into_iter().collect(),
        devices: Arc::new(devices.iter().map(|name| name.parse().unwrap()).collect()),
        password: None,
        locked: false,
        password_on_tls: false,
        incarnation: 0,
    }
}

#[tokio::test]
async fn an_empty_store_is_seeded_once_and_a_cut_seed_is_finished() {
    let user = user_of(&["1001", "sim-1"]);
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
        if cut == 4 {
            let told = log.records.lock().unwrap().clone().into_iter();
            let told: Vec<_> =
                told.map(|told| format!("{} {} {} {:?}", told.kind, told.name, told.detail, told.outcome)).collect();
            let user = "user u +group Standard CTI Enabled, +device 1001, +device sim-1, ~kind";
            let devices = "device  2 devices of the config";
            let expected = [
                format!("{devices} Begun"),
                format!("{devices} Done"),
                format!("{user} Begun"),
                format!("{user} Done"),
            ];
            assert_eq!(told, expected);
        }
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
async fn r21_nobody_gets_rights_from_the_config_while_that_cannot_be_recorded() {
    let user = user_of(&[]);
    let directory = Arc::new(Directory::new([user], []).unwrap());
    let (store, log) = (Memory::new(), Arc::new(Log::default()));
    let open = || {
        let seed = Seed { directory: Arc::clone(&directory), ..Seed::default() };
        Administration::open(Arc::new(store.clone()), Arc::clone(&log) as Arc<dyn Journal>, seed)
    };
    log.close(true);
    let refused = open().await.unwrap_err();
    assert!(matches!(&refused, OpenError::Seed(why) if why.code() == ErrorCode::AuditUnavailable), "{refused}");
    assert!(refused.to_string().contains("the audit log can't be written"), "{refused}");
    assert!(store.list(Bucket::USERS).await.unwrap().is_empty());
    log.close(false);
    assert_eq!(open().await.unwrap().1, Seeded::Now { users: 1, devices: 0 });
    // Without anything to grant there is nothing to record.
    log.close(true);
    Administration::open(Arc::new(Memory::new()), Arc::clone(&log) as Arc<dyn Journal>, Seed::default()).await.unwrap();
}
