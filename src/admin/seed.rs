//! The first start: an empty store gets what the config has, once.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    directory::{Device, Directory, Records},
    model::DeviceName,
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
/// The store can't be written.
pub(super) async fn seed(store: &dyn Store, seed: &Seed) -> Result<Seeded, StoreError> {
    if store.get(Bucket::META, SEEDED).await?.is_some() {
        return Ok(Seeded::Before);
    }
    let is_described =
        |name: &DeviceName, device: &Device| !seed.made_up.contains(name) || *device != Device::named(name.clone());
    let records = Records::of(&seed.directory);
    let (mut users, mut devices) = (0, 0);
    for device in seed.directory.devices().filter(|device| is_described(&device.name, device)) {
        let Some(stored) = records.devices.get(&device.name) else { continue };
        put(store, Bucket::DEVICES, device.name.as_str(), &stored.record.to_value()).await?;
        devices += 1;
    }
    for (name, stored) in &*records.users {
        put(store, Bucket::USERS, name.as_str(), &stored.record.to_value()).await?;
        users += 1;
    }
    put(store, Bucket::META, SEEDED, b"1").await?;
    Ok(Seeded::Now { users, devices })
}

/// What is there from a start that was cut stays as it is.
async fn put(store: &dyn Store, bucket: Bucket, key: &str, value: &[u8]) -> Result<(), StoreError> {
    match store.put(bucket, key, value, Expect::Absent, Urgency::Ordinary).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
