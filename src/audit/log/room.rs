//! Room on the disk that is held back for privileged records (R21).

use std::{
    io::{self, ErrorKind},
    time::Instant,
};

use metrics::gauge;
use tracing::{info, warn};

use super::keeper::{HOUSE, Keeper};
use crate::audit::disk::Handle;

impl Keeper {
    /// How much more than the reserve is held at a time: what ordinary records fill until the next look.
    fn slack(&self) -> u64 {
        (self.shared.options.reserve_bytes / 4).clamp(64 * 1024, 16 * 1024 * 1024)
    }

    /// Holds back room behind the end of a segment, and says up to where. `least`: a little of it is enough.
    pub(super) fn hold(&self, segment: &Handle, len: u64, least: bool) -> io::Result<u64> {
        let reserve = self.shared.options.reserve_bytes;
        if reserve == 0 {
            return Ok(len);
        }
        let slack = self.slack();
        let hold = |bytes: u64| match segment.reserve(len, bytes) {
            Ok(()) => Ok(len + bytes),
            Err(error) if error.kind() == ErrorKind::StorageFull => Err(error),
            // The file system can't. What it has free may be taken by others, and will do for now.
            Err(_) if self.shared.disk.room()? >= bytes => Ok(len + bytes),
            Err(_) => Err(ErrorKind::StorageFull.into()),
        };
        match hold(reserve + slack) {
            Err(error) if least && error.kind() == ErrorKind::StorageFull => hold(slack),
            held => held,
        }
    }

    /// Holds back room for as much more as was used.
    pub(super) fn make_room(&mut self) {
        let reserve = self.shared.options.reserve_bytes;
        let (handle, len, room) = {
            let state = self.shared.lock();
            let Some(segment) = state.segment.as_ref().filter(|_| state.is_open()) else { return };
            (segment.handle(), segment.len(), segment.room())
        };
        gauge!("callgate_audit_reserve_bytes").set(room.min(reserve) as f64);
        let now = Instant::now();
        if reserve == 0 || room >= reserve + self.slack() / 2 || now < self.room_at {
            return;
        }
        match self.hold(&handle, len, false) {
            Ok(end) => {
                if let Some(segment) = self.shared.lock().segment.as_mut().filter(|segment| handle.is_of(segment)) {
                    segment.has_room_to(end);
                }
                if std::mem::take(&mut self.is_tight) {
                    info!("the disk of the audit log has room again");
                }
            }
            Err(error) => {
                self.room_at = now + HOUSE;
                if room < reserve && !std::mem::replace(&mut self.is_tight, true) {
                    warn!(%error, room, "the disk of the audit log is nearly full: refusals are counted, and not recorded");
                }
            }
        }
    }
}
