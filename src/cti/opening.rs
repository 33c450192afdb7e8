//! From the first byte to an open session (R9 to R11, R13, R14): Hello, then OpenRequest, then the SCRAM exchange.
//!
//! Pure but for the randomness that `rsasl` draws: messages in, what to do out.

use std::sync::Arc;

use callgate_wire::{
    VERSION,
    v1::{self, AuthChallenge, ErrorCode, ToGateway, Welcome, open_request::Authentication, to_app, to_gateway},
};

use super::{
    Settings, audit,
    identity::Identity,
    scram::{ChannelBinding, Decoy, Exchange, Step},
};
use crate::{
    config::Heartbeat,
    hub::Rights,
    model::{Door, InstanceId},
    policy::{Admission, Entrance, Rule, Verdict, admit},
    trust::CertificateIdentity,
};

/// Why a right password opens nothing.
const LOCKED: &str = "the user is locked";

/// A connection that isn't open yet.
pub(super) struct Opening {
    settings: Arc<Settings>,
    /// What counted when the connection came in. The door judges by what counts when it opens, and so does the worker.
    rights: Arc<Rights>,
    decoy: Decoy,
    door: Door,
    /// What the certificate says, on the TLS door.
    certificate: Option<CertificateIdentity>,
    /// What a password is bound to, on the TLS door.
    binding: Option<ChannelBinding>,
    /// What the app says of its software.
    software: String,
    state: State,
}

enum State {
    AwaitHello,
    AwaitOpen,
    AwaitProof { exchange: Box<Exchange>, asked: Asked },
    Done,
}

/// What the app asks for.
struct Asked {
    user: String,
    instance: InstanceId,
    heartbeat_seconds: u32,
}

/// What to do next.
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once, a few times a connection")]
pub(super) enum Next {
    /// Answer, and wait for the next message.
    Reply(to_app::Message),
    /// Open the session.
    Open(Admitted),
    /// Refuse: as the result of an `OpenRequest` if there was one, and close.
    Refuse(Refused),
}

/// A session may open.
pub(super) struct Admitted {
    /// Whose it is.
    pub(super) identity: Identity,
    /// By which rights.
    pub(super) rights: Arc<Rights>,
    /// The heartbeat interval in seconds.
    pub(super) heartbeat_seconds: u32,
    /// When the certificate ends, in seconds since 1970.
    pub(super) certificate_expires: Option<i64>,
    /// The last message of SCRAM, by which the app knows the gateway.
    pub(super) scram_server_final: Vec<u8>,
    /// What the app says of its software.
    pub(super) software: String,
}

/// A session may not open.
#[derive(Debug)]
pub(super) struct Refused {
    /// What the app is told.
    pub(super) code: ErrorCode,
    /// The rule that decided.
    pub(super) rule: Rule,
    /// The true reason, for the record.
    pub(super) cause: &'static str,
    /// Who it said it was.
    pub(super) user: Option<String>,
    /// Whether it answers an `OpenRequest`.
    pub(super) as_result: bool,
    /// The number of the request that it answers; 0 if it answers none.
    pub(super) reply_to: u64,
}

impl Opening {
    /// A connection that has just come in; on the TLS door with what its certificate says, and what a password is bound to.
    pub(super) fn new(
        settings: Arc<Settings>,
        rights: Arc<Rights>,
        decoy: Decoy,
        certificate: Option<CertificateIdentity>,
        binding: Option<ChannelBinding>,
    ) -> Self {
        let door = if certificate.is_some() { Door::Tls } else { Door::Clear };
        Self { settings, rights, decoy, door, certificate, binding, software: String::new(), state: State::AwaitHello }
    }

    /// Takes a message of the app.
    pub(super) fn on_message(&mut self, message: ToGateway) -> Next {
        use to_gateway::Message;
        let reply_to = message.request_id;
        let next = match (std::mem::replace(&mut self.state, State::Done), message.message) {
            (State::AwaitHello, Some(Message::Hello(hello))) => self.on_hello(&hello),
            (State::AwaitOpen, Some(Message::Open(open))) => self.on_open(open),
            (State::AwaitProof { exchange, asked }, Some(Message::AuthResponse(response))) => {
                self.on_proof(*exchange, asked, &response.data)
            }
            (_, Some(Message::Close(_))) => refuse(ErrorCode::ClosedByApp, "closed by the app", None),
            _ => refuse(ErrorCode::OutOfOrder, "a message that is not allowed before the session is open", None),
        };
        match next {
            Next::Refuse(refused) => Next::Refuse(Refused { reply_to, ..refused }),
            next => next,
        }
    }

    #[expect(clippy::unnecessary_min_or_max, reason = "this gateway's minor version is 0 only for now")]
    fn on_hello(&mut self, hello: &v1::Hello) -> Next {
        let Some(offered) = hello.versions.iter().find(|version| version.major == VERSION.major) else {
            return refuse(ErrorCode::VersionUnsupported, "no version in common", None);
        };
        self.state = State::AwaitOpen;
        self.software = audit::shortened(&hello.software).to_owned();
        let version = v1::Version { major: VERSION.major, minor: VERSION.minor.min(offered.minor) };
        Next::Reply(to_app::Message::Welcome(Welcome { version: Some(version), features: Vec::new() }))
    }

    fn on_open(&mut self, open: v1::OpenRequest) -> Next {
        let user = open.user;
        let Ok(instance) = open.instance.parse() else {
            return refuse_open(ErrorCode::InvalidInstance, "the instance is not a valid one", user);
        };
        let asked = Asked { user, instance, heartbeat_seconds: open.heartbeat_seconds };
        match (open.authentication, &self.certificate) {
            (Some(Authentication::Certificate(_)), Some(_)) => self.admit(asked, None),
            (Some(Authentication::Scram(scram)), None) if scram.mechanism == callgate_wire::SCRAM_SHA_256 => {
                self.on_scram(asked, &scram.initial_response, None)
            }
            (Some(Authentication::Scram(scram)), Some(certificate))
                if scram.mechanism == callgate_wire::SCRAM_SHA_256_PLUS =>
            {
                // Nobody tries another user's password by a certificate of its own.
                match self.binding {
                    Some(binding) if is_of(certificate, &asked) => {
                        self.on_scram(asked, &scram.initial_response, Some(binding))
                    }
                    _ => self.admit(asked, None),
                }
            }
            _ => refuse_open(
                ErrorCode::AuthenticationMethodRefused,
                "the door doesn't offer this authentication",
                asked.user,
            ),
        }
    }

    fn on_scram(&mut self, asked: Asked, initial_response: &[u8], binding: Option<ChannelBinding>) -> Next {
        let directory = Arc::clone(&self.rights.directory);
        let Some(mut exchange) = Exchange::new(directory, self.decoy.clone(), &asked.user, binding) else {
            return refuse_open(ErrorCode::Internal, "SCRAM can't be set up", asked.user);
        };
        match exchange.step(initial_response) {
            Step::Challenge(data) => {
                self.state = State::AwaitProof { exchange: Box::new(exchange), asked };
                Next::Reply(to_app::Message::AuthChallenge(AuthChallenge { data: data.into() }))
            }
            Step::Proven(_) | Step::Failed => {
                refuse_open(ErrorCode::AuthenticationFailed, "not a SCRAM client-first-message", asked.user)
            }
        }
    }

    fn on_proof(&mut self, mut exchange: Exchange, asked: Asked, proof: &[u8]) -> Next {
        match exchange.step(proof) {
            Step::Proven(server_final) => self.admit(asked, Some(server_final)),
            Step::Challenge(_) | Step::Failed => {
                let cause = match self.rights.directory.user(&asked.user) {
                    None => "unknown user",
                    Some(user) if user.locked => LOCKED,
                    Some(user) if user.password.is_none() => "the user has no password",
                    Some(_) => "wrong password",
                };
                refuse_open(ErrorCode::AuthenticationFailed, cause, asked.user)
            }
        }
    }

    /// The app has proven who it is, on the TLS door by its certificate, and by a password if there is a last message of SCRAM:
    /// may it open?
    fn admit(&mut self, asked: Asked, scram_server_final: Option<Vec<u8>>) -> Next {
        let certificate = self.certificate.take();
        let certificate_matches = certificate.as_ref().is_some_and(|certificate| is_of(certificate, &asked));
        let entrance = match self.door {
            Door::Clear => Entrance::Clear,
            Door::Tls => Entrance::Tls { certificate_matches },
        };
        let password_proven = scram_server_final.is_some();
        let user = self.rights.directory.user(&asked.user);
        let admission = Admission {
            mode: self.rights.mode,
            lenient_doors: self.rights.lenient_doors,
            groups: user.map(|user| user.groups).unwrap_or_default(),
            locked: user.is_some_and(|user| user.locked),
            password_on_tls: user.is_some_and(|user| user.password_on_tls),
            password_proven,
            entrance,
        };
        match (admit(&admission), user) {
            (Verdict::Refuse(code, rule), _) => {
                // By its password, or as the owner of its certificate, whomever it names.
                let of_another_user = |certificate: CertificateIdentity| certificate.user.as_str() != asked.user;
                let cause = match (code, certificate.map(of_another_user)) {
                    (ErrorCode::CertificateIdentityMismatch, Some(true)) => "the certificate is another user's",
                    (ErrorCode::CertificateIdentityMismatch, Some(false)) => "the certificate is another instance's",
                    _ if user.is_none() => "the user is not in the directory",
                    (ErrorCode::AuthenticationFailed, _) => LOCKED,
                    _ => "refused by policy",
                };
                Next::Refuse(Refused { code, rule, cause, user: Some(asked.user), as_result: true, reply_to: 0 })
            }
            (Verdict::Admit(_), None) => {
                refuse_open(ErrorCode::AuthenticationFailed, "the user is not in the directory", asked.user)
            }
            (Verdict::Admit(_), Some(user)) => {
                let sha256 = certificate.as_ref().map(|certificate| certificate.sha256);
                Next::Open(Admitted {
                    identity: Identity {
                        user: Arc::clone(user),
                        instance: asked.instance,
                        door: self.door,
                        password_proven,
                        certificate: sha256,
                    },
                    rights: Arc::clone(&self.rights),
                    heartbeat_seconds: agreed_heartbeat(self.settings.heartbeat, asked.heartbeat_seconds),
                    certificate_expires: certificate.map(|certificate| certificate.not_after_unix),
                    scram_server_final: scram_server_final.unwrap_or_default(),
                    software: self.software.clone(),
                })
            }
        }
    }
}

/// Whether a certificate is that of the user and instance that is asked for (R11).
fn is_of(certificate: &CertificateIdentity, asked: &Asked) -> bool {
    certificate.user.as_str() == asked.user && certificate.instance == asked.instance
}

/// The heartbeat interval for an app's wish, in seconds (R39); 0 is no wish.
fn agreed_heartbeat(range: Heartbeat, wish: u32) -> u32 {
    match wish {
        0 => range.default_seconds,
        wish => wish.max(range.min_seconds).min(range.max_seconds),
    }
}

fn refuse(code: ErrorCode, cause: &'static str, user: Option<String>) -> Next {
    let rule = Rule(callgate_wire::lookup(code).rule);
    Next::Refuse(Refused { code, rule, cause, as_result: user.is_some(), user, reply_to: 0 })
}

fn refuse_open(code: ErrorCode, cause: &'static str, user: String) -> Next {
    refuse(code, cause, Some(user))
}
