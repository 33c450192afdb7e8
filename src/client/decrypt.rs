//! `callgate decrypt`: any capture of HEP and the SRTP that it describes, played through a gateway in this process.
//!
//! The capture is looked through first: its devices are found, and the app is associated with them all. Then it is
//! played, as if it happened now, to an app that may have all keys.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use callgate_sdk::client::{Events, Session};

pub use super::voices::{Folder, Heard, Voice};
use super::{
    ClientError,
    app::App,
    rig::{Ports, Rig},
    voices,
};
use crate::{
    directory::{Device, User, UserKind},
    model::{DeviceName, Group, SwitchName, counted},
    switch::{
        capture::Capture,
        replay::{ReplayError, Speed, survey},
    },
};

const USER: &str = "decrypt";
const INSTANCE: &str = "1";

/// A capture that was decrypted as far as it can be.
#[derive(Debug)]
pub struct Decrypted {
    /// What was heard.
    pub heard: Heard,
    /// Why the capture could not be read to its end.
    pub error: Option<ClientError>,
}

/// Decrypts `capture` and writes the voices into `folder`. `progress` is told each step.
///
/// # Errors
/// [`ClientError`]: the capture can't be read at all, has no HEP, the folder is not empty, or a file can't be written.
pub async fn decrypt(
    capture: &Path,
    folder: &Folder,
    mut progress: impl FnMut(&str),
) -> Result<Decrypted, ClientError> {
    folder.check()?;
    let name: SwitchName = "capture".parse()?;
    progress("looking for devices");
    let looked = look(capture.into(), name.clone()).await?;
    if let Some(error @ (ReplayError::NoHep { .. } | ReplayError::NoUsableHep { .. })) = looked.error {
        return Err(error.into());
    }
    if looked.counts.feed.refused() > 0 || looked.counts.cut > 0 {
        // What they said is missing in the account, which doesn't show it.
        tracing::warn!("not all of the capture can be used: {}", looked.counts);
    }
    let devices = counted(looked.devices.len(), "device", "devices");
    let pbxes = counted(looked.pbxes.len(), "PBX", "PBXs");
    progress(&format!("{}; {devices}, {pbxes}", looked.counts));

    let devices = looked.devices;
    let mut rig =
        Rig::start(vec![user(&devices)?], devices.iter().cloned().map(Device::named).collect(), Ports::AnyTls).await?;
    let (session, events) = rig.open_tls(USER, INSTANCE).await?;
    let app = listen(session, events, &devices).await?;

    progress("playing the capture through the gateway");
    let feed = crate::switch::feed::FeedConfig { pbxes: looked.pbxes, ..voices::feed_config(&name) };
    let (streams, error) = voices::play(&mut rig, app, Capture::open(capture)?, feed, Speed::AtOnce).await?;
    let heard = voices::write(streams, folder)?;
    rig.stop().await;
    Ok(Decrypted { heard, error })
}

async fn listen(session: Session, events: Events, devices: &[DeviceName]) -> Result<App, ClientError> {
    let names = devices.iter().map(ToString::to_string).collect();
    App::listen(session, events, names, |_| {}).await
}

async fn look(capture: PathBuf, name: SwitchName) -> Result<crate::switch::replay::Survey, ClientError> {
    let survey =
        move || Capture::open(&capture).map(|packets| survey(packets, voices::feed_config(&name), Instant::now()));
    let looked = tokio::task::spawn_blocking(survey).await.map_err(|error| ClientError::Closed(error.to_string()))?;
    Ok(looked?)
}

/// An application user in the three groups that keys need, associated with every device.
fn user(devices: &[DeviceName]) -> Result<User, ClientError> {
    Ok(User {
        name: USER.parse()?,
        kind: UserKind::Application,
        groups: [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial].into_iter().collect(),
        devices: Arc::new(devices.iter().cloned().collect()),
        password: None,
        locked: false,
        password_on_tls: false,
        incarnation: 0,
    })
}
