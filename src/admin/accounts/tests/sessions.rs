//! Logins end.

use std::time::{Duration, Instant};

use super::*;

#[test]
fn r38_sessions_end_by_themselves_and_the_oldest_make_room() {
    let rules =
        SessionRules { idle: Duration::from_secs(10), absolute: Duration::from_secs(25), per_account: 2, most: 3 };
    let (mut sessions, at) = (Sessions::new(rules), Instant::now());
    let standing = |account: &str| Standing { account: name(account), generation: 1, token: None };
    let second = |n| at + Duration::from_secs(n);
    let begin = |sessions: &mut Sessions, account: &str, n| {
        let hash = token().hash();
        sessions.begin(hash, standing(account), Epoch(1), second(n));
        hash
    };
    let session = begin(&mut sessions, "u", 0);
    let mut lasts = |n| sessions.use_one(&session, Epoch(1), second(n)).is_some();
    assert!(lasts(9) && lasts(18) && lasts(24), "used at least every 10 seconds");
    assert!(!lasts(25), "for 25 at the most");
    assert!(!lasts(24), "it is over for good");
    let idle = begin(&mut sessions, "u", 0);
    assert!(sessions.use_one(&idle, Epoch(1), second(10)).is_none());
    let old = begin(&mut sessions, "u", 0);
    assert!(sessions.use_one(&old, Epoch(2), second(1)).is_none(), "a backup was restored");

    let (one, two) = (begin(&mut sessions, "u", 0), begin(&mut sessions, "u", 1));
    assert!(sessions.use_one(&one, Epoch(1), second(2)).is_some());
    let three = begin(&mut sessions, "u", 3);
    assert!(sessions.use_one(&two, Epoch(1), second(3)).is_none(), "two of an account, the least used makes room");
    let (four, _five) = (begin(&mut sessions, "v", 4), begin(&mut sessions, "w", 5));
    assert!(sessions.use_one(&one, Epoch(1), second(5)).is_none(), "three in all");
    assert!(sessions.end(&three) && !sessions.end(&three) && sessions.len() == 2);
    sessions.keep(|standing| standing.account != name("v"));
    assert!(sessions.use_one(&four, Epoch(1), second(5)).is_none() && !sessions.is_empty());
}
