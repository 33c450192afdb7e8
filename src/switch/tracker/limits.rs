//! The bounds of a feed's state, and what goes first when one is reached.

use std::time::Duration;

/// How much is kept, and for how long (R41a, R42b).
///
/// What is full never refuses what comes: the oldest makes room, by these rules. A call that was forgotten is told to
/// have ended, and heals by its next offer and answer, with keys that weren't seen before it was forgotten (R16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Calls at once. The one that has something due first makes room: one that is over or that nothing answered yet
    /// before an answered one, and among equals the one that was silent longest. So a flood of INVITEs displaces only
    /// itself and young calls, and never an answered one while there are others.
    pub max_calls: usize,
    /// Devices with a part in one call.
    pub max_views: usize,
    /// Offers of one view that wait for their answers, the first INVITE's apart; the oldest goes first.
    pub max_exchanges: usize,
    /// Bytes of offers that wait for their answers, over all calls; above it those of the oldest calls that nothing
    /// answered count as unreadable.
    pub max_offered: usize,
    /// Hops of one call's INVITEs that are remembered, to tell who passes them on and who answers; the oldest goes
    /// first.
    pub max_hops: usize,
    /// Messages that wait for what they answer, and BYEs of unknown calls that wait for their answer; the oldest goes
    /// first.
    pub max_early: usize,
    /// Addresses of which something is known: as many that registered, and as many of which only dialogs are known. Of
    /// each the one that was silent longest goes first; what anyone can cause never displaces a registration.
    pub max_addresses: usize,
    /// PBXes that were found, configured ones apart.
    pub max_pbxes: usize,
    /// REGISTERs that wait for their answer.
    pub max_registrations: usize,
    /// Fingerprints of keys that were let go of while their dialog may go on (R16). If one has to make room before its
    /// time, keys that could be old are given to nobody until that time is over.
    pub max_forgotten: usize,
    /// How long a message waits for what it answers, and a call for an answer that is overdue.
    pub reorder: Duration,
    /// How long a transaction may take: after a challenge, after CANCEL, after a late offer, after the end of a call.
    pub transaction: Duration,
    /// After this silence a call that isn't answered, and doesn't ring, is forgotten.
    pub unanswered: Duration,
    /// After this silence a call is forgotten that rings, or has early media, and isn't answered.
    pub ringing: Duration,
    /// After this silence an answered call is forgotten, or an address that isn't registered any more.
    pub silent: Duration,
    /// How long the fingerprint of a forgotten call's key is kept.
    pub remembered: Duration,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            max_calls: 20_000,
            max_views: 16,
            max_exchanges: 8,
            max_offered: 64 * 1024 * 1024,
            max_hops: 16,
            max_early: 256,
            max_addresses: 50_000,
            max_pbxes: 1024,
            max_registrations: 4096,
            max_forgotten: 100_000,
            reorder: Duration::from_secs(1),
            transaction: Duration::from_secs(32),
            unanswered: Duration::from_secs(5 * 60),
            ringing: Duration::from_secs(3600),
            silent: Duration::from_secs(24 * 3600),
            remembered: Duration::from_secs(7 * 24 * 3600),
        }
    }
}
