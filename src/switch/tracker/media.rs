//! The media streams of one view of a call, and their generations.
//!
//! Each RTP media line has two streams, one each way as the device sees it. This module owns their ids and generations
//! and turns what was agreed into opened and stopped events. A generation changes only with the key material (R22):
//! hold, resume and a new address keep it. Key material that comes back comes back as the generation that it was: who
//! monitors since then would be told a key that was in force before (R16).
//!
//! Known limit: a stream that is a new one (another branch of a fork, a line used for another medium) counts its own
//! generations, also if a party goes on with the key of the old one.

use std::{net::SocketAddr, sync::Arc};

use super::{
    Ids,
    agree::{Agreed, Flow, Secrecy, Way},
};
use crate::model::{
    Codec, EventBody, Generation, KeyMaterial, MediaOpened, MediaStopped, Protection, StopCause, StreamDirection,
    StreamId, Timestamp,
};

#[derive(Debug, Default)]
pub(super) struct Media {
    lines: Vec<Option<Line>>,
}

#[derive(Debug)]
struct Line {
    media: Arc<str>,
    sent: Stream,
    received: Stream,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    direction: StreamDirection,
    /// The generations of key material, the one used last at the end. They outlive hold.
    known: Vec<Seen>,
    /// The one generation of all key material that isn't known.
    unknown: Option<(Generation, Timestamp)>,
    /// The generation in force.
    now: Option<Generation>,
    /// The highest generation so far.
    highest: Option<Generation>,
    /// As it flows now, or flowed last.
    last: Option<Shape>,
    flows: bool,
    /// Whether anyone was told of it: then its end is told too.
    told: bool,
}

#[derive(Debug)]
struct Seen {
    generation: Generation,
    since: Timestamp,
    keys: Arc<KeyMaterial>,
}

/// So many generations of one stream are remembered.
const MAX_KNOWN: usize = 8;

/// What makes an open stream another one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Shape {
    destination: SocketAddr,
    codecs: Arc<[Codec]>,
    generation: Option<Generation>,
}

impl Media {
    /// Brings the streams to what was agreed, and tells what changed.
    pub(super) fn apply(
        &mut self,
        agreed: Vec<Option<Agreed>>,
        device_offered: bool,
        at: Timestamp,
        ids: &mut Ids,
        out: &mut Vec<EventBody>,
    ) {
        if self.lines.len() < agreed.len() {
            self.lines.resize_with(agreed.len(), || None);
        }
        for (place, agreed) in self.lines.iter_mut().zip(agreed) {
            // A line may be used again for another medium (RFC 3264, 8.2): the old streams are over.
            if place.as_ref().is_some_and(|line| agreed.as_ref().is_none_or(|new| new.media != line.media))
                && let Some(old) = place.take()
            {
                old.end(out);
            }
            let Some(agreed) = agreed else { continue };
            let line = place.get_or_insert_with(|| Line::new(agreed.media.clone(), ids));
            let (sent, received) = match device_offered {
                true => (agreed.to_answerer, agreed.to_offerer),
                false => (agreed.to_offerer, agreed.to_answerer),
            };
            line.sent.apply(&line.media, sent, at, out);
            line.received.apply(&line.media, received, at, out);
        }
    }

    /// Ends every stream that anyone was told of, also those on hold: their keys are of no more use.
    pub(super) fn end(&mut self, out: &mut Vec<EventBody>) {
        for line in self.lines.drain(..).flatten() {
            line.end(out);
        }
    }
}

impl Line {
    fn new(media: Arc<str>, ids: &mut Ids) -> Self {
        let mut stream = |direction| Stream {
            id: StreamId(ids.next()),
            direction,
            known: Vec::new(),
            unknown: None,
            now: None,
            highest: None,
            last: None,
            flows: false,
            told: false,
        };
        Self { media, sent: stream(StreamDirection::Sent), received: stream(StreamDirection::Received) }
    }

    fn end(mut self, out: &mut Vec<EventBody>) {
        for stream in [&mut self.sent, &mut self.received] {
            if stream.told {
                stream.stop(StopCause::Ended, out);
            }
        }
    }
}

impl Stream {
    fn apply(&mut self, media: &Arc<str>, flow: Flow, at: Timestamp, out: &mut Vec<EventBody>) {
        let destination = match flow.way {
            Way::Open(destination) => Some(destination),
            // Nothing says that it stopped, or where it goes if it was not open.
            Way::Unseen => match self.last.as_ref().filter(|_| self.flows) {
                Some(last) => Some(last.destination),
                None => return,
            },
            Way::Shut => None,
        };
        let Some(destination) = destination else {
            if self.flows {
                self.stop(StopCause::Hold, out);
            }
            // A rejected line agrees on no key: only what is known is noted.
            if let Secrecy::Keyed(_) = flow.secrecy {
                self.key(&flow.secrecy, at, out);
            }
            return;
        };

        let before = self.generation();
        let generation = self.note(&flow.secrecy, at);
        let shape = Shape { destination, codecs: flow.codecs, generation };
        if self.flows {
            if self.last.as_ref() == Some(&shape) {
                return;
            }
            out.push(EventBody::MediaStopped(MediaStopped {
                stream: self.id,
                direction: self.direction,
                generation: self.last.as_ref().map_or(before, |last| last.generation),
                cause: StopCause::Changed,
            }));
        }
        out.push(EventBody::MediaOpened(MediaOpened {
            stream: self.id,
            direction: self.direction,
            destination,
            likely_source: flow.source,
            media: media.clone(),
            codecs: shape.codecs.clone(),
            protection: self.protection(&flow.secrecy),
        }));
        self.last = Some(shape);
        (self.flows, self.told) = (true, true);
    }

    /// Notes key material of a stream that doesn't flow, and tells of a generation not seen before.
    fn key(&mut self, secrecy: &Secrecy, at: Timestamp, out: &mut Vec<EventBody>) {
        let before = self.generation();
        let now = self.note(secrecy, at);
        if let Some(last) = &mut self.last {
            last.generation = now;
        }
        if let Some(generation) = now.filter(|_| now != before) {
            self.told = true;
            out.push(EventBody::MediaKeyed { stream: self.id, generation });
        }
    }

    /// The generation that `secrecy` is: the one that it was before, or the next if it wasn't seen yet (R22).
    fn note(&mut self, secrecy: &Secrecy, at: Timestamp) -> Option<Generation> {
        let next = self.highest.map_or(Generation::FIRST, Generation::next);
        let generation = match secrecy {
            Secrecy::Clear => return None,
            Secrecy::Unknown => self.unknown.get_or_insert((next, at)).0,
            Secrecy::Keyed(keys) => {
                let seen = match self.known.iter().position(|seen| seen.keys.same_generation(keys)) {
                    Some(i) => self.known.remove(i),
                    None => Seen { generation: next, since: at, keys: keys.clone() },
                };
                if self.known.len() >= MAX_KNOWN {
                    self.known.remove(0);
                }
                let generation = seen.generation;
                self.known.push(seen);
                generation
            }
        };
        self.highest = self.highest.max(Some(generation));
        self.now = Some(generation);
        self.now
    }

    /// As it was noted just now.
    fn protection(&self, secrecy: &Secrecy) -> Protection {
        match (secrecy, self.known.last(), self.unknown) {
            (Secrecy::Keyed(_), Some(seen), _) => {
                Protection::Keyed { generation: seen.generation, since: seen.since, keys: seen.keys.clone() }
            }
            (Secrecy::Unknown, _, Some((generation, since))) => Protection::Unknown { generation, since },
            _ => Protection::Clear,
        }
    }

    fn generation(&self) -> Option<Generation> {
        self.now
    }

    fn stop(&mut self, cause: StopCause, out: &mut Vec<EventBody>) {
        self.flows = false;
        let generation = self.last.as_ref().map_or(self.generation(), |last| last.generation);
        out.push(EventBody::MediaStopped(MediaStopped {
            stream: self.id,
            direction: self.direction,
            generation,
            cause,
        }));
    }
}
