//! SCRAM-SHA-256 on the clear door, and SCRAM-SHA-256-PLUS on the TLS door (R14), by `rsasl`.
//!
//! Unknown users, locked ones and users without a password go through the same steps as all others, against a verifier that no
//! password fits: the answers and the work are the same.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand::SystemRandom};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    config::SASLConfig,
    mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS, properties::ScramStoredPassword},
    mechname::Mechname,
    prelude::{ChannelBindingCallback, Mechanism, Registry, SASLServer, Session, SessionError, State, Validation},
    property::AuthId,
    validate::{Validate, ValidationError},
};

use crate::directory::{Directory, ScramVerifier};

/// The length of the salts that `callgate passwd` makes, in bytes.
const SALT_LEN: usize = 16;

/// What the two ends of a TLS connection know of it, and of no other one (RFC 9266).
pub(super) type ChannelBinding = [u8; callgate_wire::TLS_EXPORTER_LEN];

static MECHANISMS: &[Mechanism] = &[SCRAM_SHA256];
static BOUND_MECHANISMS: &[Mechanism] = &[SCRAM_SHA256_PLUS];

/// How a first message that is bound to the connection begins.
const BOUND: &[u8] = b"p=tls-exporter,";

/// One exchange: two messages of the app.
pub(super) struct Exchange {
    session: Session<Proven, Binding>,
    next: Message,
}

/// Which message of the app comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Message {
    /// The first one, which is to be bound to the connection.
    BoundFirst,
    /// The first one, of a connection to which nothing can be bound.
    First,
    Final,
    /// None: the exchange is over, and the library panics if it is asked again.
    Over,
}

/// What the exchange is bound to, if it is.
struct Binding(Option<ChannelBinding>);

impl ChannelBindingCallback for Binding {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_ref().filter(|_| name == callgate_wire::TLS_EXPORTER).map(ChannelBinding::as_slice)
    }
}

/// What a step of the exchange yields.
pub(super) enum Step {
    /// Send this, and wait for the app's next message.
    Challenge(Vec<u8>),
    /// The app knows the password: send this with the result.
    Proven(Vec<u8>),
    /// It doesn't, or it doesn't follow the protocol.
    Failed,
}

/// Makes verifiers for users that don't exist, the same for a name as long as the process lives.
#[derive(Clone)]
pub struct Decoy {
    secret: Arc<hmac::Key>,
    /// The iteration counts in use, so that a decoy's count is none of its own.
    iterations: Arc<[u32]>,
}

impl Decoy {
    /// # Errors
    /// When the system has no randomness.
    pub fn new(directory: &Directory) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { secret: Arc::new(secret), iterations: Arc::new([]) }.for_directory(directory))
    }

    /// The same for other users: a name keeps its salt.
    #[must_use]
    pub fn for_directory(&self, directory: &Directory) -> Self {
        let mut iterations: Vec<u32> =
            directory.users().filter_map(|user| user.password.as_ref().map(|password| password.iterations())).collect();
        if iterations.is_empty() {
            iterations.push(ScramVerifier::DEFAULT_ITERATIONS);
        }
        Self { secret: Arc::clone(&self.secret), iterations: iterations.into() }
    }

    fn derive(&self, purpose: &[u8], name: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(purpose);
        context.update(name.as_bytes());
        context.sign()
    }

    fn iterations(&self, name: &str) -> u32 {
        let choice =
            self.derive(b"iterations", name).as_ref().iter().fold(0usize, |sum, byte| sum + usize::from(*byte));
        self.iterations.get(choice % self.iterations.len().max(1)).copied().unwrap_or(ScramVerifier::DEFAULT_ITERATIONS)
    }
}

impl Exchange {
    /// An exchange by which the app shall prove that it is `user`; with a `binding` it is bound to that (SCRAM-SHA-256-PLUS).
    pub(super) fn new(
        directory: Arc<Directory>,
        decoy: Decoy,
        user: &str,
        binding: Option<ChannelBinding>,
    ) -> Option<Self> {
        let lookup = Lookup { directory, decoy, user: user.to_owned() };
        // One mechanism each: where the library has both it takes one for the other.
        let (mechanisms, mechanism, next) = match binding {
            Some(_) => (BOUND_MECHANISMS, callgate_wire::SCRAM_SHA_256_PLUS, Message::BoundFirst),
            None => (MECHANISMS, callgate_wire::SCRAM_SHA_256, Message::First),
        };
        let registry = Registry::with_mechanisms(mechanisms);
        let config = SASLConfig::builder().with_registry(registry).with_callback(lookup).ok()?;
        let mechanism = Mechname::parse(mechanism.as_bytes()).ok()?;
        let session = SASLServer::<Proven, _>::with_cb(config, Binding(binding)).start_suggested(mechanism).ok()?;
        Some(Self { session, next })
    }

    /// Takes a message of the app.
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        if !is_well_formed(message, std::mem::replace(&mut self.next, Message::Over)) {
            return Step::Failed;
        }
        let mut reply = Vec::new();
        match self.session.step(Some(message), &mut reply) {
            Err(_) => Step::Failed,
            Ok(State::Running) => {
                self.next = Message::Final;
                Step::Challenge(reply)
            }
            // Finished also stands for a wrong password: only a validation says that the proof was right.
            Ok(State::Finished(_)) => match self.session.validation() {
                Some(()) => Step::Proven(reply),
                None => Step::Failed,
            },
        }
    }
}

/// Marks exchanges whose proof was right.
struct Proven;

impl Validation for Proven {
    type Value = ();
}

/// Finds the verifier that the exchange is held against.
struct Lookup {
    directory: Arc<Directory>,
    decoy: Decoy,
    user: String,
}

impl SessionCallback for Lookup {
    fn callback(&self, _: &SessionData, context: &Context, request: &mut Request) -> Result<(), SessionError> {
        let name = unescaped(context.get_ref::<AuthId>().unwrap_or_default());
        let user = self.directory.user(&name).filter(|user| !user.locked);
        let verifier = user.and_then(|user| user.password.as_ref());
        let (salt, stored, server) = (
            self.decoy.derive(b"salt", &name),
            self.decoy.derive(b"stored", &name),
            self.decoy.derive(b"server", &name),
        );
        let salt = salt.as_ref().get(..SALT_LEN).unwrap_or_default();
        // The proof must be that of the user that asked to open, not of any user.
        let password = match verifier.filter(|_| name == self.user) {
            Some(known) => ScramStoredPassword::new(
                known.iterations(),
                known.salt(),
                known.stored_key().expose(),
                known.server_key().expose(),
            ),
            None => ScramStoredPassword::new(self.decoy.iterations(&name), salt, stored.as_ref(), server.as_ref()),
        };
        request.satisfy::<ScramStoredPassword<'_>>(&password)?;
        Ok(())
    }

    fn validate(&self, _: &SessionData, _: &Context, validate: &mut Validate<'_>) -> Result<(), ValidationError> {
        validate.with::<Proven, _>(|| Ok(()))?;
        Ok(())
    }
}

/// Whether a message is attributes with values (RFC 5802, section 7), after a GS2 header if it is the first. The library
/// panics on attributes that are shorter, and takes a first message that isn't bound where it has to be.
fn is_well_formed(message: &[u8], which: Message) -> bool {
    if which == Message::Over || message.starts_with(BOUND) != (which == Message::BoundFirst) {
        return false;
    }
    let is_attribute = |part: &&[u8]| part.get(1) == Some(&b'=');
    let mut parts = message.split(|byte| *byte == b',').peekable();
    let has_header = match which {
        Message::BoundFirst => parts.next().is_some(),
        Message::First => parts.next_if(|first| matches!(*first, b"n" | b"y")).is_some(),
        Message::Final | Message::Over => false,
    };
    if has_header {
        // The identity to act as may be left out.
        let _ = parts.next_if(|identity| identity.is_empty());
    }
    parts.peek().is_some() && parts.all(|part| is_attribute(&part))
}

/// A user name as SCRAM writes it (RFC 5802, 5.1), as it is.
fn unescaped(name: &str) -> String {
    name.replace("=2C", ",").replace("=3D", "=")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange() -> Exchange {
        exchange_of(None)
    }

    fn exchange_of(binding: Option<ChannelBinding>) -> Exchange {
        let directory = Arc::new(Directory::default());
        let decoy = Decoy::new(&directory).unwrap();
        Exchange::new(directory, decoy, "user", binding).unwrap()
    }

    /// What messages are made of.
    const PIECES: &[&str] = &[
        "",
        "n",
        "y",
        "p=tls-exporter",
        "p=other",
        "a=x",
        "a=",
        "a",
        "n=user",
        "n=",
        "m=x",
        "r=abc",
        "r=",
        "r",
        "c=biws",
        "c=",
        "c",
        "p=AA==",
        "p=",
        "p",
        "A=",
        "=",
        "x",
    ];

    #[test]
    fn messages_that_are_to_be_bound_are_no_panic_either() {
        for rest in ["", ",", "n", ",n", ",,", ",n=user", ",n=user,r", "x,n=a,r=b", ",m=x,n=u,r=abc"] {
            let mut exchange = exchange_of(Some([7; 32]));
            assert!(matches!(exchange.step(format!("p=tls-exporter,{rest}").as_bytes()), Step::Failed), "{rest}");
        }
        for last in ["", "c", "c=biws,r", "c=cD10bHMtZXhwb3J0ZXIsLA==,r=abc,p=AA==", "p=tls-exporter,,c=,r=,p="] {
            let mut exchange = exchange_of(Some([7; 32]));
            assert!(matches!(exchange.step(b"p=tls-exporter,,n=user,r=abc"), Step::Challenge(_)));
            assert!(matches!(exchange.step(last.as_bytes()), Step::Failed), "{last}");
        }
    }

    #[test]
    fn messages_that_the_library_panics_on_are_refused() {
        for first in ["", ",", "n", "n,", "n,,", "n,,n", "n,x,n=user,r=abc", "n,,n=user,r", "y,,,", "p=", "n,,n=user"] {
            assert!(matches!(exchange().step(first.as_bytes()), Step::Failed), "{first}");
        }
        let with_header = ["y,A=", "n,,c=biws,r=abc,p=AA==", "y"];
        for last in
            ["", "c", "c=biws,r", "c=biws,,p=", "c=biws,r=abc,p", "p=", "c=!,r=!,p=!"].iter().chain(&with_header)
        {
            let mut exchange = exchange();
            assert!(matches!(exchange.step(b"n,,n=user,r=abc"), Step::Challenge(_)));
            assert!(matches!(exchange.step(last.as_bytes()), Step::Failed), "{last}");
        }
    }

    proptest! {
        #[test]
        fn no_message_is_a_panic_or_a_proof(first in "[nyp=,acmrv!A-z]{0,40}", last in "[cnrpv=,A-z]{0,60}") {
            let mut fresh = exchange();
            prop_assert!(!matches!(fresh.step(first.as_bytes()), Step::Proven(_)));
            let mut begun = exchange();
            begun.step(b"n,,n=user,r=abc");
            prop_assert!(matches!(begun.step(last.as_bytes()), Step::Failed));
            let mut bound = exchange_of(Some([7; 32]));
            let first = format!("p=tls-exporter,{first}");
            prop_assert!(!matches!(bound.step(first.as_bytes()), Step::Proven(_)));
            let mut bound = exchange_of(Some([7; 32]));
            bound.step(b"p=tls-exporter,,n=user,r=abc");
            prop_assert!(matches!(bound.step(last.as_bytes()), Step::Failed));
        }

        /// What is made of whole attributes, and of pieces of them, in any order: it comes further than mere characters do.
        #[test]
        fn no_order_of_attributes_is_a_panic_or_a_proof(
            first in prop::collection::vec(prop::sample::select(PIECES), 0..7),
            last in prop::collection::vec(prop::sample::select(PIECES), 0..7),
        ) {
            for (binding, begin) in [(None, "n,,n=user,r=abc"), (Some([7; 32]), "p=tls-exporter,,n=user,r=abc")] {
                let mut fresh = exchange_of(binding);
                prop_assert!(!matches!(fresh.step(first.join(",").as_bytes()), Step::Proven(_)));
                prop_assert!(!matches!(fresh.step(last.join(",").as_bytes()), Step::Proven(_)));
                let mut begun = exchange_of(binding);
                prop_assert!(matches!(begun.step(begin.as_bytes()), Step::Challenge(_)));
                prop_assert!(matches!(begun.step(last.join(",").as_bytes()), Step::Failed));
            }
        }
    }
}
