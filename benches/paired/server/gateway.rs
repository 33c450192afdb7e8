//! The real gateway, in the usual runtime of `callgate serve`, with a switch that reports what the load permits.

use std::{path::Path, sync::Arc, time::Instant};

use callgate::{
    audit::{LogTarget, Trail},
    cti::{LogFields, LogWriter},
    gateway::{self, Gateway, Page},
    model::{EventBatch, SwitchName},
    switch::{Running, Switch, SwitchIo},
};
use tracing_subscriber::EnvFilter;

use super::{meet, recorded::Recorded};
use crate::{
    control::Control,
    events::{Source, Subject},
    lab,
    results::Peer,
};

pub fn run(peer: Peer, folder: &Path) {
    if peer != Peer::CallgateKeysUnrecorded {
        // As `callgate serve` logs.
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new("info"))
            .with_writer(LogWriter)
            .fmt_fields(LogFields)
            .with_ansi(false)
            .init();
    }
    if matches!(peer, Peer::CallgateMeasured | Peer::CallgateKeysMeasured) {
        // As `callgate serve` records them; nobody asks for the page.
        Page::install().unwrap();
    }
    let trail: Arc<dyn Trail> = match peer {
        Peer::CallgateKeys | Peer::CallgateKeysMeasured => Arc::new(Recorded::into(folder)),
        _ => Arc::new(LogTarget),
    };
    let subject = if matches!(peer, Peer::Callgate | Peer::CallgateMeasured) { Subject::Call } else { Subject::Keys };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = gateway::Options { trail, ..gateway::Options::default() };
        let mut gateway = Gateway::start_with(lab::gateway_config(folder), options).await.unwrap();
        let control = meet(gateway.tls_address().unwrap()).await;
        gateway.attach(Box::new(Permitted { name: "bench".parse().unwrap(), control, source: Source::new(subject) }));
        gateway.switch_ended().await.unwrap().1.unwrap();
        gateway.stop().await;
    });
}

/// A switch on which happens what the load permits.
struct Permitted {
    name: SwitchName,
    control: Control,
    source: Source,
}

impl Switch for Permitted {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(mut self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(async move {
            while let Some(events) = self.control.next().await {
                let events = events.map(|_| self.source.event()).collect();
                io.events.send(EventBatch { arrived: Instant::now(), events }).await.unwrap();
            }
            Ok(())
        })
    }
}
