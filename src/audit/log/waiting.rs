//! Records that wait until the gate is open again.

use metrics::counter;
use time::OffsetDateTime;

use crate::audit::{Class, Kind, Record, line::bodies};

/// Of the room for those that wait, ordinary records may fill one part in so many.
const ORDINARY: usize = 4;

/// Records that wait, in their order, and the number of those that there was no room for.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    bodies: Vec<u8>,
    lost: [u64; 2],
}

impl Waiting {
    /// Takes a record's bodies, if there is room for them.
    pub(super) fn push(&mut self, class: Class, bodies: &[u8], most: usize) {
        let most = if class == Class::Ordinary { most / ORDINARY } else { most };
        if self.bodies.len() + bodies.len() > most {
            return self.lose(class);
        }
        self.bodies.extend_from_slice(bodies);
    }

    /// A record of this class isn't written.
    pub(super) fn lose(&mut self, class: Class) {
        let (place, name) = match class {
            Class::Ordinary => (0, "ordinary"),
            Class::Privileged => (1, "privileged"),
        };
        if let Some(lost) = self.lost.get_mut(place) {
            *lost += 1;
        }
        counter!("callgate_audit_records_lost_total", "class" => name).increment(1);
    }

    /// Whoever wrote these records was told that they aren't safe: nothing is given by them.
    pub(super) fn void(&mut self, first: u64, last: u64, most: usize) {
        let fields = [("event", "void".into()), ("first", first.into()), ("last", last.into())];
        self.note(&Record::new(Kind::Log, &fields), most);
    }

    /// Takes a record of the log's own.
    pub(super) fn note(&mut self, record: &Record<'_>, most: usize) {
        let mut made = Vec::new();
        bodies(&mut made, OffsetDateTime::now_utc(), record, None);
        self.push(Class::Privileged, &made, most);
    }

    /// Whether nothing waits. What was lost doesn't count.
    pub(super) fn is_empty(&self) -> bool {
        self.bodies.is_empty()
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    /// The first of what waits: whole bodies of at least so many bytes, if there are as many.
    pub(super) fn first(&self, bytes: usize) -> &[u8] {
        let behind = self.bodies.get(bytes..).unwrap_or_default();
        let end = memchr::memchr(b'\n', behind).map_or(self.bodies.len(), |at| bytes + at + 1);
        self.bodies.get(..end).unwrap_or_default()
    }

    /// The first so many bytes are written.
    pub(super) fn written(&mut self, bytes: usize) {
        self.bodies.drain(..bytes.min(self.bodies.len()));
        if self.bodies.is_empty() {
            self.bodies = Vec::new();
        }
    }

    /// Makes a record of the number of those that were lost, if any were.
    pub(super) fn tell_lost(&mut self, most: usize) {
        let [ordinary, privileged] = std::mem::take(&mut self.lost);
        if ordinary + privileged > 0 {
            let fields = [("event", "lost".into()), ("ordinary", ordinary.into()), ("privileged", privileged.into())];
            // There is room: it is called when all that waited is written.
            self.note(&Record::new(Kind::Log, &fields), most);
        }
    }

    /// Whether some were lost that no record tells of.
    pub(super) fn has_lost(&self) -> bool {
        self.lost != [0, 0]
    }
}
