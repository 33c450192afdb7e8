//! Which events are on their way, who has which, and when the next may come.

use std::{collections::VecDeque, fmt, rc::Rc, time::Instant};

use tokio::sync::Notify;

use super::histogram::Histogram;
use crate::control::Remote;

/// The load's view of all events. They are counted from 0 here, whatever the server calls them.
pub struct Board {
    remote: Rc<Remote>,
    first_number: u64,
    sessions: usize,
    /// Since when the events that not all have are on their way, and how many still lack them.
    on_the_way: VecDeque<(Instant, usize)>,
    completed: u64,
    permitted: u64,
    window: u64,
    until: Instant,
    finished: Rc<Notify>,
    pub latency: Histogram,
}

impl Board {
    pub fn new(sessions: usize, first_number: u64, remote: Rc<Remote>) -> Self {
        Self {
            remote,
            first_number,
            sessions,
            on_the_way: VecDeque::new(),
            completed: 0,
            permitted: 0,
            window: 0,
            until: Instant::now(),
            finished: Rc::new(Notify::new()),
            latency: Histogram::new(),
        }
    }

    /// Begins a phase, and tells of its end.
    pub fn begin(&mut self, window: u64, until: Instant) -> Rc<Notify> {
        (self.window, self.until, self.latency) = (window, until, Histogram::new());
        self.finished = Rc::new(Notify::new());
        self.permit(Instant::now());
        Rc::clone(&self.finished)
    }

    /// How many events all sessions have.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// A session has got an event, of which it has had `had` before.
    pub fn got(&mut self, session: usize, had: u64, number: u64, now: Instant) {
        let expected = self.first_number + had;
        assert_eq!(number, expected, "session {session}: an event is lost, came twice or out of order");
        let (since, lacking) = &mut self.on_the_way[(had - self.completed) as usize];
        self.latency.add(now.saturating_duration_since(*since));
        *lacking -= 1;
        while self.on_the_way.front().is_some_and(|(_, lacking)| *lacking == 0) {
            self.on_the_way.pop_front();
            self.completed += 1;
        }
    }

    /// Permits more events if there is room for them in the window.
    pub fn permit(&mut self, now: Instant) {
        if now >= self.until {
            if self.completed == self.permitted {
                self.finished.notify_one();
            }
            return;
        }
        let room = self.completed + self.window - self.permitted;
        // Some at once, so that a full load isn't spent on asking for it.
        if room >= (self.window / 8).max(1) {
            self.permitted += room;
            self.on_the_way.extend((0..room).map(|_| (now, self.sessions)));
            self.remote.permit(self.permitted);
        }
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacking: Vec<usize> = self.on_the_way.iter().map(|(_, lacking)| *lacking).collect();
        write!(
            f,
            "{} of {} events complete; sessions that lack the others: {lacking:?}",
            self.completed, self.permitted
        )
    }
}
