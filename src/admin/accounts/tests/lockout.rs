//! Who waits after wrong passwords, and for how long.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use super::*;

fn rules() -> LockoutRules {
    LockoutRules {
        per_account: 3,
        per_account_in_all: 7,
        per_source: 5,
        first_wait: Duration::from_secs(60),
        longest_wait: Duration::from_secs(200),
        forgotten_after: Duration::from_secs(3_600),
        remembered: 4,
    }
}

fn source(text: &str) -> Option<IpAddr> {
    text.parse().ok()
}

fn from_nth(n: u8) -> Option<IpAddr> {
    Some(IpAddr::from([198, 51, 100, n]))
}

#[test]
fn r38_an_account_waits_after_too_many_failures_and_longer_after_more() {
    let rules = LockoutRules { per_source: 100, per_account_in_all: 100, ..rules() };
    let (mut lockout, mut at) = (Lockout::new(rules), Instant::now());
    let account = name("u");
    let from = source("192.0.2.1");
    for _ in 0..3 {
        assert!(!lockout.begin(Some(&account), from, at).unwrap().is_account_locked);
    }
    for wait in [60, 120, 200, 200] {
        let last = at + Duration::from_millis(wait * 1_000 - 1);
        // Tries while it waits make it wait no longer.
        let tried = lockout.begin(Some(&account), from, last).unwrap();
        assert!(tried.is_account_locked, "{wait}");
        lockout.withdraw(&tried);
        at += Duration::from_secs(wait);
        assert!(!lockout.is_locked(&account, at), "{wait}");
        let tried = lockout.begin(Some(&account), from, at).unwrap();
        assert!(!tried.is_account_locked, "one more fails");
    }
    lockout.unlock(&account);
    let tried = lockout.begin(Some(&account), from, at).unwrap();
    lockout.succeeded(&tried);
    for _ in 0..3 {
        assert!(!lockout.begin(Some(&account), from, at).unwrap().is_account_locked, "success forgets");
    }
    assert!(!lockout.begin(Some(&account), from, at + Duration::from_secs(3_600)).unwrap().is_account_locked);
    assert!(!lockout.is_locked(&account, at + Duration::from_secs(3_600)), "an hour forgets");
}

#[test]
fn r38_a_stranger_who_guesses_keeps_nobody_out_elsewhere_nor_on_the_machine_itself() {
    let rules = LockoutRules { per_account_in_all: 100, ..rules() };
    let (mut lockout, mut at) = (Lockout::new(rules), Instant::now());
    let (account, stranger, owner) = (name("root"), source("192.0.2.1"), source("192.0.2.2"));
    // One try for each wait, as it was enough to keep the account locked.
    for _ in 0..20 {
        while lockout.begin(Some(&account), stranger, at).is_ok_and(|tried| !tried.is_account_locked) {}
        assert!(lockout.is_locked(&account, at));
        let tried = lockout.begin(Some(&account), owner, at).unwrap();
        assert!(!tried.is_account_locked);
        lockout.succeeded(&tried);
        let local = lockout.begin(Some(&account), None, at).unwrap();
        assert!(!local.is_account_locked);
        lockout.withdraw(&local);
        at += Duration::from_secs(200);
    }
}

#[test]
fn r38_guesses_from_everywhere_have_a_bound_and_no_wait_grows_by_them() {
    let (mut lockout, mut at) = (Lockout::new(rules()), Instant::now());
    let account = name("root");
    let mut n = 0;
    for _ in 0..3 {
        for _ in 0..7 {
            n += 1;
            assert!(!lockout.begin(Some(&account), from_nth(n), at).unwrap().is_account_locked);
        }
        assert!(lockout.begin(Some(&account), from_nth(100), at).unwrap().is_account_locked, "the eighth would be");
        assert!(!lockout.begin(Some(&account), None, at).unwrap().is_account_locked, "never on the machine itself");
        at += Duration::from_secs(60);
    }
    for again in 0..20 {
        let tried = lockout.begin(Some(&account), from_nth(n), at).unwrap();
        assert!(!tried.is_account_locked, "{again}: what succeeds doesn't count");
        lockout.succeeded(&tried);
    }
    for _ in 0..6 {
        n += 1;
        let _ = lockout.begin(Some(&account), from_nth(n), at).unwrap();
    }
    // The last one that there may be has it wait, unless it succeeds.
    for again in 0..3 {
        let tried = lockout.begin(Some(&account), from_nth(200), at).unwrap();
        assert!(!tried.is_account_locked && lockout.is_locked(&account, at), "{again}");
        lockout.succeeded(&tried);
        assert!(!lockout.is_locked(&account, at), "{again}");
    }
    n += 1;
    let _ = lockout.begin(Some(&account), from_nth(n), at).unwrap();
    assert!(lockout.is_locked(&account, at));
    lockout.unlock(&account);
    assert!(!lockout.begin(Some(&account), from_nth(101), at).unwrap().is_account_locked);
}

#[test]
fn r38_a_source_waits_for_all_accounts_and_a_success_of_its_own_helps_it_to_no_more() {
    let (mut lockout, at) = (Lockout::new(rules()), Instant::now());
    for _ in 0..4 {
        let _ = lockout.begin(None, source("192.0.2.1"), at).unwrap();
    }
    let own = lockout.begin(Some(&name("own")), source("192.0.2.1"), at).unwrap();
    lockout.succeeded(&own);
    let _ = lockout.begin(None, source("192.0.2.1"), at).unwrap();
    assert_eq!(lockout.begin(None, source("192.0.2.1"), at).unwrap_err(), Standstill(Duration::from_secs(60)));
    assert!(lockout.begin(None, source("192.0.2.2"), at).is_ok());
    // Addresses of one IPv6 network are one source, and so is IPv4 in IPv6 with its own.
    assert!(lockout.begin(None, source("::ffff:192.0.2.1"), at).is_err());
    for n in 0..5 {
        let _ = lockout.begin(None, source(&format!("2001:db8::{n}")), at).unwrap();
    }
    assert!(lockout.begin(None, source("2001:db8::ffff"), at).is_err());
    assert!(lockout.begin(None, source("2001:db8:0:1::1"), at).is_ok());
    assert!(lockout.begin(None, None, at).is_ok(), "on the machine itself");
}

#[test]
fn r41a_who_waits_is_forgotten_last() {
    let (mut lockout, at) = (Lockout::new(rules()), Instant::now());
    let locked = name("locked");
    for _ in 0..3 {
        let _ = lockout.begin(Some(&locked), source("192.0.2.1"), at).unwrap();
    }
    for n in 0..20 {
        let _ =
            lockout.begin(Some(&name(&format!("u{n}"))), from_nth(n), at + Duration::from_millis(n.into())).unwrap();
    }
    assert!(lockout.is_locked(&locked, at + Duration::from_secs(1)));
    let withdrawn = name("w");
    for _ in 0..10 {
        let tried = lockout.begin(Some(&withdrawn), source("192.0.2.9"), at).unwrap();
        assert!(!tried.is_account_locked);
        lockout.withdraw(&tried);
    }
}
