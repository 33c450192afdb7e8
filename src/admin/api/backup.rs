//! A backup of the store, while it goes on, as a download: it has the hashes of passwords, so it is for administrators.

use std::{
    fs::File,
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::spawn_blocking,
};
use utoipa_axum::routes;

use super::{
    Api,
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::admin::{Caller, accounts::Role};

/// How many bytes are read at once.
const CHUNK: usize = 64 * 1024;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Administrator), Kind::Act, routes!(back_up))
}

/// Back up the store
///
/// All that it holds at this moment, with the hashes of passwords, for `callgate restore`. One is made at a time. It is on record
/// before it is sent. Its last line says that it is whole, so `callgate restore --check` finds one that was cut off.
#[utoipa::path(
    post, path = "/v1/backup", tag = "accounts",
    responses((status = 200, description = "The backup", body = String, content_type = "application/x-ndjson")),
)]
async fn back_up(State(api): State<Arc<Api>>, caller: Caller, headers: HeaderMap) -> Result<Response, Problem> {
    if headers.contains_key("idempotency-key") {
        return Err(Problem::bad_request("Idempotency-Key: each request makes a backup of its own, which isn't kept"));
    }
    let turn = Arc::clone(&api.backups).try_acquire_owned();
    let turn = turn.map_err(|_| Problem::busy("another backup is being made or sent"))?;
    let (file, made) = api.administration.back_up(&caller.actor).await?;
    let mut response = Response::new(Body::new(Download::of(file, made.bytes, turn)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(header::CONTENT_LENGTH, made.bytes.into());
    let name = format!("attachment; filename=\"callgate-{}.backup\"", OffsetDateTime::now_utc().date());
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// A file on its way to a client. A thread for waiting reads it, as fast as the client takes it.
struct Download {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Download {
    fn of(mut file: File, bytes: u64, turn: OwnedSemaphorePermit) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        spawn_blocking(move || {
            loop {
                let mut chunk = Vec::with_capacity(CHUNK);
                let read = Read::by_ref(&mut file).take(CHUNK as u64).read_to_end(&mut chunk);
                let is_last = !matches!(read, Ok(1..));
                let sent = match read {
                    Ok(0) => Ok(()),
                    read => sender.blocking_send(read.map(|_| chunk.into())),
                };
                // Who doesn't want more has gone.
                if is_last || sent.is_err() {
                    break;
                }
            }
            drop(turn);
        });
        Self { chunks, left: bytes }
    }
}

impl hyper::body::Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let polled = self.chunks.poll_recv(cx);
        if let Poll::Ready(Some(Ok(chunk))) = &polled {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        }
        polled.map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
