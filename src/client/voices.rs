//! A capture played through a gateway, and the voices of its streams as WAV files.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io::{self, BufWriter},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use callgate_sdk::media::wav::{WavError, write_voice};
use tokio::sync::mpsc;

use super::{
    ClientError,
    app::{App, app_event},
    media::{
        assemble::{Assembler, Stream},
        report::Report,
    },
    rig::Rig,
};
use crate::{
    model::SwitchName,
    switch::{
        capture::{CaptureError, Packet},
        feed::{FeedConfig, HepFeed},
        replay::{self, Replay, Speed},
        tracker::TrackerLimits,
    },
};

/// How many packets may wait for the one who collects them.
const MEDIA_QUEUE: usize = 1024;

/// So many folders of one name are told apart.
const MOST_FOLDERS: u32 = 9999;

/// Where voices go. What stands there already is never overwritten, and gets nothing beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Folder {
    /// This one: it must be empty, or not be there.
    Named(PathBuf),
    /// This one, or the first of `NAME-2`, `NAME-3` and so on that is not there.
    Numbered(PathBuf),
}

impl Folder {
    /// Looks whether it can be used, before the work is done that it is for.
    pub(super) fn check(&self) -> Result<(), ClientError> {
        let Self::Named(path) = self else { return Ok(()) };
        match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
            Ok(true) => Err(ClientError::Occupied { path: path.clone() }),
            Ok(false) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(ClientError::File { path: path.clone(), source }),
        }
    }

    /// Makes it.
    fn make(&self) -> Result<PathBuf, ClientError> {
        // A voice is for nobody else on this machine.
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        match self {
            Self::Named(path) => match builder.recursive(true).create(path) {
                Ok(()) => Ok(path.clone()),
                Err(source) => Err(ClientError::File { path: path.clone(), source }),
            },
            Self::Numbered(first) => {
                for number in 1..=MOST_FOLDERS {
                    let path = numbered(first, number);
                    match builder.create(&path) {
                        Ok(()) => return Ok(path),
                        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                        Err(source) => return Err(ClientError::File { path, source }),
                    }
                }
                Err(ClientError::Occupied { path: numbered(first, MOST_FOLDERS) })
            }
        }
    }
}

fn numbered(first: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(first);
    if number > 1 {
        name.push(format!("-{number}"));
    }
    name.into()
}

/// What became of a stream's voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voice {
    /// It stands in this file, for so many seconds.
    Written {
        /// The file.
        path: PathBuf,
        /// Its length in seconds, rounded down.
        seconds: u64,
    },
    /// There is none, and this is why.
    None(String),
}

/// A capture that was played through a gateway, as its app heard it.
#[derive(Debug)]
pub struct Heard {
    /// The account of its streams.
    pub report: Report,
    /// What became of their voices, in the same order.
    pub voices: Vec<Voice>,
    /// What went wrong with the keys of a stream, each with the stream's place in the report.
    pub troubles: Vec<(usize, String)>,
}

/// A feed's settings for a capture.
pub(super) fn feed_config(name: &SwitchName) -> FeedConfig {
    FeedConfig {
        name: name.clone(),
        pbxes: Vec::new(),
        devices: Vec::new(),
        password: None,
        first_id: crate::gateway::epoch_micros(),
        limits: TrackerLimits::default(),
    }
}

/// Plays packets through the rig's gateway, and puts the streams together that `app` has heard of.
///
/// What can be read of the capture is played; the error tells why it was not all.
pub(super) async fn play(
    rig: &mut Rig,
    app: App,
    packets: impl Iterator<Item = Result<Packet, CaptureError>> + Send + 'static,
    feed: FeedConfig,
    speed: Speed,
) -> Result<(Vec<Stream>, Option<ClientError>), ClientError> {
    let (media, mut offered) = mpsc::channel(MEDIA_QUEUE);
    let collector = tokio::spawn(async move {
        let mut heard: Vec<replay::Heard> = Vec::new();
        while let Some(one) = offered.recv().await {
            heard.push(one);
        }
        heard
    });
    let name = feed.name.clone();
    let replay = Replay::new(name, packets, HepFeed::new(feed), speed).with_media(media);
    let played = rig.play(Box::new(replay)).await;
    let heard = collector.await.map_err(|error| ClientError::Closed(error.to_string()))?;
    let events = app.finish().await?;

    let assemble = move || {
        let mut assembler = Assembler::new();
        events.iter().filter_map(app_event).for_each(|event| assembler.on_event(event));
        heard.into_iter().for_each(|one| assembler.on_heard(one));
        assembler.finish()
    };
    let streams =
        tokio::task::spawn_blocking(assemble).await.map_err(|error| ClientError::Closed(error.to_string()))?;
    Ok((streams, played.err().map(Into::into)))
}

/// Writes a WAV file for each stream that has a voice. The folder is made when the first one needs it.
pub(super) fn write(streams: Vec<Stream>, folder: &Folder) -> Result<Heard, ClientError> {
    let (mut reports, mut voices, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
    let mut made = None;
    for (i, stream) in streams.into_iter().enumerate() {
        voices.push(if stream.voice.is_empty() {
            Voice::None("no packet of it could be read".into())
        } else {
            let folder = match &mut made {
                Some(made) => &*made,
                made => made.insert(folder.make()?),
            };
            write_one(&stream, &folder.join(stream.report.file_name(i + 1)))?
        });
        troubles.extend(stream.troubles.into_iter().map(|trouble| (i, trouble)));
        reports.push(stream.report);
    }
    Ok(Heard { report: Report { streams: reports }, voices, troubles })
}

fn write_one(stream: &Stream, path: &Path) -> Result<Voice, ClientError> {
    let failed = |source| ClientError::File { path: path.into(), source };
    // Whoever else uses the folder since it was checked keeps what is there.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    match write_voice(&stream.voice, &stream.codecs, BufWriter::new(file)) {
        Ok(written) => Ok(Voice::Written { path: path.into(), seconds: written.samples / 8000 }),
        Err(error @ (WavError::NotDecodable { .. } | WavError::Silent | WavError::TooLong)) => {
            // Nothing of worth is in the file.
            let _ = fs::remove_file(path);
            Ok(Voice::None(error.to_string()))
        }
        Err(error) => Err(failed(io::Error::other(error.to_string()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_folder_is_never_one_that_is_there() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::Numbered(place.path().join("call.voices"));
        for name in ["call.voices", "call.voices-2", "call.voices-3"] {
            folder.check().unwrap();
            assert_eq!(folder.make().unwrap(), place.path().join(name));
        }
        fs::write(place.path().join("call.voices-4"), "a file").unwrap();
        assert_eq!(folder.make().unwrap(), place.path().join("call.voices-5"));
    }

    #[test]
    fn a_named_folder_is_new_or_empty() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::Named(place.path().join("new/voices"));
        folder.check().unwrap();
        let path = folder.make().unwrap();
        folder.check().unwrap();
        fs::write(path.join("01-1001-sent.wav"), "a voice").unwrap();
        let error = folder.check().unwrap_err();
        assert!(error.is_input() && error.to_string().contains("new/voices is not empty"), "{error}");
        assert!(!Folder::Named(path.join("01-1001-sent.wav")).check().unwrap_err().to_string().is_empty());
    }
}
