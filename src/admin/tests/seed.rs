//! An empty store takes what the config and the switches have.

use super::*;

#[tokio::test]
async fn an_empty_store_is_seeded_once_and_a_cut_seed_is_finished() {
    let user = User {
        name: "u".parse().unwrap(),
        kind: UserKind::EndUser,
        groups: [Group::CtiEnabled].into_iter().collect(),
        devices: Arc::new(BTreeSet::from(["1001".parse().unwrap(), "sim-1".parse().unwrap()])),
        password: None,
        locked: false,
        password_on_tls: false,
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
