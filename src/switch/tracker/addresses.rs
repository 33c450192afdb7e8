//! What was seen of addresses.
//!
//! Memory is bounded (R41a), each standing by itself: what anyone can cause by one message never makes a registration
//! go. Of each standing the address that was silent longest goes first.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::model::Address;

/// How well an address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// It took part in a dialog.
    Plain,
    /// It was found to be a PBX.
    Pbx,
    /// It registered, or was registered.
    Registered,
}

/// How well it is proven that an address is a PBX.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Proof {
    /// A phone of an unusual kind may do the same.
    Weak,
    /// No phone does.
    Strong,
}

/// Where an address is in the order of forgetting.
type Place = (Standing, u64);

/// How often it is looked for what is to be forgotten, in the time after which that is: what lasts longer is passed over
/// each time.
const LOOKS: u32 = 256;

/// How many standings there are.
const STANDINGS: usize = 3;

#[derive(Debug)]
pub(super) struct Addresses {
    seen: HashMap<Address, Seen>,
    /// The order of forgetting within each standing.
    order: [BTreeMap<u64, Address>; STANDINGS],
    clock: u64,
    /// The latest moment that was heard of.
    latest: Option<Instant>,
    /// When it was last looked for what is to be forgotten.
    looked: Option<Instant>,
    /// How many of each standing are kept.
    max: [usize; STANDINGS],
    /// How many of each standing made room.
    pub(super) displaced: [u64; STANDINGS],
}

/// What was seen of one address.
#[derive(Debug)]
pub(super) struct Seen {
    place: Place,
    touched: Instant,
    /// It sent a REGISTER that was answered: it is a device until then.
    pub(super) registered: Option<Instant>,
    /// It was such a source once: nobody else may bind it.
    pub(super) was_source: bool,
    /// A number for the user that it registered last.
    pub(super) user: Option<u64>,
    /// The Contact that it registered last.
    pub(super) contact: Option<Address>,
    /// It is the Contact of a REGISTER that was answered.
    pub(super) bound: Option<Bound>,
    /// It answered a REGISTER.
    pub(super) registrar: bool,
    /// It was found to be a PBX by something else.
    pub(super) pbx: Option<Proof>,
    /// It had a call as a device.
    pub(super) was_device: bool,
    /// The answered dialogs that it had, and with whom.
    pub(super) peers: Vec<(Address, u64)>,
}

/// A Contact of a REGISTER.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Who registered it.
    pub(super) by: Address,
    /// Whether both are one device. An edge registers others.
    pub(super) same_device: bool,
    pub(super) until: Instant,
}

impl Seen {
    pub(super) fn is_registered(&self, now: Instant) -> bool {
        self.registered.is_some_and(|until| now < until)
    }

    pub(super) fn bound(&self, now: Instant) -> Option<Bound> {
        self.bound.filter(|bound| now < bound.until)
    }
}

impl Addresses {
    pub(super) fn new(max: usize, max_pbxes: usize) -> Self {
        Self {
            seen: HashMap::new(),
            order: Default::default(),
            clock: 0,
            latest: None,
            looked: None,
            max: [max, max_pbxes, max].map(|max| max.max(1)),
            displaced: [0; STANDINGS],
        }
    }

    pub(super) fn get(&self, address: Address) -> Option<&Seen> {
        self.seen.get(&address)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Address, &Seen)> {
        self.seen.iter().map(|(address, seen)| (*address, seen))
    }

    /// The latest moment that was heard of.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.latest
    }

    /// The record of `address`, which is now the youngest of its standing.
    pub(super) fn touch(&mut self, address: Address, now: Instant) -> &mut Seen {
        self.clock += 1;
        self.latest = Some(now);
        if !self.seen.contains_key(&address) {
            self.make_room(Standing::Plain);
        }
        let place = (Standing::Plain, self.clock);
        let seen = self.seen.entry(address).or_insert_with(|| Seen {
            place,
            touched: now,
            registered: None,
            was_source: false,
            user: None,
            contact: None,
            bound: None,
            registrar: false,
            pbx: None,
            was_device: false,
            peers: Vec::new(),
        });
        let order = place_of(&mut self.order, seen.place.0);
        order.remove(&seen.place.1);
        order.insert(self.clock, address);
        seen.place.1 = self.clock;
        seen.touched = now;
        seen
    }

    /// Lifts `address` to `standing`, if it isn't there or above.
    pub(super) fn promote(&mut self, address: Address, standing: Standing) {
        if self.seen.get(&address).is_none_or(|seen| seen.place.0 >= standing) {
            return;
        }
        self.make_room(standing);
        if let Some(seen) = self.seen.get_mut(&address) {
            let (before, since) = seen.place;
            seen.place.0 = standing;
            place_of(&mut self.order, before).remove(&since);
            place_of(&mut self.order, standing).insert(since, address);
        }
    }

    /// Forgets addresses that were silent for `after`, and aren't registered or bound any more. It may take a little
    /// longer, since it looks for them only from time to time.
    pub(super) fn forget(&mut self, after: Duration, now: Instant) {
        self.latest = Some(now);
        let looked = self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < after / LOOKS);
        if looked {
            return;
        }
        self.looked = Some(now);
        let Self { seen, order, .. } = self;
        for order in order {
            let silent = |address: &Address| {
                seen.get(address).is_none_or(|seen| now.saturating_duration_since(seen.touched) > after)
            };
            let over = |address: &Address| {
                seen.get(address).is_none_or(|seen| !seen.is_registered(now) && seen.bound(now).is_none())
            };
            let silent = order.iter().take_while(|(_, address)| silent(address));
            let gone: Vec<_> = silent.filter(|(_, address)| over(address)).map(|(place, _)| *place).collect();
            for place in gone {
                if let Some(address) = order.remove(&place) {
                    seen.remove(&address);
                }
            }
        }
    }

    /// Makes room for one more of `standing`.
    fn make_room(&mut self, standing: Standing) {
        let (max, order) = (*place_of(&mut self.max, standing), place_of(&mut self.order, standing));
        if order.len() >= max
            && let Some((_, oldest)) = order.pop_first()
        {
            *place_of(&mut self.displaced, standing) += 1;
            self.seen.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.seen.len(), self.order.iter().map(BTreeMap::len).sum())
    }
}

fn place_of<T>(each: &mut [T; STANDINGS], standing: Standing) -> &mut T {
    let [plain, pbxes, registered] = each;
    match standing {
        Standing::Plain => plain,
        Standing::Pbx => pbxes,
        Standing::Registered => registered,
    }
}
