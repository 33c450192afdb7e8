//! The first start: an empty store gets what the config has, once.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Actor, OpenError, Refused,
    journal::{AdminRecord, Journal, Outcome},
};
use crate::{
    directory::{Cascade, Change, Device, Directory, Of, Records, UserRecord},
    model::{DeviceName, counted},
    store::{Bucket, Expect, Store, StoreError, Urgency},
};

/// The key of [`Bucket::META`] that says that it was done.
const SEEDED: &str = "seeded";

/// What a first start finds.
#[derive(Debug, Default)]
pub struct Seed {
    /// Users and devices of the config.
    pub directory: Arc<Directory>,
    /// Devices that switches make up. Those that nobody described get no record.
    pub made_up: Arc<BTreeSet<DeviceName>>,
}

/// What a seed came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// The store has its own already: the seed was left alone.
    Before,
    /// It was empty, and has so many now.
    Now {
        /// Users.
        users: usize,
        /// Devices.
        devices: usize,
    },
}

/// Seeds the store unless that was done before. Cut anywhere, it is finished by the next start.
///
/// # Errors
/// The store can't be written, or it can't be recorded.
pub(super) async fn seed(store: &dyn Store, journal: &dyn Journal, seed: &Seed) -> Result<Seeded, OpenError> {
    if store.get(Bucket::META, SEEDED).await?.is_some() {
        return Ok(Seeded::Before);
    }
    let is_described =
        |name: &DeviceName, device: &Device| !seed.made_up.contains(name) || *device != Device::named(name.clone());
    let Records { users, devices, .. } = Records::of(&seed.directory);
    let described = seed.directory.devices().filter(|device| is_described(&device.name, device));
    let described: Vec<_> = described.filter_map(|device| devices.get_key_value(&device.name)).collect();
    if !described.is_empty() {
        // Of so many as there may be not each has a record: who may have them stands in those of the users.
        let count = counted(described.len(), "device", "devices");
        let begun = begun(journal, ("seed", "device", ""), format!("{count} of the config"))?;
        for (name, stored) in &described {
            put(store, Bucket::DEVICES, name.as_str(), &stored.record.to_value()).await?;
        }
        done(journal, begun);
    }
    for (name, stored) in &*users {
        let UserRecord { settings, password } = &*stored.record;
        let change = Change::AddUser(name.clone(), settings.clone(), password.clone());
        let known = Records { devices: Arc::clone(&devices), ..Records::default() };
        let plan = change.plan(Of::New, Cascade::Nothing, &known).map_err(|refusal| OpenError::Seed(refusal.into()))?;
        let begun = begun(journal, ("seed", "user", name.as_str()), plan.detail)?;
        put(store, Bucket::USERS, name.as_str(), &stored.record.to_value()).await?;
        done(journal, begun);
    }
    put(store, Bucket::META, SEEDED, b"1").await?;
    Ok(Seeded::Now { users: users.len(), devices: described.len() })
}

fn begun(journal: &dyn Journal, subject: (&str, &str, &str), detail: String) -> Result<AdminRecord, OpenError> {
    let begun = AdminRecord::begun(&Actor::Gateway, subject, detail).map_err(Refused::from);
    let written = begun.and_then(|begun| Ok(journal.write(&begun).map(|()| begun)?));
    written.map_err(OpenError::Seed)
}

/// It is in effect when the gateway runs.
fn done(journal: &dyn Journal, begun: AdminRecord) {
    journal.write_soon(&AdminRecord { outcome: Outcome::Done, ..begun });
}

/// What is there from a start that was cut stays as it is.
async fn put(store: &dyn Store, bucket: Bucket, key: &str, value: &[u8]) -> Result<(), StoreError> {
    match store.put(bucket, key, value, Expect::Absent, Urgency::Ordinary).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
