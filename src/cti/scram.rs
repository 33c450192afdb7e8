//! SCRAM-SHA-256 on the clear door (R14), by `rsasl`.
//!
//! Unknown users and users without a password go through the same steps as all others, against a verifier that no
//! password fits: the answers and the work are the same.

use std::sync::Arc;

use aws_lc_rs::{hmac, rand::SystemRandom};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    config::SASLConfig,
    mechanisms::scram::properties::ScramStoredPassword,
    mechname::Mechname,
    prelude::{SASLServer, Session, SessionError, State, Validation},
    property::AuthId,
    validate::{Validate, ValidationError},
};

use crate::directory::{Directory, ScramVerifier};

/// The length of the salts that `callgate passwd` makes, in bytes.
const SALT_LEN: usize = 16;

/// One exchange: two messages of the app.
pub(super) struct Exchange(Session<Proven>);

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
    /// An exchange by which the app shall prove that it is `user`.
    pub(super) fn new(directory: Arc<Directory>, decoy: Decoy, user: &str) -> Option<Self> {
        let lookup = Lookup { directory, decoy, user: user.to_owned() };
        let config = SASLConfig::builder().with_defaults().with_callback(lookup).ok()?;
        let mechanism = Mechname::parse(callgate_wire::SCRAM_SHA_256.as_bytes()).ok()?;
        SASLServer::<Proven>::new(config).start_suggested(mechanism).ok().map(Self)
    }

    /// Takes a message of the app.
    pub(super) fn step(&mut self, message: &[u8]) -> Step {
        if !is_well_formed(message) {
            return Step::Failed;
        }
        let mut reply = Vec::new();
        match self.0.step(Some(message), &mut reply) {
            Err(_) => Step::Failed,
            Ok(State::Running) => Step::Challenge(reply),
            // Finished also stands for a wrong password: only a validation says that the proof was right.
            Ok(State::Finished(_)) => match self.0.validation() {
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
        let verifier = self.directory.user(&name).and_then(|user| user.password.as_ref());
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
/// panics on attributes that are shorter.
fn is_well_formed(message: &[u8]) -> bool {
    let is_attribute = |part: &&[u8]| part.get(1) == Some(&b'=');
    let mut parts = message.split(|byte| *byte == b',').peekable();
    if parts.next_if(|first| matches!(*first, b"n" | b"y")).is_some() {
        // The identity to act as may be left out.
        let _ = parts.next_if(|identity| identity.is_empty());
    }
    let mut parts = parts.peekable();
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
        let directory = Arc::new(Directory::default());
        let decoy = Decoy::new(&directory).unwrap();
        Exchange::new(directory, decoy, "user").unwrap()
    }

    #[test]
    fn messages_that_the_library_panics_on_are_refused() {
        for first in ["", ",", "n", "n,", "n,,", "n,,n", "n,x,n=user,r=abc", "n,,n=user,r", "y,,,", "p=", "n,,n=user"] {
            assert!(matches!(exchange().step(first.as_bytes()), Step::Failed), "{first}");
        }
        for last in ["", "c", "c=biws,r", "c=biws,,p=", "c=biws,r=abc,p", "p=", "c=!,r=!,p=!"] {
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
        }
    }
}
