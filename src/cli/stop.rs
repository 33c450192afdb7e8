//! Work that can be stopped: by a signal, or because nobody hears any more.

use std::future::Future;

use anyhow::{Result, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use super::{out::Unwritten, runtime};

/// Runs `work` to its end, or until a signal or a failed answer ends it. Then all that it holds is dropped, so that its
/// temporary files are gone.
pub(super) fn run<T>(work: impl Future<Output = Result<T>>, mut unheard: mpsc::Receiver<Unwritten>) -> Result<T> {
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            done = work => done,
            Some(error) = unheard.recv() => Err(error.into()),
            _ = interrupt.recv() => bail!("stopped by SIGINT"),
            _ = terminate.recv() => bail!("stopped by SIGTERM"),
        }
    });
    // Whoever still reads a large capture on a thread of its own isn't waited for.
    runtime.shutdown_background();
    done
}
