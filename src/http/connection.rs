//! One connection: its TLS handshake, its requests, its end.

use std::{convert::Infallible, error::Error, pin::pin, sync::Arc};

use bytes::Bytes;
use callgate_wire::v1::ErrorCode;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::counter;
use tokio::{
    net::TcpStream,
    time::{sleep_until, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

use super::{
    Peer, RequestBody, problem,
    problem::unread,
    shell::{Shared, TlsSide},
    watch::{self, Stage, Watch, Watched},
};
use crate::trust;

/// The inside of a service, as the shell needs it. An axum router is one.
pub trait Inside<B>:
    Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

impl<S, B> Inside<B> for S where
    S: Service<Request<RequestBody>, Response = Response<B>, Error = Infallible, Future: Send> + Clone + Send + 'static
{
}

/// A body that answers can have.
pub trait Answer: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static {}

impl<B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>> + Send + 'static> Answer for B {}

/// The TLS handshake. `None`: it failed, and that is counted.
pub(super) async fn shake_hands(
    shared: &Shared,
    side: &TlsSide,
    tcp: TcpStream,
    peer: std::net::SocketAddr,
) -> Option<(Box<dyn watch::Bytes>, Peer)> {
    let refuse = |code| shared.refusals.count(code, &peer.ip().to_canonical());
    let shaken = timeout(shared.limits.handshake, async {
        let mut first = [0];
        // Whoever speaks HTTP here is told so: by TLS it would understand nothing.
        if tcp.peek(&mut first).await? == 1 && first.iter().all(u8::is_ascii_uppercase) {
            let _ = tcp.try_write(&unread(StatusCode::BAD_REQUEST, ErrorCode::HandshakeFailed));
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        TlsAcceptor::from(Arc::clone(&side.config)).accept(tcp).await
    });
    match shaken.await {
        Ok(Ok(stream)) => {
            let certificate = trust::peer_identity(stream.get_ref().1, &side.ledger);
            if certificate.is_none() && stream.get_ref().1.peer_certificates().is_some() {
                // It was in the ledger a moment ago, when the handshake was verified.
                refuse(ErrorCode::CertificateNotInLedger);
                return None;
            }
            Some((Box::new(stream), Peer::Tls { address: peer, certificate }))
        }
        Ok(Err(error)) if is_gone(&error) => None,
        Ok(Err(error)) => {
            refuse(trust::refusal_io(&error));
            None
        }
        Err(_) => {
            refuse(ErrorCode::RequestTimeout);
            None
        }
    }
}

/// Serves requests until the connection ends, or its time is over, or the service stops.
pub(super) async fn serve<S: Inside<B>, B: Answer>(
    shared: Arc<Shared>,
    bytes: Box<dyn watch::Bytes>,
    peer: Peer,
    service: S,
    stop: CancellationToken,
) {
    let watch = Watch::new(shared.limits);
    let answering = service_fn({
        let (shared, watch, peer) = (Arc::clone(&shared), Arc::clone(&watch), peer.clone());
        move |request| {
            let (shared, watch, peer, service) =
                (Arc::clone(&shared), Arc::clone(&watch), peer.clone(), service.clone());
            async move {
                watch.turn(Stage::Serving);
                let answer = answer(&shared, peer, service, request).await;
                watch.turn(Stage::Answered);
                Ok::<_, Infallible>(answer)
            }
        }
    });
    let io = TokioIo::new(Watched::new(bytes, Arc::clone(&watch)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // The watch knows the time of a head from that between two requests.
        .header_read_timeout(None)
        .max_headers(shared.limits.headers)
        .max_header_size(shared.limits.head_bytes)
        .max_buf_size(shared.limits.head_bytes.max(8192))
        // Who has said all may wait for the answer.
        .half_close(true)
        .serve_connection(io, answering);
    let mut connection = pin!(connection);
    let mut stops = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = stop.cancelled(), if !stops => {
                stops = true;
                connection.as_mut().graceful_shutdown();
            }
            () = watch.sooner.notified() => {}
            () = sleep_until(watch.end()) => {
                if watch.end() > tokio::time::Instant::now() {
                    continue;
                }
                if !matches!(watch.stage(), Stage::Answered | Stage::Parting) {
                    shared.refusals.count(ErrorCode::RequestTimeout, &peer);
                }
                return;
            }
        }
    };
    match ended {
        Err(error) if error.is_parse_too_large() => shared.refusals.count(ErrorCode::BodyTooLarge, &peer),
        Err(error) if error.is_parse() => shared.refusals.count(ErrorCode::RequestNotUnderstood, &peer),
        // Who goes away is refused nothing.
        Ok(()) | Err(_) => {}
    }
}

type Answered<B> = Response<Either<B, Full<Bytes>>>;

/// What the service answers, or why it isn't asked.
async fn answer<S: Inside<B>, B: Answer>(
    shared: &Shared,
    peer: Peer,
    service: S,
    mut request: Request<Incoming>,
) -> Answered<B> {
    let most = shared.limits.body_bytes;
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > most as u64) {
        shared.refusals.count(ErrorCode::BodyTooLarge, &peer);
        let detail = format!("up to {most} bytes are allowed");
        return last(problem(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::BodyTooLarge, &detail));
    }
    request.extensions_mut().insert(peer.clone());
    let request = request.map(|body| RequestBody::new(body, most, Arc::clone(&shared.refusals), peer.clone()));
    let answered = timeout(shared.limits.request, service.oneshot(request)).await;
    let answer = match answered {
        Ok(Ok(answer)) => answer.map(Either::Left),
        Err(_) => {
            shared.refusals.count(ErrorCode::RequestTimeout, &peer);
            last(problem(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::RequestTimeout, ""))
        }
    };
    let (service, status) = (shared.service.name(), answer.status().as_str().to_owned());
    counter!("callgate_http_requests_total", "service" => service, "status" => status).increment(1);
    answer
}

/// The last answer of its connection.
fn last<B>(answer: Response<Full<Bytes>>) -> Answered<B> {
    let mut answer = answer.map(Either::Right);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Who ends the connection in the handshake may be a health check, or doesn't trust the gateway.
fn is_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}
