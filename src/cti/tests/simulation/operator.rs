//! The administrators: the real administration over a store that goes on when it is drawn, and changes of mode as a reload
//! makes them.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use arc_swap::ArcSwap;
use callgate_wire::v1::ErrorCode;

use super::{
    deeds::Deed,
    wishes::{USERS, Wishes},
};
use crate::{
    admin::{Actor, AdminRecord, Administration, Journal, JournalClosed, Outcome, Seed},
    audit::LogTarget,
    cti::{Crowds, Current, Decoy, Entrance, LiveRights, Settings, registry::Registry},
    directory::Of,
    hub::{Certificates, Effect, HubHandle, Rights},
    model::{AllowedNetworks, Mode},
    store::{Answer, Bucket, Entry, Epoch, Export, KeyWrite, Memory, Store, StoreError, Urgency, Version, Watch},
    trust::{CertificateRecord, Fingerprint},
};

const ACTOR: Actor = Actor::Local(1000);

/// All administrators, and what they have under way.
pub(super) struct Operator {
    administration: Arc<Administration>,
    live: LiveRights,
    disk: Disk,
    log: Arc<Log>,
    under_way: Vec<UnderWay>,
    /// How many deeds were done that have records.
    recorded: usize,
}

/// A deed under way, for which somebody waits.
struct UnderWay {
    deed: Deed,
    /// Since it counts at the doors.
    version: Option<u64>,
    work: Work,
}

/// What comes of a deed: the version of the rights, and what it is said to have done.
type Work = Pin<Box<dyn Future<Output = Result<(u64, Effect), ErrorCode>>>>;

/// How a deed went on.
#[derive(Default)]
pub(super) struct Progress {
    /// It counts at the doors now, and this is what administrators want then.
    pub(super) made: Option<Wishes>,
    /// It is acknowledged: the version, and what it is said to have done.
    pub(super) acknowledged: Option<(u64, Effect)>,
    pub(super) refused: bool,
}

impl Operator {
    /// A gateway's administration, in which these wishes are made true first.
    pub(super) fn new(wishes: &Wishes, hub: HubHandle, registry: Arc<Registry>, settings: Arc<Settings>) -> Self {
        let (disk, log) = (Disk::new(), Arc::new(Log::default()));
        let (store, journal): (Arc<dyn Store>, Arc<dyn Journal>) = (Arc::new(disk.clone()), Arc::<Log>::clone(&log));
        let Poll::Ready(opened) = poll(Box::pin(Administration::open(store, journal, Seed::default())).as_mut()) else {
            panic!("the disk is idle")
        };
        let administration = Arc::new(opened.unwrap().0);
        for deed in Deed::from_nothing(wishes) {
            let (change, cascade) = deed.change().unwrap();
            let made = poll(Box::pin(administration.change(&ACTOR, &change, Of::New, cascade)).as_mut());
            assert!(matches!(made, Poll::Ready(Ok(_))), "{deed:?}: {made:?}");
        }
        for (number, certificate) in wishes.certificates.iter().enumerate() {
            let (fingerprint, record) = (fingerprint(number), certificate_of(certificate.user, number));
            let added = poll(Box::pin(administration.add_certificate(&ACTOR, fingerprint, &record)).as_mut());
            assert!(matches!(added, Poll::Ready(Ok(_))), "{added:?}");
        }
        let ledger = administration.ledger();
        let rights = Arc::new(Rights {
            version: wishes.version,
            mode: if wishes.mixed { Mode::Mixed } else { Mode::NonSecure },
            lenient_doors: wishes.lenient,
            directory: Arc::clone(&administration.state().directory),
            certificates: Certificates { known: ledger.last_read(), ledger: Some(ledger), ..Certificates::default() },
        });
        let current = Current { decoy: Decoy::new(&rights.directory).unwrap(), rights, networks: AllowedNetworks::All };
        let entrance = Entrance {
            settings,
            registry,
            current: ArcSwap::from_pointee(current),
            workers: Vec::new(),
            hub,
            epoch: 0,
            crowds: Crowds::new(1),
            trail: Arc::new(LogTarget),
        };
        let live = LiveRights::new(Arc::new(entrance), |_| ());
        administration.go_live(live.clone());
        disk.writes.store(0, Ordering::Relaxed);
        log.0.lock().unwrap().clear();
        Self { administration, live, disk, log, under_way: Vec::new(), recorded: 0 }
    }

    /// What counts at the doors.
    pub(super) fn rights(&self) -> Arc<Rights> {
        Arc::clone(&self.live.current().rights)
    }

    /// Somebody begins a deed. `number`: of the certificate, if it adds one.
    pub(super) fn begin(&mut self, deed: Deed, number: usize) {
        let (administration, live) = (Arc::clone(&self.administration), self.live.clone());
        let work: Work = match deed.clone() {
            Deed::Mode { mixed, lenient } => Box::pin(async move {
                let mode = if mixed { Mode::Mixed } else { Mode::NonSecure };
                let change = |rights: &Rights| Rights {
                    version: rights.version,
                    mode,
                    lenient_doors: lenient,
                    directory: Arc::clone(&rights.directory),
                    certificates: Certificates {
                        known: Arc::clone(&rights.certificates.known),
                        ledger: rights.certificates.ledger.clone(),
                        crls: Arc::clone(&rights.certificates.crls),
                    },
                };
                let (version, effects) = live.change(change).await;
                Ok((version, effects.all().await.unwrap()))
            }),
            Deed::Issue(user) => Box::pin(async move {
                let (fingerprint, record) = (fingerprint(number), certificate_of(user, number));
                let done = administration.add_certificate(&ACTOR, fingerprint, &record).await;
                done.map(|done| (done.rights, done.effect)).map_err(|refused| refused.code())
            }),
            Deed::Revoke(certificate) => Box::pin(async move {
                let done = administration.revoke(&ACTOR, fingerprint(certificate), "lost").await;
                done.map(|done| (done.rights, done.effect)).map_err(|refused| refused.code())
            }),
            other => Box::pin(async move {
                let (change, cascade) = other.change().unwrap();
                let done = administration.change(&ACTOR, &change, Of::Latest, cascade).await;
                done.map(|done| (done.rights, done.effect)).map_err(|refused| refused.code())
            }),
        };
        self.under_way.push(UnderWay { deed, version: None, work });
    }

    /// How many deeds are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many of them add a certificate.
    pub(super) fn issuing(&self) -> usize {
        let issues = |under_way: &&UnderWay| under_way.version.is_none() && matches!(under_way.deed, Deed::Issue(_));
        self.under_way.iter().filter(issues).count()
    }

    /// The disk has time for one more write.
    pub(super) fn disk_goes_on(&self) {
        if !self.under_way.is_empty() {
            self.disk.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The deeds that count at the doors and aren't acknowledged yet, by their places.
    pub(super) fn unacknowledged(&self) -> impl DoubleEndedIterator<Item = usize> + use<> {
        let places: Vec<usize> =
            self.under_way.iter().enumerate().filter(|(_, deed)| deed.version.is_some()).map(|(at, _)| at).collect();
        places.into_iter()
    }

    /// The work for one of the deeds goes on as far as it can. `now` is what administrators want until then.
    pub(super) fn go_on(&mut self, at: usize, now: &Wishes) -> Result<Progress, String> {
        let before = self.live.current().rights.version;
        let under_way = &mut self.under_way[at];
        let polled = poll(under_way.work.as_mut());
        let (after, deed) = (self.live.current().rights.version, &under_way.deed);
        let mut progress = Progress::default();
        if after > before {
            let made =
                deed.make(now).map_err(|code| format!("{deed:?} is done, and is to be refused with {code:?}"))?;
            if after != made.version {
                return Err(format!("{deed:?} makes version {after}, not {}", made.version));
            }
            under_way.version = Some(after);
            progress.made = Some(made);
        }
        match polled {
            Poll::Pending => {}
            Poll::Ready(Ok((version, effect))) => {
                if Some(version) != under_way.version {
                    return Err(format!("{deed:?} is acknowledged as version {version}, not {:?}", under_way.version));
                }
                self.recorded += usize::from(!matches!(deed, Deed::Mode { .. }));
                progress.acknowledged = Some((version, effect));
                self.under_way.remove(at);
            }
            Poll::Ready(Err(code)) => {
                let expected = deed.make(now).map(|wishes| wishes.version);
                if expected != Err(code) {
                    return Err(format!("{deed:?} is refused with {code:?}, and not {expected:?}"));
                }
                progress.refused = true;
                self.under_way.remove(at);
            }
        }
        Ok(progress)
    }

    /// Each deed that was done has its two records, and nothing else has any.
    pub(super) fn check_records(&self) -> Result<(), String> {
        let records = self.log.0.lock().unwrap();
        let mut done = 0;
        for (number, record) in records.iter().enumerate().filter(|(_, record)| record.outcome == Outcome::Done) {
            done += 1;
            let begun = AdminRecord { outcome: Outcome::Begun, ..record.clone() };
            if !records[..number].contains(&begun) {
                return Err(format!("it was done before it was begun: {record:?}"));
            }
        }
        if (done, records.len()) != (self.recorded, 2 * self.recorded) {
            return Err(format!(
                "{} deeds have {} records, {done} of them at their ends",
                self.recorded,
                records.len()
            ));
        }
        Ok(())
    }
}

/// SHA-256 of the certificate with this number.
pub(super) fn fingerprint(number: usize) -> Fingerprint {
    Fingerprint([u8::try_from(number).unwrap(); 32])
}

fn certificate_of(user: usize, number: usize) -> CertificateRecord {
    CertificateRecord::of(USERS[user], &number.to_string(), &format!("{number:02x}"))
}

/// Goes on with a future as far as it can. Nobody wakes it: who draws what happens next does.
fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A store whose writes wait until they are drawn.
#[derive(Debug, Clone)]
struct Disk {
    store: Memory,
    writes: Arc<AtomicUsize>,
}

impl Disk {
    /// One that has time for everything at first.
    fn new() -> Self {
        Self { store: Memory::new(), writes: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    async fn time(&self) {
        poll_fn(|_| {
            let taken = self.writes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if taken.is_ok() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Store for Disk {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.store.get(bucket, key)
    }

    /// One key after the other, as a store without transactions does it.
    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], urgency: Urgency) -> Answer<'a, Vec<Version>> {
        Box::pin(async move {
            let mut versions = Vec::new();
            for write in writes {
                self.time().await;
                versions.extend(self.store.write(std::slice::from_ref(write), urgency).await?);
            }
            Ok(versions)
        })
    }

    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>> {
        self.store.list(bucket)
    }

    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch> {
        self.store.watch(bucket)
    }

    fn epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(async { Ok::<_, StoreError>(Epoch(1)) })
    }

    fn export(&self) -> Export<'_> {
        self.store.export()
    }
}

/// A log that is never closed.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<AdminRecord>>);

impl Journal for Log {
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }

    fn write_soon(&self, record: &AdminRecord) {
        let _ = self.write(record);
    }

    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        self.write(record)
    }

    fn can_write(&self) -> bool {
        true
    }
}
