//! Each store against the plainest model: what any sequence of calls answers, and what is there after it.

use std::{collections::BTreeMap, sync::Arc};

use callgate::store::{Bucket, Expect, Store, StoreError, Version};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};

use crate::{
    Durable, Subject, long,
    suite::{delete, put},
};

const PLACES: [Bucket; 2] = [Bucket::USERS, Bucket::DEVICES];

/// What is expected of a key, in words that fit whatever is there.
#[derive(Debug, Clone, Copy)]
enum Guess {
    Nothing,
    Present,
    /// The version that the key had before the present one.
    Past,
}

#[derive(Debug, Clone)]
enum Call {
    Delete(usize, String, Guess),
    Get(usize, String),
    List(usize),
    Put(usize, String, Vec<u8>, Guess),
    /// The store is closed and opened again.
    Reopen,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let key = || prop_oneof![4 => "[ab]", 1 => "\\PC{1,8}"];
    let guess = || prop_oneof![4 => Just(Guess::Present), 2 => Just(Guess::Nothing), 1 => Just(Guess::Past)];
    let call = prop_oneof![
        6 => (0..2_usize, key(), vec(any::<u8>(), 0..300), guess()).prop_map(|(b, k, v, g)| Call::Put(b, k, v, g)),
        3 => (0..2_usize, key(), guess()).prop_map(|(b, k, g)| Call::Delete(b, k, g)),
        2 => (0..2_usize, key()).prop_map(|(b, k)| Call::Get(b, k)),
        1 => (0..2_usize).prop_map(Call::List),
        1 => Just(Call::Reopen),
    ];
    vec(call, 0..40)
}

#[derive(Default)]
struct Model {
    held: BTreeMap<(usize, String), (Version, Vec<u8>)>,
    past: BTreeMap<(usize, String), Version>,
    newest: u64,
}

impl Model {
    /// What the guess comes to. What is taken for present where nothing is, is a version of nobody.
    fn expect(&self, place: &(usize, String), guess: Guess) -> Expect {
        match guess {
            Guess::Nothing => Expect::Absent,
            Guess::Present => self.held.get(place).map_or(Expect::Absent, |held| Expect::Version(held.0)),
            Guess::Past => Expect::Version(self.past.get(place).copied().unwrap_or(Version(u64::MAX))),
        }
    }

    /// What a write answers: `Err` with what is found.
    fn write(
        &mut self,
        place: (usize, String),
        expect: Expect,
        value: Option<Vec<u8>>,
    ) -> Result<Version, Option<Version>> {
        let found = self.held.get(&place).map(|held| held.0);
        if expect != found.map_or(Expect::Absent, Expect::Version) {
            return Err(found);
        }
        self.newest += 1;
        let version = Version(self.newest);
        self.past.extend(found.map(|found| (place.clone(), found)));
        match value {
            Some(value) => self.held.insert(place, (version, value)),
            None => self.held.remove(&place),
        };
        Ok(version)
    }
}

/// `reopen`: how the store is closed and opened again, if it can be.
async fn follows(mut store: Arc<dyn Store>, reopen: impl Fn(Arc<dyn Store>) -> Arc<dyn Store>, calls: Vec<Call>) {
    let mut model = Model::default();
    for call in calls {
        match call {
            Call::Put(b, key, value, guess) => {
                let place = (b, key.clone());
                let expect = model.expect(&place, guess);
                let answer = put(&*store, PLACES[b], &key, &value, expect).await;
                assert_eq!(plain(answer), model.write(place, expect, Some(value)));
            }
            Call::Delete(b, key, guess) => {
                let place = (b, key.clone());
                let Expect::Version(version) = model.expect(&place, guess) else { continue };
                let answer = delete(&*store, PLACES[b], &key, version).await;
                assert_eq!(plain(answer), model.write(place, Expect::Version(version), None));
            }
            Call::Get(b, key) => {
                let there = store.get(PLACES[b], &key).await.unwrap();
                let there = there.map(|entry| (entry.version, entry.value.to_vec()));
                assert_eq!(there, model.held.get(&(b, key)).cloned());
            }
            Call::List(b) => assert_eq!(list(&*store, b).await, expected(&model, b)),
            Call::Reopen => store = reopen(store),
        }
    }
    for b in 0..PLACES.len() {
        assert_eq!(list(&*store, b).await, expected(&model, b));
    }
}

fn plain(answer: Result<Version, StoreError>) -> Result<Version, Option<Version>> {
    answer.map_err(|error| match error {
        StoreError::Conflict { found, .. } => found,
        other => panic!("{other}"),
    })
}

async fn list(store: &dyn Store, b: usize) -> Vec<(String, Version, Vec<u8>)> {
    let entries = store.list(PLACES[b]).await.unwrap().into_iter();
    entries.map(|entry| (entry.key, entry.version, entry.value.to_vec())).collect()
}

fn expected(model: &Model, b: usize) -> Vec<(String, Version, Vec<u8>)> {
    let held = model.held.iter().filter(|((bucket, _), _)| *bucket == b);
    held.map(|((_, key), (version, value))| (key.clone(), *version, value.clone())).collect()
}

fn run(cases: u32, test: impl Fn(Vec<Call>)) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let test = |calls| {
        test(calls);
        Ok(())
    };
    TestRunner::new(config).run(&calls(), test).unwrap();
}

/// A store that can't be opened again.
pub(crate) fn follows_in_one_go<S: Subject>() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    run(if long() { 10_000 } else { 500 }, |calls| {
        let place = S::place();
        runtime.block_on(follows(S::open(&place), |store| store, calls));
    });
}

pub(crate) fn follows_also_when_opened_again<D: Durable>() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    run(if long() { 500 } else { 20 }, |calls| {
        let place = D::place();
        let reopen = |store| {
            drop(store);
            D::open(&place)
        };
        runtime.block_on(follows(D::open(&place), reopen, calls));
    });
}
