//! Where a connector that can do nothing for its devices answers commands, whatever else it waits for.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Command, CommandError};
use crate::model::SwitchName;

/// Refuses every command.
pub(super) struct Desk {
    name: SwitchName,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
}

impl Desk {
    pub(super) fn new(name: SwitchName, commands: mpsc::Receiver<Command>, stop: CancellationToken) -> Self {
        Self { name, commands, stop }
    }

    /// Waits for `work`; `None` when it is time to stop.
    pub(super) async fn while_waiting<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                Some(command) = self.commands.recv() => refuse(&self.name, command),
                done = &mut work => return Some(done),
            }
        }
    }

    pub(super) fn refuse_waiting(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            refuse(&self.name, command);
        }
    }

    /// The switch's name.
    pub(super) fn name(&self) -> &SwitchName {
        &self.name
    }
}

fn refuse(switch: &SwitchName, command: Command) {
    let refusal = CommandError::Unsupported { switch: switch.clone(), action: command.action.name() };
    // Who asked may be gone by now.
    let _ = command.answer.send(Err(refusal));
}
