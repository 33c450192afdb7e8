//! An app whose session is there before a crowd comes, and the live feed by which it gets events meanwhile.

use std::time::Duration;

use callgate_sdk::client::{Event, Events, Session};
use tokio::{net::UdpSocket, time::timeout};

use super::{
    leaks,
    recorded::{Datagram, Recording},
    served::{Served, issue},
};

/// The switch of a gateway with such an app.
pub const FEED: &str = "kind = \"hep\"\nlisten = \"127.0.0.1:0\"";
/// No event takes as long as this.
const PATIENCE: Duration = Duration::from_secs(10);

/// It monitors a phone of a recorded call.
pub struct Held {
    session: Session,
    events: Events,
    feed: UdpSocket,
    begin: Vec<Datagram>,
    end: Vec<Datagram>,
}

impl Held {
    /// Its session, which is the recorder's first instance; the second has a certificate, too. `feed`: where the gateway
    /// listens for [`FEED`].
    pub async fn open(served: &Served, feed: &str, tls: &str) -> Self {
        let Recording { datagrams: mut begin, keys, .. } = Recording::load("asterisk22-basic");
        keys.iter().for_each(|(_, key)| leaks::watch_key(key));
        let begins_the_end = |datagram: &Datagram| datagram.bytes.windows(8).any(|bytes| bytes == b"BYE sip:");
        let end = begin.split_off(begin.iter().position(begins_the_end).unwrap());
        issue(served.folder.path(), "2");
        let (session, events) = served.recorder(tls.into()).await;
        session.monitor("1001", &[]).await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(feed).await.unwrap();
        Self { session, events, feed: socket, begin, end }
    }

    /// The call begins, and it gets the keys of both directions.
    pub async fn gets_keys(&mut self) {
        send(&self.feed, &self.begin).await;
        self.gets_two(|event| matches!(event, Event::MediaOpened(_, media) if media.keys.is_some())).await;
    }

    /// The call ends, and it hears of the end of both. Nothing was lost since its session was opened.
    pub async fn gets_the_end(mut self) {
        send(&self.feed, &self.end).await;
        self.gets_two(|event| matches!(event, Event::MediaStopped(..))).await;
        self.session.close().await;
    }

    async fn gets_two(&mut self, is_one: impl Fn(&Event) -> bool) {
        let mut found = 0;
        while found < 2 {
            let event = timeout(PATIENCE, self.events.next()).await.expect("no event comes").expect("it is closed");
            assert!(!matches!(event, Event::Gap(_)), "{event:?}");
            found += usize::from(is_one(&event));
        }
    }
}

async fn send(feed: &UdpSocket, datagrams: &[Datagram]) {
    for datagram in datagrams {
        feed.send(&datagram.bytes).await.unwrap();
    }
}
