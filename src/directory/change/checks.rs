//! What a record may hold: bounds (R41a), names that are known, addresses and lines that aren't there twice.

use std::collections::BTreeSet;

use super::Refusal;
use crate::{
    directory::{DevicePattern, DeviceRecord, Line, MAX_DESCRIPTION, MAX_LABEL, MAX_LINES, Records, Stored},
    model::{Address, DeviceName, LineNumber},
};

/// The most devices or groups that one record names (R41a).
pub const MAX_NAMED: usize = 10_000;
/// The most patterns of one record (R41a): each is held against the names of devices that begin as it does, while no other change is made.
pub const MAX_PATTERNS: usize = 256;
/// The most addresses of a device (R41a).
pub const MAX_ADDRESSES: usize = 64;

/// Names that a record had before may stay, whatever has become of the devices.
pub(super) fn known_devices(
    wanted: &BTreeSet<DeviceName>,
    before: &BTreeSet<DeviceName>,
    records: &Records,
) -> Result<(), Refusal> {
    let is_known = |name: &&DeviceName| records.devices.contains_key(*name) || records.made_up.contains(*name);
    match wanted.difference(before).find(|name| !is_known(name)) {
        Some(unknown) => Err(Refusal::Field { field: "devices", problem: format!("there is no device {unknown:?}") }),
        None => Ok(()),
    }
}

pub(super) fn description(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_DESCRIPTION {
        let problem = format!("{} bytes: up to {MAX_DESCRIPTION} are allowed", text.len());
        return Err(Refusal::Field { field: "description", problem });
    }
    Ok(())
}

pub(super) fn named(field: &'static str, len: usize) -> Result<(), Refusal> {
    if len > MAX_NAMED {
        return Err(Refusal::Field { field, problem: format!("{len} names: up to {MAX_NAMED} are allowed") });
    }
    Ok(())
}

pub(super) fn patterns(patterns: &BTreeSet<DevicePattern>) -> Result<(), Refusal> {
    let len = patterns.len();
    if len > MAX_PATTERNS {
        let problem = format!("{len} patterns: up to {MAX_PATTERNS} are allowed");
        return Err(Refusal::Field { field: "patterns", problem });
    }
    Ok(())
}

pub(super) fn lines(lines: &[Line]) -> Result<(), Refusal> {
    let refuse = |problem: String| Err(Refusal::Field { field: "lines", problem });
    if lines.len() > MAX_LINES {
        return refuse(format!("{} lines: up to {MAX_LINES} are allowed", lines.len()));
    }
    let mut numbers = BTreeSet::new();
    for Line { number, label, restricted } in lines {
        if !(1..=65_535).contains(&number.0) {
            return refuse(format!("line {number}: numbers from 1 to 65535 are allowed"));
        }
        if !numbers.insert(number) {
            return refuse(format!("line {number} is there twice"));
        }
        if label.len() > MAX_LABEL {
            return refuse(format!(
                "the label of line {number} has {} bytes: up to {MAX_LABEL} are allowed",
                label.len()
            ));
        }
        if *restricted && !number.can_be_restricted() {
            let first = LineNumber::FIRST;
            return refuse(format!(
                "line {number} can't be restricted: switches report all calls of a device on its line {first}, so it would \
                 hide nothing; restrict that line, or the device (R13)"
            ));
        }
    }
    Ok(())
}

pub(super) fn addresses(name: &DeviceName, addresses: &[Address], records: &Records) -> Result<(), Refusal> {
    let refuse = |problem: String| Err(Refusal::Field { field: "addresses", problem });
    if addresses.len() > MAX_ADDRESSES {
        return refuse(format!("{} addresses: up to {MAX_ADDRESSES} are allowed", addresses.len()));
    }
    let mut seen = BTreeSet::new();
    for address in addresses {
        if !seen.insert(address) {
            return refuse(format!("{address} is there twice"));
        }
        let has_it = |(other, stored): &(&DeviceName, &Stored<DeviceRecord>)| {
            *other != name && stored.record.addresses.contains(address)
        };
        if let Some((other, _)) = records.devices.iter().find(has_it) {
            return refuse(format!("{address} belongs to the device {other:?} already"));
        }
    }
    Ok(())
}
