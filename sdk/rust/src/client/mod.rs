//! Connections to a gateway: open a session, list and monitor devices, hear their events.
//!
//! Owns the connection and one task per session. It never falls back from one door to the other (R36), never skips
//! verification, and never writes key material anywhere (R20). **Keys in events are wiped when their last clone is
//! dropped**; what TLS and the kernel buffer is not.

mod connect;
mod convert;
mod driver;
mod error;
mod event;
mod frames;
mod gap;
mod handshake;
mod scram;
mod session;
mod tls;

pub use connect::{Connector, DEFAULT_EVENT_QUEUE, DEFAULT_TIMEOUT};
pub use error::{Closed, FileError, OpenError, PemError, ProtocolError, Refusal, RequestError};
pub use event::{
    CallDirection, CallRef, CallSecurity, CallSnapshot, CallState, CallStateChanged, CapabilityChange,
    CapabilityChanged, CertificateExpires, Device, DeviceOutOfService, EndCause, Event, EventClass, EventHead, Gap,
    GatewayLeaving, Indicator, Line, MediaDirection, MediaOpened, MediaStopped, Party, Snapshot, StopCause,
    UnavailableReason,
};
pub use session::{DevicePage, Events, Limits, Session};
pub use tls::{Identity, Roots};

use convert::open_enum;

pub use crate::codec::Codec;
