//! How the parts of a gateway are, for who watches it: `/healthz` and `/readyz`.
//!
//! A part tells its state when it changes, by a [`Reporter`], or is asked for it, by a probe. *Alive* is a gateway all of
//! whose probes of life answer; *ready* is one that is alive and all of whose parts are up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

/// Whether a part does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It doesn't.
    Down,
    /// It doesn't yet.
    Starting,
    /// It does.
    Up,
}

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Whether it does what it is for.
    pub state: State,
    /// Why, or in which way; may be empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

/// The parts of a gateway, by their names. All clones are the same.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Source>>>,
}

enum Source {
    Told(Part),
    /// Asked each time; whether without it the process isn't alive.
    Asked(Arc<dyn Fn() -> Part + Send + Sync>, Vital),
}

/// Whether the process is alive without a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vital {
    No,
    Yes,
}

/// Tells how a part is. When it is dropped the part is down.
pub struct Reporter {
    health: Health,
    name: String,
}

impl Health {
    /// A part that tells how it is; until then it is starting. Another one of that name is replaced.
    pub fn part(&self, name: impl Into<String>) -> Reporter {
        let reporter = Reporter { health: self.clone(), name: name.into() };
        reporter.tell(State::Starting, "");
        reporter
    }

    /// A part that is asked how it is. The answer must come at once.
    pub fn probe(&self, name: impl Into<String>, ask: impl Fn() -> Part + Send + Sync + 'static) {
        self.lock().insert(name.into(), Source::Asked(Arc::new(ask), Vital::No));
    }

    /// The same for a part without which the process had better be started again.
    pub fn probe_of_life(&self, name: impl Into<String>, ask: impl Fn() -> Part + Send + Sync + 'static) {
        self.lock().insert(name.into(), Source::Asked(Arc::new(ask), Vital::Yes));
    }

    /// A part that is there no more, and missed by nobody.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// The parts without which the process isn't alive.
    pub fn life(&self) -> BTreeMap<String, Part> {
        self.of(|source| matches!(source, Source::Asked(_, Vital::Yes)))
    }

    /// All parts.
    pub fn all(&self) -> BTreeMap<String, Part> {
        self.of(|_| true)
    }

    fn of(&self, is_meant: impl Fn(&Source) -> bool) -> BTreeMap<String, Part> {
        let mut asked = Vec::new();
        let mut parts = BTreeMap::new();
        for (name, source) in self.lock().iter().filter(|(_, source)| is_meant(source)) {
            match source {
                Source::Told(part) => drop(parts.insert(name.clone(), part.clone())),
                Source::Asked(ask, _) => asked.push((name.clone(), Arc::clone(ask))),
            }
        }
        // Without the lock: what is asked may tell something itself.
        parts.extend(asked.into_iter().map(|(name, ask)| (name, ask())));
        parts
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Source>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reporter {
    /// It does what it is for.
    pub fn up(&self, detail: &str) {
        self.tell(State::Up, detail);
    }

    /// It doesn't.
    pub fn down(&self, why: &str) {
        self.tell(State::Down, why);
    }

    fn tell(&self, state: State, detail: &str) {
        self.health.lock().insert(self.name.clone(), Source::Told(Part { state, detail: detail.into() }));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.down("it has ended");
    }
}

impl Part {
    /// Up, without more.
    pub fn up() -> Self {
        Self { state: State::Up, detail: String::new() }
    }

    /// Down, and why.
    pub fn down(why: impl Into<String>) -> Self {
        Self { state: State::Down, detail: why.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &BTreeMap<String, Part>) -> String {
        serde_json::to_string(parts).unwrap()
    }

    #[test]
    fn parts_tell_how_they_are_or_are_asked() {
        let health = Health::default();
        let store = health.part("store");
        health.probe("doors", Part::up);
        let answers = Arc::new(Mutex::new(Part::up()));
        health.probe_of_life("workers", {
            let answers = Arc::clone(&answers);
            move || answers.lock().unwrap().clone()
        });
        assert_eq!(
            shown(&health.all()),
            r#"{"doors":{"state":"up"},"store":{"state":"starting"},"workers":{"state":"up"}}"#
        );
        assert_eq!(shown(&health.life()), r#"{"workers":{"state":"up"}}"#);

        store.up("12 users");
        *answers.lock().unwrap() = Part::down("worker 1 doesn't answer");
        assert_eq!(health.all()["store"], Part { state: State::Up, detail: "12 users".into() });
        assert_eq!(shown(&health.life()), r#"{"workers":{"state":"down","detail":"worker 1 doesn't answer"}}"#);
        drop(store);
        assert_eq!(health.all()["store"], Part::down("it has ended"));
        health.forget("store");
        assert!(!health.all().contains_key("store"));
    }
}
