//! The app's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), over TLS bound to the connection (SCRAM-SHA-256-PLUS, RFC 9266). Both sides
//! prove that they know the password (R14).

use std::fmt;
use std::sync::Arc;

use callgate_wire::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, TLS_EXPORTER, TLS_EXPORTER_LEN};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS},
    prelude::{
        ChannelBindingCallback, Mechanism, Mechname, Registry, SASLClient, SASLConfig, Session, SessionError, State,
    },
    property::{AuthId, Password},
    validate::NoValidation,
};
use zeroize::Zeroizing;

use super::error::OpenError;

/// The least iteration count (RFC 7677, section 4): fewer would make the proof cheap to guess from.
const MIN_ITERATIONS: u32 = 4096;
/// The highest one: more would keep the app busy for seconds.
const MAX_ITERATIONS: u32 = 1_000_000;

static MECHANISMS: &[Mechanism] = &[SCRAM_SHA256];
static BOUND_MECHANISMS: &[Mechanism] = &[SCRAM_SHA256_PLUS];

/// User and password, prepared (RFC 4013).
#[derive(Clone)]
pub(super) struct Credentials {
    user: String,
    password: Arc<Zeroizing<String>>,
}

impl Credentials {
    pub(super) fn new(user: &str, password: &str) -> Result<Self, OpenError> {
        let prepare = |text, what| {
            stringprep::saslprep(text).map_err(|error| OpenError::Scram(format!("{what} can't be used: {error}")))
        };
        let user = prepare(user, "the user name")?.into_owned();
        let password = Arc::new(Zeroizing::new(prepare(password, "the password")?.into_owned()));
        Ok(Self { user, password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What the library asks for.
struct Answers {
    credentials: Credentials,
    is_bound: bool,
}

impl SessionCallback for Answers {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        let Credentials { user, password } = &self.credentials;
        request.satisfy::<AuthId>(user)?.satisfy::<Password>(password.as_bytes())?;
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.is_bound
    }
}

/// What the exchange is bound to, if it is: what the two ends of a TLS connection know of it.
pub(super) struct Binding(pub(super) Option<[u8; TLS_EXPORTER_LEN]>);

impl Binding {
    /// The mechanism by which it is used.
    pub(super) fn mechanism(&self) -> &'static str {
        if self.0.is_some() { SCRAM_SHA_256_PLUS } else { SCRAM_SHA_256 }
    }
}

impl ChannelBindingCallback for Binding {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_ref().filter(|_| name == TLS_EXPORTER).map(<[u8; TLS_EXPORTER_LEN]>::as_slice)
    }
}

/// One exchange, in its order: [`begin`](Self::begin), [`answer`](Self::answer), [`verify`](Self::verify).
pub(super) struct Scram(Session<NoValidation, Binding>);

impl Scram {
    /// The exchange and its client-first-message.
    pub(super) fn begin(credentials: Credentials, binding: Binding) -> Result<(Self, Vec<u8>), OpenError> {
        let answers = Answers { credentials, is_bound: binding.0.is_some() };
        let mechanisms = if answers.is_bound { BOUND_MECHANISMS } else { MECHANISMS };
        let registry = Registry::with_mechanisms(mechanisms);
        let config = SASLConfig::builder().with_registry(registry).with_callback(answers).map_err(scram)?;
        let mechanism = Mechname::parse(binding.mechanism().as_bytes()).map_err(scram)?;
        let mut session = SASLClient::with_cb(config, binding).start_suggested(&[mechanism]).map_err(scram)?;
        let mut first = Vec::new();
        session.step(None, &mut first).map_err(scram)?;
        Ok((Self(session), first))
    }

    /// The client-final-message for a server-first-message. It takes as long as the iteration count says.
    pub(super) fn answer(mut self, server_first: &[u8]) -> Result<(Self, Vec<u8>), OpenError> {
        let iterations = is_well_formed(server_first).then(|| iterations(server_first)).flatten();
        if !iterations.is_some_and(|iterations| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(&iterations)) {
            return Err(OpenError::Scram(format!(
                "the gateway names no iteration count from {MIN_ITERATIONS} to {MAX_ITERATIONS}"
            )));
        }
        let mut last = Vec::new();
        self.0.step(Some(server_first), &mut last).map_err(scram)?;
        Ok((self, last))
    }

    /// Checks the server-final-message: only who knows the password's verifier can have made it.
    pub(super) fn verify(mut self, server_final: &[u8]) -> Result<(), OpenError> {
        if !is_well_formed(server_final) {
            return Err(OpenError::GatewayNotAuthentic);
        }
        match self.0.step(Some(server_final), &mut Vec::new()) {
            Ok(State::Finished(_)) => Ok(()),
            Ok(State::Running) | Err(_) => Err(OpenError::GatewayNotAuthentic),
        }
    }
}

/// Whether a message is attributes with values (RFC 5802, section 7). The library panics on shorter ones.
fn is_well_formed(message: &[u8]) -> bool {
    message.split(|byte| *byte == b',').all(|attribute| attribute.get(1) == Some(&b'='))
}

/// The iteration count of a server-first-message: `r=...,s=...,i=4096`.
fn iterations(server_first: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(server_first).ok()?;
    text.split(',').find_map(|attribute| attribute.strip_prefix("i="))?.parse().ok()
}

fn scram(error: impl fmt::Display) -> OpenError {
    OpenError::Scram(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iteration_counts_out_of_bounds_are_refused_before_any_work() {
        for server_first in [
            "r=x,s=c2FsdA==,i=4095",
            "r=x,s=c2FsdA==,i=4294967295",
            "r=x,s=c2FsdA==",
            "i=",
            "",
            "r=x,,i=4096",
            "r=x,s,i=4096",
        ] {
            let (exchange, _) = Scram::begin(Credentials::new("u", "p").unwrap(), Binding(None)).unwrap();
            let refused = exchange.answer(server_first.as_bytes());
            assert!(matches!(refused, Err(OpenError::Scram(text)) if text.contains("iteration")), "{server_first}");
        }
    }

    #[test]
    fn a_server_final_of_any_shape_is_no_panic() {
        let server_first = |first: &[u8]| {
            let nonce = str::from_utf8(first).unwrap().split_once(",r=").unwrap().1;
            format!("r={nonce}more,s=c2FsdA==,i=4096").into_bytes()
        };
        for server_final in ["", "v", ",", "v=", "v=AA==", "e=unknown-user", "v=!,x", "=,="] {
            let (exchange, first) = Scram::begin(Credentials::new("u", "p").unwrap(), Binding(None)).unwrap();
            let (exchange, _) = exchange.answer(&server_first(&first)).unwrap();
            assert_eq!(exchange.verify(server_final.as_bytes()), Err(OpenError::GatewayNotAuthentic), "{server_final}");
        }
    }

    #[test]
    fn r20_debug_shows_no_password() {
        assert_eq!(format!("{:?}", Credentials::new("u", "secret").unwrap()), "Credentials { user: \"u\", .. }");
    }
}
