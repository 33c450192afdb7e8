//! An app of our own: it monitors devices and keeps what it hears, as [`media`](super::media) wants it.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use callgate_sdk::client::{self, Event, Events, Session};
use tokio::{sync::watch, task::JoinHandle};

use super::{
    ClientError,
    media::{
        assemble::{AppEvent, AppEventBody, AppMedia},
        report,
    },
};
use crate::model::{CallDirection, EndCause, StreamDirection, Timestamp};

/// An app that listens.
pub(super) struct App {
    session: Session,
    devices: Vec<String>,
    /// Tells the listener up to which number of each device it has to hear.
    until: watch::Sender<Option<HashMap<String, u64>>>,
    listener: JoinHandle<Result<Vec<Event>, ClientError>>,
}

impl App {
    /// Monitors `devices`. When this returns, whatever happens on them is heard; each event is shown to `watcher` first.
    pub(super) async fn listen(
        session: Session,
        events: Events,
        devices: Vec<String>,
        watcher: impl FnMut(&Event) + Send + 'static,
    ) -> Result<Self, ClientError> {
        let (until, limit) = watch::channel(None);
        let listener = tokio::spawn(hear(events, limit, watcher));
        for device in &devices {
            session.monitor(device, &[]).await?;
        }
        Ok(Self { session, devices, until, listener })
    }

    /// Hears all that has happened until now, and closes the session.
    pub(super) async fn finish(self) -> Result<Vec<Event>, ClientError> {
        let mut numbers = HashMap::new();
        for device in self.devices {
            let snapshot = self.session.snapshot(&device).await?;
            numbers.insert(device, snapshot.number);
        }
        self.until.send_replace(Some(numbers));
        let heard = self.listener.await.map_err(|error| ClientError::Closed(error.to_string()))?;
        self.session.close().await;
        heard
    }
}

async fn hear(
    mut events: Events,
    mut limit: watch::Receiver<Option<HashMap<String, u64>>>,
    mut watcher: impl FnMut(&Event),
) -> Result<Vec<Event>, ClientError> {
    let (mut heard, mut last) = (Vec::new(), HashMap::<String, u64>::new());
    loop {
        let enough = limit.borrow_and_update().as_ref().is_some_and(|numbers| {
            numbers.iter().all(|(device, number)| last.get(device).copied().unwrap_or_default() >= *number)
        });
        if enough {
            return Ok(heard);
        }
        tokio::select! {
            event = events.next() => match event {
                Some(event) => {
                    if let Some(head) = event.head() {
                        last.insert(head.device.clone(), head.number);
                    }
                    watcher(&event);
                    heard.push(event);
                }
                None => return Err(ClientError::closed(events.closed())),
            },
            changed = limit.changed() => if changed.is_err() {
                return Ok(heard);
            },
        }
    }
}

/// An event as the account of streams wants it. `None`: it has no part in it.
pub(super) fn app_event(event: &Event) -> Option<AppEvent> {
    let head = event.head()?;
    let body = match event {
        Event::CallState(_, changed) => AppEventBody::Call {
            direction: call_direction(changed.direction),
            end: changed.cause.map(|cause| end_cause(cause, changed.sip_status)),
        },
        Event::MediaOpened(_, media) => AppEventBody::MediaOpened(app_media(media)?),
        Event::MediaStopped(..) => AppEventBody::MediaStopped,
        _ => return None,
    };
    Some(AppEvent {
        at: timestamp(head.at),
        device: head.device.clone(),
        call: head.call.id.clone(),
        sip_call_id: head.call.sip_call_id.clone(),
        body,
    })
}

/// The indicator of a stream. `None`: a later version's.
pub(super) fn indicator(indicator: client::Indicator) -> Option<report::Indicator> {
    Some(match indicator {
        client::Indicator::KeysAvailable => report::Indicator::KeysAvailable,
        client::Indicator::KeysUnavailable(_) => report::Indicator::KeysUnavailable,
        client::Indicator::NotEncrypted => report::Indicator::NotEncrypted,
        client::Indicator::UserNotAuthorized => report::Indicator::UserNotAuthorized,
        _ => return None,
    })
}

fn app_media(media: &client::MediaOpened) -> Option<AppMedia> {
    Some(AppMedia {
        stream: media.stream.clone(),
        direction: match media.direction {
            client::MediaDirection::Sent => StreamDirection::Sent,
            client::MediaDirection::Received => StreamDirection::Received,
            _ => return None,
        },
        generation: media.generation,
        destination: media.destination,
        codecs: media.codecs.clone(),
        indicator: indicator(media.indicator)?,
        suite: media.suite.clone(),
        keys: media.keys.clone(),
    })
}

fn call_direction(direction: client::CallDirection) -> CallDirection {
    match direction {
        client::CallDirection::Incoming => CallDirection::Incoming,
        client::CallDirection::Outgoing => CallDirection::Outgoing,
        _ => CallDirection::Unknown,
    }
}

fn end_cause(cause: client::EndCause, sip_status: Option<u32>) -> EndCause {
    match cause {
        client::EndCause::Cancelled => EndCause::Cancelled,
        client::EndCause::Forgotten => EndCause::Forgotten,
        client::EndCause::NotADevice => EndCause::NotADevice,
        client::EndCause::Rejected => {
            EndCause::Rejected(sip_status.and_then(|status| u16::try_from(status).ok()).unwrap_or_default())
        }
        _ => EndCause::Hangup,
    }
}

fn timestamp(at: SystemTime) -> Timestamp {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
