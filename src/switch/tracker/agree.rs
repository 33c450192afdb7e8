//! What an offer and its answer agree on (RFC 3264, RFC 4568).
//!
//! The key in a party's SDP is what that party sends with. The answer's tag says which line of the offer counts, and
//! keys exist only from the answer on. If one of the two wasn't seen, or can't be read, what it would have said stays
//! unknown (R42b).

use std::{net::SocketAddr, sync::Arc};

use crate::{
    model::{Codec, KeyMaterial},
    switch::{
        sdes::{CryptoLine, Material},
        sdp::{MediaLine, MediaTransport, Sdp},
    },
};

/// What was agreed on one RTP media line: a flow each way.
pub(super) struct Agreed {
    pub(super) media: Arc<str>,
    pub(super) to_answerer: Flow,
    pub(super) to_offerer: Flow,
}

/// One direction of a media line.
pub(super) struct Flow {
    pub(super) way: Way,
    pub(super) source: Option<SocketAddr>,
    pub(super) codecs: Arc<[Codec]>,
    pub(super) secrecy: Secrecy,
}

/// Whether and where media flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To this address.
    Open(SocketAddr),
    /// Not now.
    Shut,
    /// The receiver's SDP wasn't seen: as before, for all that is known.
    Unseen,
}

/// How media are protected.
#[derive(Debug, Clone)]
pub(super) enum Secrecy {
    Clear,
    Keyed(Arc<KeyMaterial>),
    Unknown,
}

/// What offer and answer agree on, line by line; `None` for a line that isn't RTP, or is rejected: its streams are over
/// (RFC 3264, 8.2).
pub(super) fn agree(offer: Option<&Sdp>, answer: Option<&Sdp>) -> Vec<Option<Agreed>> {
    match (offer, answer) {
        (Some(offer), Some(answer)) => {
            let lines = offer.lines.iter().enumerate();
            lines.map(|(i, line)| both(line, answer.lines.get(i))).collect()
        }
        (Some(offer), None) => offer.lines.iter().map(|line| one(line, true)).collect(),
        (None, Some(answer)) => answer.lines.iter().map(|line| one(line, false)).collect(),
        (None, None) => Vec::new(),
    }
}

fn both(offer: &MediaLine, answer: Option<&MediaLine>) -> Option<Agreed> {
    if offer.transport == MediaTransport::Other {
        return None;
    }
    // A line that the answer lacks is rejected.
    let answer = answer.filter(|answer| !answer.rejected && !offer.rejected)?;
    let (by_offerer, by_answerer) = secrecy(offer, answer);
    Some(Agreed {
        media: offer.media.clone(),
        to_answerer: Flow {
            way: way(offer.direction.send, answer),
            source: usable(offer.address),
            codecs: answer.codecs.clone(),
            secrecy: by_offerer,
        },
        to_offerer: Flow {
            way: way(answer.direction.send, offer),
            source: usable(answer.address),
            codecs: common(offer, answer),
            secrecy: by_answerer,
        },
    })
}

/// Only one end's SDP was seen: what flows to it has a destination, and no known key if it is secure.
fn one(seen: &MediaLine, is_offer: bool) -> Option<Agreed> {
    if seen.transport == MediaTransport::Other || seen.rejected {
        return None;
    }
    let secrecy = if is_clear(seen) { Secrecy::Clear } else { Secrecy::Unknown };
    let to_seen = Flow { way: way(true, seen), source: None, codecs: seen.codecs.clone(), secrecy: secrecy.clone() };
    let to_unseen = Flow { way: Way::Unseen, source: usable(seen.address), codecs: seen.codecs.clone(), secrecy };
    let (to_answerer, to_offerer) = if is_offer { (to_unseen, to_seen) } else { (to_seen, to_unseen) };
    Some(Agreed { media: seen.media.clone(), to_answerer, to_offerer })
}

/// Whether nothing but clear media can come of this end's line.
pub(super) fn is_clear(line: &MediaLine) -> bool {
    line.transport == MediaTransport::Plain && line.crypto.is_empty() && !line.fingerprint
}

fn way(sends: bool, receiver: &MediaLine) -> Way {
    match usable(receiver.address) {
        Some(destination) if sends && receiver.direction.receive => Way::Open(destination),
        _ => Way::Shut,
    }
}

/// An address of zeros is no address, but a hold (RFC 2543).
fn usable(address: Option<SocketAddr>) -> Option<SocketAddr> {
    address.filter(|address| !address.ip().is_unspecified())
}

/// How what the offerer and what the answerer sends is protected.
fn secrecy(offer: &MediaLine, answer: &MediaLine) -> (Secrecy, Secrecy) {
    use MediaTransport::{Dtls, Secure};

    let unknown = (Secrecy::Unknown, Secrecy::Unknown);
    let one_is = |transport| offer.transport == transport || answer.transport == transport;
    // What both ends are ready for may key the media, whatever crypto lines stand there as well.
    if one_is(Dtls) || offer.fingerprint && answer.fingerprint {
        return unknown;
    }
    if answer.crypto.is_empty() {
        let secure = one_is(Secure);
        return if secure { unknown } else { (Secrecy::Clear, Secrecy::Clear) };
    }
    let accepted = answer.accepted();
    let chosen = accepted.and_then(|line| offer.tagged(line.tag?));
    let (Some(accepted), Some(chosen)) = (accepted, chosen) else { return unknown };
    if accepted.suite.is_none() || accepted.suite != chosen.suite {
        return unknown;
    }
    match (&chosen.material, &accepted.material) {
        (Material::Clear, Material::Clear) => (Secrecy::Clear, Secrecy::Clear),
        // UNENCRYPTED_SRTP is negotiated: only if both say so is it agreed (RFC 4568, 6.3.2).
        (Material::Clear, _) | (_, Material::Clear) => unknown,
        // So is UNAUTHENTICATED_SRTP, which changes where a packet's payload ends (6.3.3).
        (Material::Known(chosen), Material::Known(accepted))
            if chosen.parameters().unauthenticated_srtp != accepted.parameters().unauthenticated_srtp =>
        {
            unknown
        }
        _ => (keyed(chosen), keyed(accepted)),
    }
}

fn keyed(line: &CryptoLine) -> Secrecy {
    match &line.material {
        Material::Known(keys) => Secrecy::Keyed(keys.clone()),
        Material::Clear | Material::Unusable => Secrecy::Unknown,
    }
}

/// The offer's payload formats that the answer has too, by the numbers of the offer.
fn common(offer: &MediaLine, answer: &MediaLine) -> Arc<[Codec]> {
    let same = |a: &Codec, b: &Codec| a.name.eq_ignore_ascii_case(&b.name) && a.clock_rate == b.clock_rate;
    // In the answer's order of preference, which is what counts from here on.
    let found = answer.codecs.iter().filter_map(|codec| {
        let mut offered = offer.codecs.iter();
        let exact = offered.clone().find(|c| same(c, codec) && c.payload_type == codec.payload_type);
        exact.or_else(|| offered.find(|c| same(c, codec)))
    });
    found.cloned().collect()
}
