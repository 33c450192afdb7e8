//! The tracker against a model of a call.
//!
//! Two ends, a device each or one and a PBX, over a proxy that is seen on both its sides, do what SIP lets them: ring,
//! answer early, fork, give up, offer, hold, rekey, refuse, use lines anew, transfer, hang up. The model knows what
//! they agreed on; the tracker sees the messages, by a network that may lose, repeat and delay them.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use callgate::model::{
    CallState, EndCause, EventBody, KeyMaterial, Protection, StopCause, StreamDirection, StreamId, SwitchEvent,
};
use proptest::prelude::*;
use sip::{Branches, Dialog, Lab, Sdp, on_branch};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const BOB: &str = "10.0.0.3:5060";
/// Tags of the called end: the branches of a fork.
const TAGS: [&str; 3] = ["b", "c", "d"];
const MEDIA: [&str; 2] = ["audio", "video"];

/// What an end may do next. Numbers choose among what is possible then.
#[derive(Debug, Clone)]
enum Step {
    /// The called end, or a branch of it, answers early; again and again by a new branch.
    Early(usize),
    /// An offer by PRACK or UPDATE in an early dialog.
    EarlyOffer(usize, Offer),
    /// The call is answered by a branch, given up, refused, or its CANCEL crosses the answer.
    Answer(usize),
    Cancel,
    CancelAndAnswer(usize),
    Refuse(u16),
    /// The INVITE comes on a second branch too, with other keys, and is refused there.
    Twin(u16),
    /// An offer of either end in the answered call.
    Offer(bool, Offer, Fate),
    /// Both offer at once, and both are refused.
    Glare(Offer, Offer),
    /// One end refers the other, which changes nothing.
    Refer(bool),
}

#[derive(Debug, Clone)]
struct Offer {
    update: bool,
    /// Who takes a new key.
    new_keys: [bool; 2],
    direction: usize,
    /// Whether there is a second line, and what it is.
    second: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Accepted,
    /// The INVITE has no offer, its 200 has: answered in the ACK.
    Late,
    Refused(u16),
    /// Accepted, and refused on a second branch with another key.
    Twin(u16),
}

/// How the network treats a message.
#[derive(Debug, Clone, Copy, Default)]
struct Fortune {
    lost: bool,
    twice: bool,
    /// It changes places with the next one.
    late: bool,
}

/// How messages go.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// Ann and a PBX.
    Leg,
    /// The PBX calls ann.
    LegIn,
    /// Ann, a proxy, and bob.
    Proxy,
}

/// A key of an end on a line, and the generation of it: a letter each.
type Letter = char;

/// What one end says of itself.
#[derive(Debug, Clone)]
struct Side {
    host: &'static str,
    /// By line: the letter of the key in force there.
    letters: [Letter; 2],
}

/// For each direction as the caller sees it, and the medium, the letters.
type Legal = BTreeSet<(bool, &'static str, Letter)>;

/// One dialog as both ends agreed on it: for each line its medium, who may send, and the letters.
type Agreed = Vec<Option<(&'static str, [bool; 2], [Letter; 2])>>;

struct World {
    shape: Shape,
    sides: [Side; 2],
    letters: std::ops::RangeInclusive<char>,
    messages: Vec<(&'static str, &'static str, String)>,
    cseq: [u32; 2],
    branches: Vec<Agreed>,
    /// By branch: whether the caller, and the called end, holds the call.
    holds: Vec<[bool; 2]>,
    answered: Option<usize>,
    ended: Option<EndCause>,
    alerted: bool,
    /// Every letter that was agreed on, for each direction as the caller sees it, and the medium.
    legal: Legal,
    /// What was legal when each message was sent.
    legal_then: Vec<Legal>,
    /// The offers that were accepted in each branch, and the messages that prove the last: some of them have its offer,
    /// its answer, or can't do without one.
    proofs: Vec<Vec<usize>>,
    /// The messages that say each that the chosen branch answered.
    answers: Vec<usize>,
    transactions: Branches,
}

impl World {
    fn new(shape: Shape) -> Self {
        let side = |host, letters| Side { host, letters };
        let mut world = Self {
            shape,
            sides: [side("10.0.0.2", ['A', 'B']), side("10.0.0.3", ['C', 'D'])],
            letters: 'E'..='z',
            messages: Vec::new(),
            cseq: [1, 0],
            branches: Vec::new(),
            holds: Vec::new(),
            answered: None,
            ended: None,
            alerted: false,
            legal: Legal::new(),
            legal_then: Vec::new(),
            proofs: vec![Vec::new(); TAGS.len()],
            answers: Vec::new(),
            transactions: Branches::default(),
        };
        world.send(true, &Dialog { call_id: "one", b: "" }.invite(1, Some(&world.sdp(0, &[Some("audio")], 3))));
        world
    }

    fn dialog(branch: usize) -> Dialog {
        Dialog { call_id: "one", b: TAGS[branch] }
    }

    /// A message of the caller, or of the called end; a response on the branch of its request.
    fn send(&mut self, by_caller: bool, text: &str) {
        let text = self.transactions.fill(text);
        self.pass(by_caller, text);
    }

    fn pass(&mut self, by_caller: bool, text: String) {
        let (caller, called) = match self.shape {
            Shape::Leg => (ANN, PBX),
            Shape::LegIn => (PBX, ANN),
            Shape::Proxy => (ANN, BOB),
        };
        let (from, to) = if by_caller { (caller, called) } else { (called, caller) };
        match self.shape {
            Shape::Proxy => {
                self.messages.push((from, PBX, text.clone()));
                self.messages.push((PBX, to, text));
            }
            Shape::Leg | Shape::LegIn => self.messages.push((from, to, text)),
        }
        self.legal_then.resize(self.messages.len(), self.legal.clone());
    }

    /// The same, of an exchange that is accepted in this branch.
    fn send_proof(&mut self, branch: usize, by_caller: bool, text: &str) {
        let before = self.messages.len();
        self.send(by_caller, text);
        self.proofs[branch].extend(before..self.messages.len());
    }

    fn letter(&mut self) -> Letter {
        self.letters.by_ref().find(char::is_ascii_alphabetic).unwrap_or('Z')
    }

    /// What an end describes: its lines, and what it does on the first (1 sends, 2 receives, 3 both).
    fn sdp(&self, end: usize, lines: &[Option<&'static str>], does: usize) -> Sdp {
        let side = &self.sides[end];
        let line = |(i, media): (usize, &Option<&'static str>)| match media {
            None => Sdp { proto: "RTP/SAVP", ..Sdp::plain(&format!("{}:0", side.host)) },
            Some(media) => {
                let sdp = Sdp { media, ..Sdp::secure(&format!("{}:{}", side.host, 4000 + 2 * i), side.letters[i]) };
                sdp.with(["inactive", "sendonly", "recvonly", "sendrecv"][if i == 0 { does } else { 3 }])
            }
        };
        let mut all = lines.iter().enumerate().map(line);
        let first = all.next().unwrap();
        all.fold(first, Sdp::and)
    }

    /// The lines that both describe, of which the answer does what the offer lets it.
    fn agree(&mut self, offerer: usize, lines: &[Option<&'static str>], does: usize) -> Agreed {
        let agreed: Agreed = (0..lines.len())
            .map(|i| {
                let media = lines[i]?;
                let flows = if i == 0 { [does & 1 != 0, does & 2 != 0] } else { [true, true] };
                let flows = if offerer == 0 { flows } else { [flows[1], flows[0]] };
                Some((media, flows, [self.sides[0].letters[i], self.sides[1].letters[i]]))
            })
            .collect();
        for (media, _, letters) in agreed.iter().flatten() {
            self.legal.insert((true, media, letters[0]));
            self.legal.insert((false, media, letters[1]));
        }
        agreed
    }

    /// Who doesn't receive holds. Who answers does what it is asked to: it holds no more, if it was asked to receive.
    fn hold(&mut self, branch: usize, offerer: usize, does: usize) {
        self.holds[branch][offerer] = does & 2 == 0;
        if does & 1 != 0 {
            self.holds[branch][1 - offerer] = false;
        }
    }

    /// An offer and its answer, as session descriptions, with the keys that they bring.
    fn propose(&mut self, offerer: usize, offer: &Offer) -> (Sdp, Sdp, Vec<Option<&'static str>>, [Side; 2]) {
        let before = self.sides.clone();
        for end in 0..2 {
            if offer.new_keys[end] {
                self.sides[end].letters[0] = self.letter();
            }
        }
        let mut lines = vec![Some(MEDIA[0])];
        let had = self.branches.iter().map(Vec::len).max().unwrap_or(1);
        match offer.second {
            Some(media) => lines.push(Some(MEDIA[media])),
            None if had > 1 => lines.push(None),
            None => {}
        }
        // What the offerer sends the answerer receives.
        let back = [0, 2, 1, 3][offer.direction];
        let sdps = (self.sdp(offerer, &lines, offer.direction), self.sdp(1 - offerer, &lines, back));
        (sdps.0, sdps.1, lines, before)
    }

    fn next_cseq(&mut self, end: usize) -> u32 {
        self.cseq[end] += 1;
        self.cseq[end]
    }

    fn step(&mut self, step: &Step) {
        let early = self.answered.is_none();
        match step {
            Step::Early(branch) if early => {
                let branch = *branch % TAGS.len().min(self.branches.len() + 1);
                let lines = [Some("audio")];
                if branch == self.branches.len() {
                    // Each branch is another phone; only their keys differ here. All answer the one INVITE.
                    self.sides[0].letters[0] = 'A';
                    self.sides[1].letters[0] = self.letter();
                    let agreed = self.agree(0, &lines, 3);
                    self.branches.push(agreed);
                    self.holds.push([false; 2]);
                    let sdp = self.sdp(1, &lines, 3);
                    self.send(false, &Self::dialog(branch).response(183, "INVITE", true, 1, Some(&sdp)));
                } else {
                    self.send(false, &Self::dialog(branch).response(180, "INVITE", true, 1, None));
                    self.alerted = true;
                }
            }
            Step::EarlyOffer(branch, offer) if early && !self.branches.is_empty() => {
                let branch = branch % self.branches.len();
                let method = if offer.update { "UPDATE" } else { "PRACK" };
                self.restore(branch);
                let (sdp, answer, lines, _) = self.propose(0, offer);
                let cseq = self.next_cseq(0);
                self.proofs[branch].clear();
                self.send_proof(branch, true, &Self::dialog(branch).request(method, true, cseq, Some(&sdp)));
                let agreed = self.agree(0, &lines, offer.direction);
                self.branches[branch] = agreed;
                self.hold(branch, 0, offer.direction);
                self.send_proof(branch, false, &Self::dialog(branch).response(200, method, true, cseq, Some(&answer)));
            }
            Step::Answer(branch) if early => self.answer(*branch, false),
            Step::CancelAndAnswer(branch) if early => self.answer(*branch, true),
            Step::Cancel if early => {
                let dialog = Dialog { call_id: "one", b: TAGS[0] };
                self.send(true, &dialog.cancel(1));
                self.send(false, &dialog.response(200, "CANCEL", true, 1, None));
                self.ended = Some(EndCause::Cancelled);
                self.send(false, &dialog.response(487, "INVITE", true, 1, None));
                self.send(true, &dialog.ack_failure(1));
            }
            Step::Refuse(code) if early => {
                self.ended = Some(EndCause::Rejected(*code));
                self.send(false, &Self::dialog(0).response(*code, "INVITE", true, 1, None));
                self.send(true, &Self::dialog(0).ack_failure(1));
            }
            Step::Twin(code) if early => {
                let before = self.sides.clone();
                self.sides[0].letters[0] = self.letter();
                let sdp = self.sdp(0, &[Some("audio")], 3);
                self.sides = before;
                let twin = Dialog { call_id: "one", b: "twin" };
                self.twin(true, &twin.invite(1, Some(&sdp)), &twin.response(*code, "INVITE", true, 1, None));
            }
            Step::Offer(by_caller, offer, fate) => {
                let Some(branch) = self.answered else { return };
                self.offer(branch, *by_caller, offer, *fate);
            }
            Step::Glare(one, other) => {
                let Some(branch) = self.answered else { return };
                let dialog = Self::dialog(branch);
                let before = self.sides.clone();
                let (sdp, ..) = self.propose(0, one);
                let (other, ..) = self.propose(1, other);
                self.sides = before;
                let cseq = [self.next_cseq(0), self.next_cseq(1)];
                self.send(true, &dialog.request("INVITE", true, cseq[0], Some(&sdp)));
                self.send(false, &dialog.request("INVITE", false, cseq[1], Some(&other)));
                self.send(false, &dialog.response(491, "INVITE", true, cseq[0], None));
                self.send(true, &dialog.response(491, "INVITE", false, cseq[1], None));
            }
            Step::Refer(by_caller) => {
                let Some(branch) = self.answered else { return };
                let cseq = self.next_cseq(usize::from(!by_caller));
                self.send(*by_caller, &Self::dialog(branch).request("REFER", *by_caller, cseq, None));
                self.send(!by_caller, &Self::dialog(branch).response(202, "REFER", *by_caller, cseq, None));
            }
            _ => {}
        }
    }

    /// A request on a branch of its own, and its refusal.
    fn twin(&mut self, by_caller: bool, request: &str, refusal: &str) {
        let branch = format!("twin{}", self.messages.len());
        self.pass(by_caller, on_branch(request, &branch));
        self.pass(!by_caller, on_branch(refusal, &branch));
    }

    /// The keys that the ends use in this branch.
    fn restore(&mut self, branch: usize) {
        for (i, line) in self.branches[branch].clone().iter().enumerate() {
            if let Some((_, _, letters)) = line {
                self.sides[0].letters[i] = letters[0];
                self.sides[1].letters[i] = letters[1];
            }
        }
    }

    fn answer(&mut self, branch: usize, cancelled: bool) {
        let branch = branch % TAGS.len().min(self.branches.len() + 1);
        let dialog = Self::dialog(branch);
        if cancelled {
            self.send(true, &dialog.cancel(1));
        }
        let sdp = if branch == self.branches.len() {
            self.sides[0].letters[0] = 'A';
            let agreed = self.agree(0, &[Some("audio")], 3);
            self.branches.push(agreed);
            self.holds.push([false; 2]);
            Some(self.sdp(1, &[Some("audio")], 3))
        } else {
            // It said all in its provisional answers.
            None
        };
        self.restore(branch);
        self.answered = Some(branch);
        let before = self.messages.len();
        self.send(false, &dialog.response(200, "INVITE", true, 1, sdp.as_ref()));
        self.send(true, &dialog.request("ACK", true, 1, None));
        self.answers.extend(before..self.messages.len());
        // A branch that lost answers too, and is hung up on.
        let loser = (branch + 1) % TAGS.len();
        if cancelled && loser < self.branches.len() {
            self.send(false, &Self::dialog(loser).response(200, "INVITE", true, 1, None));
            self.send(true, &Self::dialog(loser).request("ACK", true, 1, None));
            self.send(true, &Self::dialog(loser).request("BYE", true, 90, None));
        }
    }

    fn offer(&mut self, branch: usize, by_caller: bool, offer: &Offer, fate: Fate) {
        let dialog = Self::dialog(branch);
        let asker = usize::from(!by_caller);
        let cseq = self.next_cseq(asker);
        let late = matches!(fate, Fate::Late);
        let method = if offer.update && !late { "UPDATE" } else { "INVITE" };
        let offerer = if late { 1 - asker } else { asker };
        let (sdp, answer, lines, before) = self.propose(offerer, offer);
        match fate {
            Fate::Refused(code) => {
                self.sides = before;
                self.send(by_caller, &dialog.request(method, by_caller, cseq, Some(&sdp)));
                self.send(!by_caller, &dialog.response(code, method, by_caller, cseq, None));
            }
            Fate::Accepted | Fate::Twin(_) => {
                self.proofs[branch].clear();
                self.send_proof(branch, by_caller, &dialog.request(method, by_caller, cseq, Some(&sdp)));
                if let Fate::Twin(code) = fate {
                    let kept = self.sides.clone();
                    self.sides[asker].letters[0] = self.letter();
                    let other = self.sdp(asker, &lines, offer.direction);
                    self.sides = kept;
                    let refusal = dialog.response(code, method, by_caller, cseq, None);
                    self.twin(by_caller, &dialog.request(method, by_caller, cseq, Some(&other)), &refusal);
                }
                self.branches[branch] = self.agree(offerer, &lines, offer.direction);
                self.hold(branch, offerer, offer.direction);
                // Of two branches of one CSeq an answer alone proves nothing.
                let answer = dialog.response(200, method, by_caller, cseq, Some(&answer));
                match fate {
                    Fate::Accepted => self.send_proof(branch, !by_caller, &answer),
                    _ => self.send(!by_caller, &answer),
                }
                if method == "INVITE" {
                    self.send(by_caller, &dialog.request("ACK", by_caller, cseq, None));
                }
            }
            Fate::Late => {
                self.proofs[branch].clear();
                self.send_proof(branch, by_caller, &dialog.request(method, by_caller, cseq, None));
                self.send_proof(branch, !by_caller, &dialog.response(200, method, by_caller, cseq, Some(&sdp)));
                self.branches[branch] = self.agree(offerer, &lines, offer.direction);
                self.hold(branch, offerer, offer.direction);
                self.send_proof(branch, by_caller, &dialog.request("ACK", by_caller, cseq, Some(&answer)));
            }
        }
    }

    fn hang_up(&mut self, by_caller: bool) {
        if self.ended.is_some() {
            return;
        }
        let Some(branch) = self.answered else { return self.step(&Step::Cancel) };
        let cseq = 100;
        self.ended = Some(EndCause::Hangup);
        self.send(by_caller, &Self::dialog(branch).request("BYE", by_caller, cseq, None));
        self.send(!by_caller, &Self::dialog(branch).response(200, "BYE", by_caller, cseq, None));
    }
}

/// What the tracker's events say, as an app would hold it.
#[derive(Default)]
struct Heard {
    state: Option<CallState>,
    open: BTreeMap<StreamId, (StreamDirection, String, Option<u32>, Option<Letter>)>,
    told: BTreeSet<StreamId>,
    over: BTreeSet<StreamId>,
    /// What was told of each stream that was on hold.
    keyed: BTreeSet<(StreamId, Letter)>,
    /// What each stream is, once it was open.
    ways: HashMap<StreamId, (StreamDirection, String)>,
    /// The generation of each letter, by stream.
    generations: HashMap<(StreamId, u32), Letter>,
}

impl Heard {
    /// Takes an event, and checks what must hold of any order of them.
    fn take(&mut self, event: &SwitchEvent) {
        assert!(!matches!(self.state, Some(CallState::Ended(_))), "after the end: {event:?}");
        match &event.body {
            EventBody::Call(state) => {
                assert_ne!(self.state, Some(*state), "twice");
                if matches!(state, CallState::Ended(_)) {
                    assert!(self.open.is_empty(), "open at the end: {:?}", self.open);
                    assert_eq!(self.told, self.over, "told of, and not told to be over");
                }
                self.state = Some(*state);
            }
            EventBody::MediaKeyed { stream, generation, keys } => {
                assert!(!self.over.contains(stream) && !self.open.contains_key(stream), "keyed: it is over, or flows");
                let letter = self.note(*stream, generation.0, keys);
                self.keyed.insert((*stream, letter));
                self.told.insert(*stream);
            }
            EventBody::MediaOpened(opened) => {
                assert!(!self.over.contains(&opened.stream), "it was over");
                let (generation, letter) = match &opened.protection {
                    Protection::Clear => (None, None),
                    Protection::Unknown { generation, .. } => (Some(generation.0), None),
                    Protection::Keyed { generation, keys, .. } => {
                        (Some(generation.0), Some(self.note(opened.stream, generation.0, keys)))
                    }
                };
                self.told.insert(opened.stream);
                self.ways.insert(opened.stream, (opened.direction, opened.media.to_string()));
                let stream = (opened.direction, opened.media.to_string(), generation, letter);
                assert!(self.open.insert(opened.stream, stream).is_none(), "opened twice");
            }
            EventBody::MediaStopped(stopped) => {
                let was = self.open.remove(&stopped.stream);
                if let Some((direction, _, generation, _)) = was {
                    assert_eq!((direction, generation), (stopped.direction, stopped.generation.map(|g| g.0)));
                } else {
                    assert_eq!(stopped.cause, StopCause::Ended, "stopped, and didn't flow");
                }
                if stopped.cause == StopCause::Ended {
                    assert!(self.over.insert(stopped.stream), "over twice");
                }
            }
        }
    }
}

impl Heard {
    /// The letter of a key. One generation has one key, and one key one generation.
    fn note(&mut self, stream: StreamId, generation: u32, keys: &KeyMaterial) -> Letter {
        let letter = char::from(keys.keys()[0].key.expose()[0]);
        let before = self.generations.insert((stream, generation), letter);
        assert!(before.is_none_or(|before| before == letter), "one generation, two keys");
        let twice = self.generations.iter().filter(|((s, _), l)| *s == stream && **l == letter);
        assert_eq!(twice.count(), 1, "one key, two generations");
        letter
    }
}

/// What each device hears, and that ids are nobody else's.
fn hear(events: &[SwitchEvent]) -> Vec<(String, Heard)> {
    let mut heard: BTreeMap<(String, u64), Heard> = BTreeMap::new();
    let mut owners: HashMap<StreamId, (String, StreamDirection)> = HashMap::new();
    for event in events {
        let device = event.device.to_string();
        let stream = match &event.body {
            EventBody::MediaOpened(opened) => Some((opened.stream, opened.direction)),
            EventBody::MediaStopped(stopped) => Some((stopped.stream, stopped.direction)),
            _ => None,
        };
        if let Some((stream, direction)) = stream {
            let owner = owners.entry(stream).or_insert((device.clone(), direction));
            assert_eq!(*owner, (device.clone(), direction), "a stream id has one owner");
        }
        heard.entry((device, event.call.id.0)).or_default().take(event);
    }
    heard.into_iter().map(|((device, _), heard)| (device, heard)).collect()
}

/// Whether the device is the caller.
fn calls(shape: Shape, device: &str) -> bool {
    shape != Shape::LegIn && device == "ann"
}

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"])
}

/// No key is in force that wasn't agreed on in its direction, on a line of its medium.
fn check_legal(world: &World, device: &str, heard: &Heard, legal: &Legal) {
    for (direction, media, _, letter) in heard.open.values() {
        let Some(letter) = letter else { continue };
        let by_caller = calls(world.shape, device) == (*direction == StreamDirection::Sent);
        assert!(legal.contains(&(by_caller, media.as_str(), *letter)), "{device} {direction:?} {media} {letter}");
    }
    for (stream, letter) in &heard.keyed {
        let way = heard.ways.get(stream).map(|(direction, media)| {
            (calls(world.shape, device) == (*direction == StreamDirection::Sent), media.as_str())
        });
        let known = |(by_caller, media, legal): &(bool, &str, Letter)| {
            legal == letter && way.is_none_or(|way| way == (*by_caller, *media))
        };
        assert!(legal.iter().any(known), "{device} keyed {way:?} {letter}");
    }
}

/// Every key that is in force is that of its branch now; of the chosen one, if that is known.
fn check_current(world: &World, device: &str, heard: &Heard, chosen: Option<usize>) {
    let branches = world.branches.iter().enumerate().filter(|(i, _)| chosen.is_none_or(|chosen| chosen == *i));
    let now = branches.flat_map(|(_, branch)| branch).flatten();
    let now: Legal = now.flat_map(|(media, _, [one, other])| [(true, *media, *one), (false, *media, *other)]).collect();
    for (direction, media, _, letter) in heard.open.values() {
        let Some(letter) = letter else { continue };
        let by_caller = calls(world.shape, device) == (*direction == StreamDirection::Sent);
        assert!(
            now.contains(&(by_caller, media.as_str(), *letter)),
            "{device} {direction:?} {media} {letter}: {now:?}"
        );
    }
}

/// The open streams are exactly those of the model.
fn check_exact(world: &World, device: &str, heard: &Heard) {
    let caller = calls(world.shape, device);
    let branches: Vec<&Agreed> = match world.answered {
        Some(branch) => vec![&world.branches[branch]],
        None => world.branches.iter().collect(),
    };
    let mut expected = Vec::new();
    for (media, flows, letters) in branches.into_iter().flatten().flatten() {
        for (from_caller, end) in [(true, 0), (false, 1)] {
            if flows[end] {
                let direction = if from_caller == caller { "sent" } else { "received" };
                expected.push(format!("{direction} {media} {}", letters[end]));
            }
        }
    }
    let mut found: Vec<String> = heard
        .open
        .values()
        .map(|(direction, media, _, letter)| {
            let direction = if *direction == StreamDirection::Sent { "sent" } else { "received" };
            format!("{direction} {media} {}", letter.unwrap_or('?'))
        })
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected, "{device}: found, expected");
    // A generation is the place of its letter among those of its stream.
    for ((stream, generation), letter) in &heard.generations {
        let before: BTreeSet<_> = heard
            .generations
            .iter()
            .filter(|((s, g), _)| s == stream && g <= generation)
            .map(|((_, g), _)| *g)
            .collect();
        assert!(before.len() <= *generation as usize, "{letter}: numbers count up");
    }
    if let Some(branch) = world.answered {
        let [by_caller, by_called] = world.holds[branch];
        let expected = match if caller { [by_caller, by_called] } else { [by_called, by_caller] } {
            [true, _] => CallState::Held,
            [false, true] => CallState::HeldByRemote,
            [false, false] => CallState::Connected,
        };
        assert_eq!(heard.state, Some(expected), "{device}");
    }
}

fn offers() -> impl Strategy<Value = Offer> {
    let second = prop_oneof![2 => Just(None), 1 => Just(Some(1)), 1 => Just(Some(0))];
    (any::<bool>(), any::<[bool; 2]>(), prop_oneof![3 => Just(3usize), 2 => 0usize..4], second)
        .prop_map(|(update, new_keys, direction, second)| Offer { update, new_keys, direction, second })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        4 => Just(Fate::Accepted),
        1 => Just(Fate::Late),
        2 => prop::sample::select(vec![488u16, 491, 487, 408, 500]).prop_map(Fate::Refused),
        1 => prop::sample::select(vec![420u16, 482, 401]).prop_map(Fate::Twin),
    ];
    let early = prop_oneof![
        3 => (0usize..3).prop_map(Step::Early),
        2 => ((0usize..3), offers()).prop_map(|(branch, offer)| Step::EarlyOffer(branch, offer)),
        1 => prop::sample::select(vec![420u16, 482, 401]).prop_map(Step::Twin),
    ];
    let last = prop_oneof![
        12 => (0usize..4).prop_map(Step::Answer),
        1 => Just(Step::Cancel),
        2 => (0usize..4).prop_map(Step::CancelAndAnswer),
        1 => prop::sample::select(vec![403u16, 486, 603]).prop_map(Step::Refuse),
    ];
    let later = prop_oneof![
        6 => (any::<bool>(), offers(), fate).prop_map(|(by_caller, offer, fate)| Step::Offer(by_caller, offer, fate)),
        1 => (offers(), offers()).prop_map(|(one, other)| Step::Glare(one, other)),
        1 => any::<bool>().prop_map(Step::Refer),
    ];
    (prop::collection::vec(early, 0..4), last, prop::collection::vec(later, 0..6)).prop_map(|(early, last, later)| {
        let mut steps = early;
        steps.push(last);
        steps.extend(later);
        steps
    })
}

fn shapes() -> impl Strategy<Value = Shape> {
    prop::sample::select(vec![Shape::Leg, Shape::LegIn, Shape::Proxy])
}

fn fortunes() -> impl Strategy<Value = Vec<Fortune>> {
    let fortune = (prop::bool::weighted(0.1), prop::bool::weighted(0.2), prop::bool::weighted(0.2))
        .prop_map(|(lost, twice, late)| Fortune { lost, twice, late });
    prop::collection::vec(fortune, 120)
}

/// Few by default; many if asked.
fn cases() -> ProptestConfig {
    let cases = if std::env::var_os("CALLGATE_LONG").is_some() { 6_000 } else { 300 };
    ProptestConfig { cases, ..ProptestConfig::with_failure_persistence(prop_persistence()) }
}

fn prop_persistence() -> proptest::test_runner::FileFailurePersistence {
    proptest::test_runner::FileFailurePersistence::Direct("tests/tracker_model.proptest-regressions")
}

proptest! {
    #![proptest_config(cases())]

    /// With a network that loses nothing the tracker knows after each step exactly what the model knows.
    #[test]
    fn r22_what_is_seen_whole_is_known_exactly(shape in shapes(), steps in steps(), by_caller in any::<bool>()) {
        let (mut lab, mut world) = (lab(), World::new(shape));
        let mut sent = 0;
        let mut deliver = |lab: &mut Lab, world: &World| {
            for (from, to, text) in &world.messages[sent..] {
                lab.send(from, to, text);
                for (device, heard) in hear(&lab.events) {
                    check_legal(world, &device, &heard, &world.legal);
                }
            }
            sent = world.messages.len();
        };
        deliver(&mut lab, &world);
        for step in &steps {
            if world.ended.is_some() {
                break;
            }
            world.step(step);
            deliver(&mut lab, &world);
            if world.ended.is_none() {
                // Nothing is overdue either.
                lab.wait(Duration::from_secs(2));
                for (device, heard) in hear(&lab.events) {
                    check_exact(&world, &device, &heard);
                }
            }
        }
        world.hang_up(by_caller);
        deliver(&mut lab, &world);
        let heard = hear(&lab.events);
        prop_assert_eq!(heard.len(), if shape == Shape::Proxy { 2 } else { 1 });
        for (_, heard) in &heard {
            prop_assert_eq!(heard.state, world.ended.map(CallState::Ended));
        }
        lab.wait(Duration::from_secs(60));
        prop_assert_eq!(lab.feed.deadline(), None);
    }

    /// Whatever the network does, no key is told that the ends didn't agree on in that direction, and all ends.
    #[test]
    fn r42b_no_loss_and_no_disorder_makes_a_wrong_key(
        shape in shapes(),
        steps in steps(),
        fortunes in fortunes(),
        by_caller in any::<bool>(),
        from in prop_oneof![3 => Just(0usize), 1 => 0usize..12],
    ) {
        let (mut lab, mut world) = (lab(), World::new(shape));
        for step in &steps {
            if world.ended.is_none() {
                world.step(step);
            }
        }
        world.hang_up(by_caller);
        let mut messages: Vec<_> = world.messages.iter().zip(&world.legal_then).skip(from).collect();
        for (i, fortune) in fortunes.iter().enumerate().take(messages.len().saturating_sub(1)) {
            if fortune.late {
                messages.swap(i, i + 1);
            }
        }
        let mut legal = Legal::new();
        for (((from, to, text), then), fortune) in messages.into_iter().zip(fortunes.iter().cycle()) {
            legal.extend(then.iter().copied().filter(|_| !fortune.lost));
            for _ in 0..usize::from(!fortune.lost) + usize::from(fortune.twice && !fortune.lost) {
                lab.send(from, to, text);
            }
            for (device, heard) in hear(&lab.events) {
                check_legal(&world, &device, &heard, &legal);
            }
        }
        lab.wait(Duration::from_secs(25 * 3600));
        lab.wait(Duration::from_secs(60));
        for (_, heard) in hear(&lab.events) {
            prop_assert!(matches!(heard.state, Some(CallState::Ended(_))), "{:?}", heard.state);
        }
        prop_assert_eq!(lab.feed.deadline(), None);
    }

    /// Where messages are lost, each key is that in use or unknown once all deadlines are over: unless all of an
    /// exchange is lost, which nobody can know.
    #[test]
    fn r42b_loss_leaves_no_old_key_in_force(shape in shapes(), steps in steps(), fortunes in fortunes()) {
        let (mut lab, mut world) = (lab(), World::new(shape));
        for step in &steps {
            if world.ended.is_none() {
                world.step(step);
            }
        }
        let (mut seen, mut copy) = (BTreeSet::new(), None);
        for (i, ((from, to, text), fortune)) in world.messages.iter().zip(fortunes.iter().cycle()).enumerate() {
            if !fortune.lost {
                seen.insert(i);
            }
            if fortune.lost {
                continue;
            }
            lab.send(from, to, text);
            if let Some((from, to, text)) = copy.take() {
                lab.send(from, to, text);
            }
            if fortune.twice && fortune.late {
                copy = Some((from, to, text));
            } else if fortune.twice {
                lab.send(from, to, text);
            }
        }
        lab.wait(Duration::from_secs(40));
        if let Some(branch) = world.answered {
            for (device, heard) in hear(&lab.events) {
                let address = if device == "ann" { ANN } else { BOB };
                let of_device = |i: &&usize| [world.messages[**i].0, world.messages[**i].1].contains(&address);
                let mut proofs = world.proofs[branch].iter().filter(of_device).peekable();
                if proofs.peek().is_none() || proofs.any(|i| seen.contains(i)) {
                    let known = world.answers.iter().filter(of_device).any(|i| seen.contains(i));
                    check_current(&world, &device, &heard, known.then_some(branch));
                }
            }
        }
    }
}
