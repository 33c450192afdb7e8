//! How the parts of a gateway are, for who watches it: `/healthz` and `/readyz`.
//!
//! A part tells its state when it changes, by a [`Reporter`], or is asked for it, by a probe. Its [`Need`] says what the
//! gateway isn't without it: *alive*, or *ready* for apps, or nothing less than before.

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

/// What the gateway needs a part for. A later one is needed for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// It goes on without it: that it is down is shown, and sends nobody away. A switch is such a part, since others may be
    /// up, and apps know of it.
    None,
    /// To serve apps: while it is down they had better go elsewhere.
    Ready,
    /// To do anything: while it is down the process had better be started again.
    Alive,
}

/// How a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Whether it does what it is for.
    pub state: State,
    /// Why, or in which way; may be empty.
    pub detail: String,
}

/// The parts of a gateway, by their names. All clones are the same.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, (Need, Source)>>>,
}

enum Source {
    Told(Part),
    /// Asked each time.
    Asked(Arc<dyn Fn() -> Part + Send + Sync>),
}

/// What parts add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Whether all that are needed for it are up.
    pub is_well: bool,
    /// The parts, by their names, with what each is needed for.
    pub parts: BTreeMap<String, (Need, Part)>,
}

/// Tells how a part is. When it is dropped the part is down.
pub struct Reporter {
    health: Health,
    name: String,
    need: Need,
    is_done: bool,
}

impl Health {
    /// A part that tells how it is; until then it is starting. Another one of that name is replaced.
    pub fn part(&self, name: impl Into<String>, need: Need) -> Reporter {
        let reporter = Reporter { health: self.clone(), name: name.into(), need, is_done: false };
        reporter.tell(State::Starting, "");
        reporter
    }

    /// A part that is asked how it is. The answer must come at once.
    pub fn probe(&self, name: impl Into<String>, need: Need, ask: impl Fn() -> Part + Send + Sync + 'static) {
        self.lock().insert(name.into(), (need, Source::Asked(Arc::new(ask))));
    }

    /// A part that is there no more, and missed by nobody.
    pub fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether the process is alive, and the parts that it needs for that.
    pub fn alive(&self) -> Report {
        let parts = self.of(Need::Alive);
        Report { is_well: Self::are_up(&parts, Need::Alive), parts }
    }

    /// Whether the gateway is ready for apps, and all parts.
    pub fn ready(&self) -> Report {
        let parts = self.of(Need::None);
        Report { is_well: Self::are_up(&parts, Need::Ready), parts }
    }

    fn are_up(parts: &BTreeMap<String, (Need, Part)>, at_least: Need) -> bool {
        parts.values().all(|(need, part)| *need < at_least || part.state == State::Up)
    }

    /// Those that are needed for this at least.
    fn of(&self, at_least: Need) -> BTreeMap<String, (Need, Part)> {
        let mut asked = Vec::new();
        let mut parts = BTreeMap::new();
        for (name, (need, source)) in self.lock().iter().filter(|(_, (need, _))| *need >= at_least) {
            match source {
                Source::Told(part) => drop(parts.insert(name.clone(), (*need, part.clone()))),
                Source::Asked(ask) => asked.push((name.clone(), *need, Arc::clone(ask))),
            }
        }
        // Without the lock: what is asked may tell something itself.
        parts.extend(asked.into_iter().map(|(name, need, ask)| (name, (need, ask()))));
        parts
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Need, Source)>> {
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

    /// Its last word: the state stays as it is.
    pub fn rest(mut self) {
        self.is_done = true;
    }

    fn tell(&self, state: State, detail: &str) {
        let part = Part { state, detail: detail.into() };
        self.health.lock().insert(self.name.clone(), (self.need, Source::Told(part)));
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if !self.is_done {
            self.down("it has ended");
        }
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

    fn shown(report: &Report) -> String {
        let part = |(name, (_, part)): (&String, &(Need, Part))| format!("{name}: {:?} {}", part.state, part.detail);
        let parts: Vec<String> = report.parts.iter().map(part).collect();
        format!("{}, {}", report.is_well, parts.join(", ").replace(" ,", ",").trim_end())
    }

    #[test]
    fn parts_tell_how_they_are_or_are_asked() {
        let health = Health::default();
        let store = health.part("store", Need::Ready);
        health.probe("doors", Need::Ready, Part::up);
        let answers = Arc::new(Mutex::new(Part::up()));
        health.probe("workers", Need::Alive, {
            let answers = Arc::clone(&answers);
            move || answers.lock().unwrap().clone()
        });
        assert_eq!(shown(&health.ready()), "false, doors: Up, store: Starting, workers: Up");
        assert_eq!(shown(&health.alive()), "true, workers: Up");

        store.up("12 users");
        assert_eq!(shown(&health.ready()), "true, doors: Up, store: Up 12 users, workers: Up");
        *answers.lock().unwrap() = Part::down("silent");
        assert_eq!(shown(&health.ready()), "false, doors: Up, store: Up 12 users, workers: Down silent");
        assert_eq!(shown(&health.alive()), "false, workers: Down silent");
        *answers.lock().unwrap() = Part::up();
        drop(store);
        assert_eq!(shown(&health.ready()), "false, doors: Up, store: Down it has ended, workers: Up");
        health.forget("store");
        assert_eq!(shown(&health.ready()), "true, doors: Up, workers: Up");
    }

    #[test]
    fn a_switch_that_is_down_is_shown_and_sends_nobody_away() {
        let health = Health::default();
        let (live, replay) = (health.part("live", Need::None), health.part("replay", Need::None));
        replay.up("played");
        replay.rest();
        live.down("port 9060 is taken");
        live.rest();
        assert_eq!(shown(&health.ready()), "true, live: Down port 9060 is taken, replay: Up played");
        assert!(health.alive().parts.is_empty());
    }
}
