//! Services over HTTP: the shell that each of them listens in, and the health that they tell of.
//!
//! It owns the sockets, TLS, the networks that may connect, and every bound (R4, R5, R41a). What a request means is the
//! service's inside, a `tower::Service` such as a router: it gets requests whose head is whole and within bounds, with a
//! [`Peer`] among their extensions that says who asks. Nothing is read from an address that may not connect.

mod body;
mod connection;
mod health;
mod limits;
mod listener;
mod peer;
mod places;
mod problem;
mod refusals;
mod shell;
mod unix;
mod watch;

pub use body::RequestBody;
pub use connection::{Answer, Inside};
pub use health::{Health, Need, Part, Report, Reporter, State};
pub use limits::HttpLimits;
pub use peer::Peer;
pub use problem::problem;
pub use shell::{HttpError, HttpService, HttpSettings, TlsSide};
pub use unix::{SocketError, UnixPlace};
