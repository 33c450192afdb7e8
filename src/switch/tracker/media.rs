//! The media streams of one view of a call, and their generations.
//!
//! Each RTP media line has two streams, one each way as the device sees it. This module owns their ids and generations
//! and turns what was agreed into opened and stopped events. A generation changes only with the key material (R22):
//! hold, resume and a new address keep it. Key material that comes back comes back as the generation that it was. A line
//! that is rejected, or used for another medium, ends its streams: what comes in its place are new ones, which count
//! their own generations. That they go on with an old key is known by [`Ring`], which they share (R16).

use std::{net::SocketAddr, sync::Arc};

use super::{
    Ids, Moment,
    agree::{Agreed, Flow, Secrecy, Way, is_clear},
    forgotten::Forgotten,
    ring::Ring,
};
use crate::{
    model::{
        Codec, EventBody, Generation, KeyMaterial, MediaOpened, MediaStopped, Protection, StopCause, StreamDirection,
        StreamId, Timestamp,
    },
    switch::sdp::Sdp,
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

/// Where a view's key material and the ids of its streams come from.
pub(super) struct Sources<'a> {
    pub(super) ring: &'a mut Ring,
    pub(super) forgotten: &'a mut Forgotten,
    pub(super) ids: &'a mut Ids,
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
        moment: Moment,
        sources: &mut Sources<'_>,
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
            let line = place.get_or_insert_with(|| Line::new(agreed.media.clone(), sources.ids));
            let (sent, received) = match device_offered {
                true => (agreed.to_answerer, agreed.to_offerer),
                false => (agreed.to_offerer, agreed.to_answerer),
            };
            line.sent.apply(&line.media, sent, moment, sources, out);
            line.received.apply(&line.media, received, moment, sources, out);
        }
    }

    /// Takes back what is known of keys: something that may have changed them wasn't seen. What flows goes on flowing,
    /// and is clear as before if `seen`, the description that was seen, if any, has no key for it.
    pub(super) fn doubt(
        &mut self,
        seen: Option<&Sdp>,
        moment: Moment,
        sources: &mut Sources<'_>,
        out: &mut Vec<EventBody>,
    ) {
        for (i, line) in self.lines.iter_mut().enumerate() {
            let Some(Line { media, sent, received }) = line else { continue };
            let no_key = seen.and_then(|sdp| sdp.lines.get(i)).is_some_and(is_clear);
            for stream in [sent, received] {
                let Some(last) = &stream.last else { continue };
                if no_key && last.generation.is_none() {
                    continue;
                }
                let codecs = last.codecs.clone();
                let flow = Flow { way: Way::Unseen, source: None, codecs, secrecy: Secrecy::Unknown };
                stream.apply(media, flow, moment, sources, out);
            }
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
    fn apply(
        &mut self,
        media: &Arc<str>,
        flow: Flow,
        moment: Moment,
        sources: &mut Sources<'_>,
        out: &mut Vec<EventBody>,
    ) {
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
            // What doesn't flow and isn't known tells nothing.
            if let Some(seen) = Self::seen(&flow.secrecy, moment, sources) {
                self.key(seen, moment.at, out);
            }
            return;
        };

        let before = self.generation();
        let seen = Self::seen(&flow.secrecy, moment, sources);
        let secret = !matches!(flow.secrecy, Secrecy::Clear);
        let generation = if secret { self.note(seen, moment.at) } else { None };
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
            protection: self.protection(generation),
        }));
        self.last = Some(shape);
        (self.flows, self.told) = (true, true);
    }

    /// The key material, if it is known and anybody may have it.
    fn seen(secrecy: &Secrecy, moment: Moment, sources: &mut Sources<'_>) -> Option<(Arc<KeyMaterial>, Timestamp)> {
        match secrecy {
            Secrecy::Keyed(keys) => sources.ring.note(keys, moment, sources.forgotten),
            Secrecy::Clear | Secrecy::Unknown => None,
        }
    }

    /// Notes key material of a stream that doesn't flow, and tells of a generation not seen before.
    fn key(&mut self, (keys, since): (Arc<KeyMaterial>, Timestamp), at: Timestamp, out: &mut Vec<EventBody>) {
        let before = self.generation();
        let now = self.note(Some((keys.clone(), since)), at);
        if let Some(last) = &mut self.last {
            last.generation = now;
        }
        if let Some(generation) = now.filter(|_| now != before) {
            self.told = true;
            out.push(EventBody::MediaKeyed { stream: self.id, generation, keys });
        }
    }

    /// The generation that this key material is: the one that it was before, or the next if it wasn't seen yet (R22).
    fn note(&mut self, seen: Option<(Arc<KeyMaterial>, Timestamp)>, at: Timestamp) -> Option<Generation> {
        let next = self.highest.map_or(Generation::FIRST, Generation::next);
        let generation = match seen {
            None => self.unknown.get_or_insert((next, at)).0,
            Some((keys, since)) => {
                let seen = match self.known.iter().position(|seen| Arc::ptr_eq(&seen.keys, &keys)) {
                    Some(i) => self.known.remove(i),
                    None => Seen { generation: next, since, keys },
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

    /// That of the generation that was noted just now.
    fn protection(&self, generation: Option<Generation>) -> Protection {
        let Some(generation) = generation else { return Protection::Clear };
        match self.known.last().filter(|seen| seen.generation == generation) {
            Some(seen) => Protection::Keyed { generation, since: seen.since, keys: seen.keys.clone() },
            None => Protection::Unknown { generation, since: self.unknown.map_or(Timestamp(0), |(_, since)| since) },
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
