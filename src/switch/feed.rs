//! A feed of HEPv3 datagrams: the way from bytes to events.
//!
//! The feed owns the order of the steps: the packet is cut, secrets are moved out and overwritten in the datagram
//! itself, and only then a parser sees the text. It never waits, and no datagram can stop it: an error is counted by
//! the caller, and the next datagram is taken as if it hadn't been.

use std::time::Instant;

use super::{
    hep::{self, HepError},
    scan,
    sip::{Message, SipError},
    tracker::{Captured, Moment, Tracker, TrackerCounts, TrackerLimits},
};
use crate::model::{Address, DeviceName, Secret, SwitchEvent, SwitchName, Timestamp};

/// What a feed knows before its first datagram.
pub struct FeedConfig {
    /// The switch connector's name.
    pub name: SwitchName,
    /// Addresses that are a PBX, whatever they do.
    pub pbxes: Vec<Address>,
    /// Addresses that are devices, and their names.
    pub devices: Vec<(Address, DeviceName)>,
    /// The auth key that every datagram must carry; compared in constant time.
    pub password: Option<Secret>,
    /// Ids of calls and streams count up from here.
    pub first_id: u64,
    /// What is kept, and for how long.
    pub limits: TrackerLimits,
}

/// Why a datagram was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FeedError {
    /// The packet around the message.
    #[error("HEP: {0}")]
    Hep(#[from] HepError),
    /// The message.
    #[error("SIP: {0}")]
    Sip(#[from] SipError),
}

/// The kinds of [`FeedError`], as they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// A payload that is compressed.
    CompressedHep,
    /// A HEPv3 packet that contradicts itself or lacks something.
    MalformedHep,
    /// A SIP message that can't be read.
    MalformedSip,
    /// No HEPv3 packet.
    NotHep,
    /// No auth key, or another one than the feed's password.
    WrongPassword,
}

impl Refusal {
    /// Its name in logs, errors and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CompressedHep => "compressed HEP",
            Self::MalformedHep => "malformed HEP",
            Self::MalformedSip => "malformed SIP",
            Self::NotHep => "not HEPv3",
            Self::WrongPassword => "wrong HEP password",
        }
    }
}

impl FeedError {
    /// Its kind.
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Hep(HepError::Compressed) => Refusal::CompressedHep,
            Self::Hep(HepError::Magic) => Refusal::NotHep,
            Self::Hep(HepError::Password) => Refusal::WrongPassword,
            Self::Hep(_) => Refusal::MalformedHep,
            Self::Sip(_) => Refusal::MalformedSip,
        }
    }
}

/// What makes events of HEP datagrams. Pure: bytes and time in, events out.
pub trait Feed: Send {
    /// Takes one datagram, and overwrites the keys in it.
    ///
    /// # Errors
    /// The kind of refusal, for the count of it.
    fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        arrived: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), Refusal>;

    /// Addresses that are devices from now on, for calls that begin from now on.
    fn set_devices(&mut self, devices: &[(Address, DeviceName)]);

    /// Does what is due.
    fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>);

    /// When something is due.
    fn deadline(&self) -> Option<Instant>;

    /// How often each bound of its state was reached (R41a).
    fn bounds(&self) -> TrackerCounts {
        TrackerCounts::default()
    }
}

/// Makes events of datagrams.
pub struct HepFeed {
    password: Option<Secret>,
    tracker: Tracker,
}

impl HepFeed {
    /// A feed that has seen nothing yet.
    pub fn new(config: FeedConfig) -> Self {
        let FeedConfig { name, pbxes, devices, password, first_id, limits } = config;
        Self { password, tracker: Tracker::new(name, pbxes, devices, first_id, limits) }
    }

    /// Takes one datagram, which arrived at `arrived` by the wall clock; the packet's own time counts if it has one.
    /// Secrets in the datagram are overwritten in place, also if it is refused.
    ///
    /// # Errors
    /// [`FeedError`]: it was of no use. The feed goes on.
    pub fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        arrived: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), FeedError> {
        let packet = hep::parse(datagram, self.password.as_ref())?;
        let Some(payload) = datagram.get_mut(packet.payload.clone()) else { return Ok(()) };
        let keys = scan::redact(payload);
        // Payloads of blanks keep a connection open (RFC 5626).
        if packet.protocol != hep::SIP || payload.trim_ascii().is_empty() {
            return Ok(());
        }
        let message = Message::parse(payload, &keys)?;
        let captured = Captured {
            source: packet.source,
            destination: packet.destination,
            switch_call: packet.correlation,
            message,
        };
        let at = packet.captured.unwrap_or(arrived);
        self.tracker.on_message(captured, Moment { now, at }, out);
        Ok(())
    }

    /// Addresses that are devices from now on. Calls that have begun keep the devices that they have.
    pub fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        self.tracker.set_devices(devices.to_vec());
    }

    /// Does what is due at `now`.
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        self.tracker.on_time(now, out);
    }

    /// When [`Self::on_time`] has something to do, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.tracker.deadline()
    }

    /// How often each bound of its state was reached (R41a).
    pub fn bounds(&self) -> TrackerCounts {
        self.tracker.counts()
    }

    /// Every device that is configured, registered, or ever had a call and is still remembered.
    pub fn devices(&self) -> impl Iterator<Item = (Address, DeviceName)> {
        self.tracker.devices()
    }

    /// Every address that counts as a PBX, configured or found.
    pub fn pbxes(&self) -> Vec<Address> {
        self.tracker.pbxes()
    }
}

impl Feed for HepFeed {
    fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        arrived: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), Refusal> {
        Self::on_datagram(self, datagram, arrived, now, out).map_err(FeedError::refusal)
    }

    fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        Self::set_devices(self, devices);
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        Self::on_time(self, now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        Self::deadline(self)
    }

    fn bounds(&self) -> TrackerCounts {
        Self::bounds(self)
    }
}

impl<F: Feed + ?Sized> Feed for &mut F {
    fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        arrived: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), Refusal> {
        (**self).on_datagram(datagram, arrived, now, out)
    }

    fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        (**self).set_devices(devices);
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        (**self).on_time(now, out);
    }

    fn deadline(&self) -> Option<Instant> {
        (**self).deadline()
    }

    fn bounds(&self) -> TrackerCounts {
        (**self).bounds()
    }
}
