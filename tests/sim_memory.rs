//! What a simulated device costs at rest, by counting what is allocated.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::{alloc::System, time::Instant};

use callgate::{
    directory::{Device, Directory},
    hub::Hub,
    model::{DeviceName, SwitchName, Timestamp},
    switch::sim::{Sim, SimSettings},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is still allocated of what `make` did, in bytes for each device. Nothing else may run meanwhile.
fn each<T>(devices: u32, make: impl FnOnce() -> T) -> (u32, T) {
    let region = Region::new(ALLOCATOR);
    let made = make();
    let change = region.change();
    let kept = i64::try_from(change.bytes_allocated).unwrap() - i64::try_from(change.bytes_deallocated).unwrap();
    (u32::try_from(kept.max(0)).unwrap().div_ceil(devices), made)
}

/// One test: the counts are of the whole process.
#[test]
fn a_device_at_rest_costs_less_than_1_kib() {
    let name: SwitchName = "sim".parse().unwrap();
    for devices in [10_000, 100_000] {
        let settings = SimSettings { devices, calls_per_second: 100.0, ..SimSettings::default() };
        let names = || settings.device_names(&name).map(Result::unwrap);
        let now = Instant::now();
        let (sim, _simulated) = each(devices, || Sim::new(name.clone(), settings.clone(), 1, now, Timestamp(0)));
        let (entry, directory) = each(devices, || Directory::new([], names().map(Device::named)).unwrap());
        let known: Vec<DeviceName> = directory.devices().map(|device| device.name.clone()).collect();
        let (topic, _hub) = each(devices, || Hub::new(known.iter().cloned(), 0));
        println!("{devices} devices, bytes each: simulator {sim}, directory {entry}, topic {topic}");
        assert!(sim < 128, "the simulator keeps {sim} bytes for each of {devices} devices");
        assert!(sim + entry + topic < 1024, "simulator {sim}, directory {entry}, topic {topic} of {devices} devices");
    }

    // What calls took is given back: two devices have one call after the other.
    let settings = SimSettings { devices: 2, calls_per_second: 1.0, call_seconds: 1, ..SimSettings::default() };
    let start = Instant::now();
    let mut sim = Sim::new(name.clone(), settings.clone(), 1, start, Timestamp(0));
    let mut hub = Hub::new(settings.device_names(&name).map(Result::unwrap), 0);
    let mut calls_until = |calls| {
        while sim.counts().calls < calls {
            let mut events = Vec::new();
            sim.on_time(sim.deadline().unwrap(), &mut events);
            for event in events {
                hub.publish(event).unwrap();
            }
        }
    };
    calls_until(100);
    let (kept, ()) = each(1, || calls_until(5_000));
    println!("4,900 calls more kept {kept} bytes");
    assert!(kept < 8 * 1024, "4,900 calls more kept {kept} bytes");
}
