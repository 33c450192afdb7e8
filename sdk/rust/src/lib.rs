//! The Callgate SDK: what an app needs to watch calls through a Callgate gateway, and to decrypt the media that it may
//! hear.
//!
//! - [`client`] (feature `client`) connects, opens a session, lists and monitors devices, and hears typed events.
//! - [`media`] (feature `media`) decrypts the SRTP packets of a stream with the keys that its events bring. It does no
//!   IO: packets come from wherever the app captures them.
//!
//! Both are on by default, and each works without the other.
//!
//! # The two doors
//! A gateway listens on two ports. On 2749, [`Connector::tls`], both sides prove who they are by certificate, and only
//! there keys ever come. On 2748, [`Connector::clear`], the app proves itself by password, without sending it, but
//! nothing else is secret. A connector never falls back from one to the other, and verification can't be switched off.
//!
//! # From a call to its voice
#![cfg_attr(all(feature = "client", feature = "media"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "client", feature = "media")), doc = "```ignore")]
//! use std::collections::HashMap;
//!
//! use callgate_sdk::{Connector, Event, Identity, Roots, client::EventClass, media::StreamDecryptor};
//!
//! # fn packets() -> Vec<(std::net::SocketAddr, Vec<u8>)> { Vec::new() }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let identity = Identity::from_pem(&std::fs::read("rec1.pem")?, &std::fs::read("rec1.key")?)?;
//! let roots = Roots::from_pem(&std::fs::read("ca.pem")?)?;
//! let connector = Connector::tls("cti.example.net:2749", "cti.example.net", identity, roots);
//! let (session, mut events) = connector.open("recorder", "rec1").await?;
//!
//! // Monitor before the calls begin: keys come only to who was there when their stream was first seen.
//! for device in session.devices("").await? {
//!     session.monitor(&device.name, &[EventClass::Call, EventClass::Media]).await?;
//! }
//!
//! // One decryptor per stream, found by the address that its packets go to.
//! let mut streams: HashMap<_, StreamDecryptor> = HashMap::new();
//! while let Some(event) = events.next().await {
//!     match event {
//!         Event::CallState(head, change) => println!("{}: {:?}", head.device, change.state),
//!         Event::MediaOpened(_, media) => match (&media.keys, &media.suite) {
//!             // The same event comes after a hold and after a rekey: the decryptor knows what to do with it.
//!             (Some(keys), Some(suite)) => {
//!                 let stream = streams.entry(media.destination).or_default();
//!                 stream.add_generation(media.generation, suite, keys)?;
//!             }
//!             _ => println!("{}: no keys, {:?} by {}", media.stream, media.indicator, media.rule),
//!         },
//!         Event::Gap(gap) => println!("{}: {} events were lost", gap.device, gap.missed),
//!         _ => {}
//!     }
//!     for (destination, packet) in packets() {
//!         if let Some(Ok(plain)) = streams.get_mut(&destination).map(|stream| stream.decrypt(&packet)) {
//!             println!("{} bytes of voice from {:08x}", plain.payload()?.len(), plain.ssrc);
//!         }
//!     }
//! }
//! println!("the session has ended: {:?}", events.closed());
//! # Ok(())
//! # }
//! ```
//!
//! # Keys
//! Key material lives in [`Secret`]s: memory that is wiped when the last clone is dropped, that no `Debug` shows, and
//! that only [`Secret::expose`] reaches. What TLS, the kernel and the SRTP library keep is not wiped by them. An app uses
//! a key on its stream, and doesn't store it.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "client", feature = "media")),
    allow(rustdoc::broken_intra_doc_links, reason = "the front page names both features")
)]

#[cfg(feature = "client")]
pub mod client;
mod codec;
mod keys;
#[cfg(feature = "media")]
pub mod media;
#[cfg(all(feature = "client", feature = "media"))]
pub mod record;

pub use callgate_wire as wire;
#[cfg(feature = "client")]
pub use client::{Connector, Event, Events, Identity, Roots, Session};
pub use codec::Codec;
pub use keys::{Secret, SrtpKey, SrtpKeys};

/// The example of the repository's front page, so that it compiles.
#[cfg(all(doctest, feature = "client"))]
#[doc = include_str!("../../../README.md")]
struct FrontPage;
