//! Opens a session on a connection: `Hello`, `OpenRequest`, the proof, `Opened`.

use std::io;
use std::time::Duration;

use callgate_wire::{
    VERSION,
    v1::{self, ToApp, open_request, open_result, to_app, to_gateway},
};
use rustls::InvalidMessage;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};

use super::{
    error::{OpenError, ProtocolError, Refusal},
    frames::{FrameReader, ReadError, send},
    scram::{Binding, Credentials, Scram},
};

/// What the app asks for.
pub(super) struct Wish<'a> {
    pub(super) user: &'a str,
    pub(super) instance: &'a str,
    pub(super) software: &'a str,
    pub(super) heartbeat: Duration,
    pub(super) authentication: Authentication,
}

/// How the app proves who it is.
pub(super) enum Authentication {
    Certificate,
    /// By password; with a binding besides the certificate of this TLS connection.
    Scram(Credentials, Binding),
}

/// A connection with an open session.
pub(super) struct Opened<S> {
    pub(super) reader: FrameReader<ReadHalf<S>>,
    pub(super) writer: WriteHalf<S>,
    pub(super) said: v1::Opened,
}

/// Opens a session on `stream`.
pub(super) async fn open<S>(stream: S, wish: Wish<'_>) -> Result<Opened<S>, OpenError>
where
    S: AsyncRead + AsyncWrite,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection { reader: FrameReader::new(reader), writer };
    let hello = v1::Hello { versions: vec![VERSION], features: Vec::new(), software: wish.software.to_owned() };
    match connection.ask(to_gateway::Message::Hello(hello)).await? {
        to_app::Message::Welcome(v1::Welcome { version: Some(version), .. }) if version.major == VERSION.major => {}
        to_app::Message::Welcome(welcome) => {
            return Err(ProtocolError::Version(welcome.version.map_or(0, |version| version.major)).into());
        }
        other => return Err(unexpected(other, "Welcome")),
    }

    let (scram, authentication) = match wish.authentication {
        Authentication::Certificate => (None, open_request::Authentication::Certificate(v1::CertificateAuth {})),
        Authentication::Scram(credentials, binding) => {
            let mechanism = binding.mechanism().to_owned();
            let (scram, first) = Scram::begin(credentials, binding)?;
            let auth = v1::ScramAuth { mechanism, initial_response: first.into() };
            (Some(scram), open_request::Authentication::Scram(auth))
        }
    };
    let request = v1::OpenRequest {
        user: wish.user.to_owned(),
        instance: wish.instance.to_owned(),
        heartbeat_seconds: whole_seconds(wish.heartbeat),
        authentication: Some(authentication),
    };
    let mut answer = connection.ask(to_gateway::Message::Open(request)).await?;
    let mut proof = None;
    if let Some(scram) = scram {
        if let to_app::Message::AuthChallenge(challenge) = answer {
            // A second of hashing at worst, which would keep other tasks of this thread waiting.
            let worked = tokio::task::spawn_blocking(move || scram.answer(&challenge.data)).await;
            let (scram, last) = worked.map_err(|error| OpenError::Scram(error.to_string()))??;
            proof = Some(scram);
            answer = connection.ask(to_gateway::Message::AuthResponse(v1::AuthResponse { data: last.into() })).await?;
        } else if matches!(&answer, to_app::Message::OpenResult(r) if matches!(r.result, Some(open_result::Result::Opened(_))))
        {
            // Whoever opens without the exchange has not proved anything.
            return Err(OpenError::GatewayNotAuthentic);
        }
    }
    let said = match answer {
        to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Opened(opened)) }) => opened,
        to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Refused(error)) }) => {
            return Err(OpenError::Refused(Refusal::from_wire(Some(error))));
        }
        other => return Err(unexpected(other, "OpenResult")),
    };
    if let Some(scram) = proof {
        scram.verify(&said.scram_server_final)?;
    }
    if said.heartbeat_seconds == 0 {
        return Err(ProtocolError::Value("heartbeat interval").into());
    }
    connection.reader.open();
    Ok(Opened { reader: connection.reader, writer: connection.writer, said })
}

/// What ended a connection that is not open yet. In TLS 1.3 a refused certificate shows up only here, at a read.
pub(super) fn connection_error(error: &io::Error) -> OpenError {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => OpenError::Alert(*alert),
        Some(rustls::Error::InvalidCertificate(cause)) => OpenError::GatewayCertificate(cause.clone()),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => OpenError::NotTls,
        Some(other) => OpenError::Tls(other.clone()),
        None => OpenError::ConnectionLost(error.to_string()),
    }
}

struct Connection<S> {
    reader: FrameReader<ReadHalf<S>>,
    writer: WriteHalf<S>,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    /// Sends a message and awaits the answer.
    async fn ask(&mut self, message: to_gateway::Message) -> Result<to_app::Message, OpenError> {
        // Where writing fails the gateway may have said why before: its last words are worth more than the failure.
        let sent = send(&mut self.writer, message).await;
        loop {
            match (self.reader.next().await, &sent) {
                (Ok(ToApp { message: Some(to_app::Message::Close(close)), .. }), _) => {
                    return Err(OpenError::Closed(Refusal::from_wire(close.reason)));
                }
                (Ok(ToApp { message: Some(to_app::Message::Heartbeat(_)) | None, .. }), _) => {}
                (Ok(ToApp { message: Some(message), .. }), _) => return Ok(message),
                (Err(ReadError::Frame(error)), _) => return Err(ProtocolError::Frame(error).into()),
                (Err(ReadError::Io(error)), Err(first)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(connection_error(first));
                }
                (Err(ReadError::Io(error)), _) => return Err(connection_error(&error)),
            }
        }
    }
}

fn unexpected(message: to_app::Message, expected: &'static str) -> OpenError {
    match message {
        to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Refused(error)) })
        | to_app::Message::Refusal(v1::Refusal { error: Some(error) }) => {
            OpenError::Refused(Refusal::from_wire(Some(error)))
        }
        _ => ProtocolError::Unexpected(expected).into(),
    }
}

fn whole_seconds(interval: Duration) -> u32 {
    let seconds = interval.as_secs() + u64::from(interval.subsec_nanos() > 0);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
