//! The words of the domain: names, calls, streams, keys, events. No IO, no clock, no randomness.

mod access;
mod address;
mod counted;
mod event;
mod id;
mod key;
mod network;
mod secret;
mod service;
mod suite;
pub mod text;

pub use access::{Door, Group, Groups, Mode, UnknownGroup};
pub use address::{Address, NoAddress, Transport};
pub use counted::counted;
pub use event::{
    CallDirection, CallRef, CallState, Codec, EndCause, EventBatch, EventBody, EventClass, MediaOpened, MediaStopped,
    Party, Protection, StopCause, StreamDirection, SwitchEvent,
};
pub use id::{
    AccountName, CallId, DeviceName, Generation, GroupName, InstanceId, LineNumber, NameError, StreamId, SwitchName,
    Timestamp, TokenName, UserName,
};
pub use key::{KeyError, KeyMaterial, MasterKey, Mki, SessionParameters};
pub use network::{AllowedNetworks, Network, NetworkError};
pub use secret::Secret;
pub use service::{SecurityLevel, Service, Strength};
pub use suite::{Cipher, Suite, UnknownSuite};
