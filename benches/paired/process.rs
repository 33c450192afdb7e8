//! What a process knows of itself, and on which core it runs.

use std::{fs, path::Path};

use rustix::{
    thread::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;

use super::results::Machine;

/// The core of the server, and that of the load.
pub const SERVER_CORE: usize = 0;
pub const LOAD_CORE: usize = 1;

/// Keeps this process, and all threads that it will have, on one core.
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        eprintln!("not pinned to core {core}: {error}: figures are worth less");
    }
}

/// The CPU time of all threads of this process; nanoseconds.
pub fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Nanoseconds of the clock that only rises: the same in all processes of the machine.
pub fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The resident memory of this process; bytes.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// Lets the process have as many descriptors as the system allows.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// What the figures were measured on, without its name.
pub fn machine() -> Machine {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let system = rustix::system::uname();
    let release = system.release().to_string_lossy();
    Machine {
        processor: model.map_or("unknown".into(), |(_, name)| name.trim().into()),
        cores: cpuinfo.lines().filter(|line| line.starts_with("processor")).count(),
        // Major and minor say enough.
        system: format!("Linux {}", release.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")),
    }
}

/// Writes results as they are kept.
pub fn write(path: &Path, results: &impl Serialize) {
    fs::write(path, serde_json::to_string_pretty(results).unwrap() + "\n").unwrap();
    eprintln!("results are in {}", path.display());
}
