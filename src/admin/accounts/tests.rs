//! Accounts without a store and without a clock: what a change comes to, and who counts after it.

use std::{collections::BTreeSet, net::IpAddr, time::Duration as Span, time::Instant};

use callgate_wire::v1::ErrorCode;
use time::{Duration, OffsetDateTime};

use super::*;
use crate::{
    admin::actor::Standing,
    directory::{Direction, Of, Write},
    model::{AccountName, TokenName},
    store::{Bucket, Entry, Epoch, Version},
    trust::Fingerprint,
};

const CERTIFICATE: Fingerprint = Fingerprint([7; 32]);

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn name(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn token_name(name: &str) -> TokenName {
    name.parse().unwrap()
}

fn token() -> Token {
    Token::draw(TokenKind::Api).unwrap()
}

fn settings(role: Role) -> AccountSettings {
    AccountSettings { role, description: String::new(), certificates: BTreeSet::new() }
}

/// An account that proves itself by a certificate, since hashes of passwords take long.
fn certified(role: Role, certificate: Fingerprint) -> AccountSettings {
    AccountSettings { certificates: [certificate].into(), ..settings(role) }
}

/// Accounts as a store would have them.
struct Kept {
    accounts: Accounts,
    version: u64,
}

impl Kept {
    fn new() -> Self {
        Self { accounts: Accounts::at(Epoch(1)), version: 0 }
    }

    /// With an administrator who is named `root`.
    fn administered() -> Self {
        let mut kept = Self::new();
        kept.add("root", certified(Role::Administrator, CERTIFICATE));
        kept
    }

    fn change(&mut self, change: &AccountChange) -> Result<Direction, ErrorCode> {
        self.change_of(change, Of::Latest)
    }

    fn change_of(&mut self, change: &AccountChange, of: Of) -> Result<Direction, ErrorCode> {
        let plan = change.plan(of, &self.accounts, now()).map_err(|refusal| refusal.code())?;
        for step in plan.steps {
            self.version += 1;
            let version = Version(self.version);
            let entry = match step.write {
                Write::Delete(_) => None,
                Write::Put(value, _) => Some(Entry { key: step.key.clone(), value: value.as_slice().into(), version }),
            };
            self.accounts.take(step.bucket, &step.key, entry.as_ref()).unwrap();
        }
        Ok(plan.direction)
    }

    fn add(&mut self, account: &str, settings: AccountSettings) {
        self.change(&AccountChange::Add(name(account), NewAccount { settings, password: None })).unwrap();
    }

    fn add_token(&mut self, account: &str, role: Role, days: u32) -> Result<Token, ErrorCode> {
        let token = token();
        let new = NewToken { hash: token.hash(), role, days };
        self.change(&AccountChange::AddToken(name(account), token_name("t"), new))?;
        Ok(token)
    }

    /// What a login now would stand on.
    fn standing(&self, account: &str) -> Standing {
        let record = &self.accounts.account(&name(account)).unwrap().record;
        Standing { account: name(account), generation: record.generation, token: None }
    }

    fn stands(&self, standing: &Standing) -> bool {
        self.accounts.stands(standing, now()).is_some()
    }
}

#[test]
fn r38_whatever_changes_of_an_account_ends_its_sessions_and_tokens_but_words_for_people() {
    let certificates = |kept: &mut Kept| {
        let settings = certified(Role::Operator, Fingerprint([9; 32]));
        kept.change(&AccountChange::Set(name("u"), settings)).unwrap();
    };
    let role = |kept: &mut Kept| {
        kept.change(&AccountChange::Set(name("u"), settings(Role::Administrator))).unwrap();
    };
    let disabled = |kept: &mut Kept| {
        kept.change(&AccountChange::SetDisabled(name("u"), true)).unwrap();
        kept.change(&AccountChange::SetDisabled(name("u"), false)).unwrap();
    };
    let password = |kept: &mut Kept| {
        let hash = serde_json::from_value(serde_json::json!(PHC)).unwrap();
        kept.change(&AccountChange::SetPassword(name("u"), hash)).unwrap();
    };
    let made_again = |kept: &mut Kept| {
        kept.change(&AccountChange::Remove(name("u"))).unwrap();
        kept.add("u", settings(Role::Operator));
    };
    let changes: [&dyn Fn(&mut Kept); 5] = [&certificates, &role, &disabled, &password, &made_again];
    for (n, change) in changes.into_iter().enumerate() {
        let mut kept = Kept::administered();
        kept.add("u", settings(Role::Operator));
        let token = kept.add_token("u", Role::Reader, 1).unwrap();
        let standing = kept.standing("u");
        let words = AccountSettings { description: "night shift".into(), ..settings(Role::Operator) };
        kept.change(&AccountChange::Set(name("u"), words)).unwrap();
        assert!(kept.stands(&standing) && kept.accounts.by_token(&token.hash(), now()).is_some(), "{n}");
        change(&mut kept);
        assert!(!kept.stands(&standing) && kept.accounts.by_token(&token.hash(), now()).is_none(), "{n}");
    }
}

/// `correct horse battery` by cheap parameters.
const PHC: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$7nsWXuwm7n0+7bWfRgBMLxVw2yvJIfCjaIXOVYtkcpM";

#[test]
fn r38_a_token_counts_until_it_ends_and_for_no_more_than_its_account_may() {
    let mut kept = Kept::administered();
    kept.add("u", settings(Role::Operator));
    assert_eq!(kept.add_token("u", Role::Administrator, 1).unwrap_err(), ErrorCode::FieldInvalid);
    assert_eq!(kept.add_token("u", Role::Reader, 0).unwrap_err(), ErrorCode::FieldInvalid);
    assert_eq!(kept.add_token("u", Role::Reader, 367).unwrap_err(), ErrorCode::FieldInvalid);
    assert_eq!(kept.add_token("nobody", Role::Reader, 1).unwrap_err(), ErrorCode::NotFound);
    let token = kept.add_token("u", Role::Reader, 1).unwrap();
    let at = |kept: &Kept, later| kept.accounts.by_token(&token.hash(), now() + later).map(|(_, role)| role);
    assert_eq!(at(&kept, Duration::DAY), Some(Role::Reader));
    assert_eq!(at(&kept, Duration::DAY + Duration::SECOND), None);
    assert_eq!(kept.accounts.by_token(&Token::told("cgt_".into()).hash(), now()), None);
    kept.change(&AccountChange::RemoveToken(name("u"), token_name("t"))).unwrap();
    assert_eq!(at(&kept, Duration::ZERO), None);

    // Whoever restores a backup brings back tokens that were removed since; they count no more.
    let token = kept.add_token("u", Role::Reader, 1).unwrap();
    let mut restored = Accounts::at(Epoch(2));
    for (key, entry) in values(&kept) {
        restored.take(Bucket::ACCOUNTS, &key, Some(&entry)).unwrap();
    }
    assert!(restored.token(&name("u"), &token_name("t")).is_some());
    assert_eq!(restored.by_token(&token.hash(), now()), None);
}

fn values(kept: &Kept) -> Vec<(String, Entry)> {
    let account = |(name, stored): (&AccountName, &record::StoredAccount)| {
        let key = snapshot::account_key(name);
        (key.clone(), Entry { key, value: stored.record.to_value().as_slice().into(), version: stored.version })
    };
    let token = |(account, name, stored): (&AccountName, &TokenName, &crate::directory::Stored<TokenRecord>)| {
        let key = snapshot::token_key(account, name);
        (key.clone(), Entry { key, value: stored.record.to_value().as_slice().into(), version: stored.version })
    };
    kept.accounts.accounts().map(account).chain(kept.accounts.tokens().map(token)).collect()
}

#[test]
fn r38_a_certificate_stands_for_one_account_while_that_may_log_in() {
    let mut kept = Kept::administered();
    let add = |settings| AccountChange::Add(name("u"), NewAccount { settings, password: None });
    let taken = kept.change(&add(certified(Role::Reader, CERTIFICATE)));
    assert_eq!(taken.unwrap_err(), ErrorCode::FieldInvalid, "it is another one's");
    let own = Fingerprint([8; 32]);
    kept.change(&add(certified(Role::Reader, own))).unwrap();
    let who = |kept: &Kept| kept.accounts.by_certificate(&own).map(|(name, _)| name.to_string());
    assert_eq!(who(&kept).as_deref(), Some("u"));
    kept.change(&AccountChange::SetDisabled(name("u"), true)).unwrap();
    assert_eq!(who(&kept), None);
    let many = (0..=16).map(|n| Fingerprint([n; 32])).collect();
    let many = AccountSettings { certificates: many, ..settings(Role::Reader) };
    assert_eq!(kept.change(&AccountChange::Set(name("u"), many)).unwrap_err(), ErrorCode::FieldInvalid);
}

#[test]
fn r38_the_last_who_can_administer_stays() {
    let mut kept = Kept::administered();
    // Without a password and a certificate nobody is let in.
    kept.add("spare", settings(Role::Administrator));
    let takes = [
        AccountChange::Remove(name("root")),
        AccountChange::SetDisabled(name("root"), true),
        AccountChange::Set(name("root"), certified(Role::Operator, CERTIFICATE)),
        AccountChange::Set(name("root"), settings(Role::Administrator)),
    ];
    for change in &takes {
        assert_eq!(kept.change(change).unwrap_err(), ErrorCode::LastAdministrator, "{change:?}");
    }
    kept.change(&AccountChange::Set(name("spare"), certified(Role::Administrator, Fingerprint([8; 32])))).unwrap();
    assert_eq!(kept.change(&takes[0]), Ok(Direction::Takes));
}

#[test]
fn r38_the_setup_token_makes_the_first_administrator_and_only_once() {
    let mut kept = Kept::new();
    let hash: PasswordHash = serde_json::from_value(serde_json::json!(PHC)).unwrap();
    let (first, second) = (token(), token());
    let set_up = |token: &Token, account: &str| AccountChange::Setup {
        token: token.hash(),
        account: name(account),
        password: hash.clone(),
    };
    assert_eq!(kept.change(&set_up(&first, "root")).unwrap_err(), ErrorCode::SetupTokenInvalid, "none was offered");
    kept.change(&AccountChange::OfferSetup(first.hash())).unwrap();
    kept.change(&AccountChange::OfferSetup(second.hash())).unwrap();
    assert_eq!(kept.change(&set_up(&first, "root")).unwrap_err(), ErrorCode::SetupTokenInvalid, "another was since");
    assert_eq!(kept.change(&set_up(&second, "root")), Ok(Direction::Grants));
    assert!(kept.accounts.have_administrator());
    assert_eq!(kept.change(&set_up(&second, "root2")).unwrap_err(), ErrorCode::SetupTokenInvalid, "it was used");
    let offer = AccountChange::OfferSetup(first.hash());
    assert_eq!(kept.change(&offer).unwrap_err(), ErrorCode::SetupTokenInvalid, "there is an administrator");

    // A crash between its two steps leaves it used, and nobody made: a new one can be offered.
    let mut cut = Kept::new();
    cut.change(&AccountChange::OfferSetup(first.hash())).unwrap();
    let mut plan = set_up(&first, "root").plan(Of::New, &cut.accounts, now()).unwrap();
    let Write::Put(value, _) = plan.steps.remove(0).write else { panic!("a put") };
    let entry = Entry { key: snapshot::SETUP.into(), value: value.as_slice().into(), version: Version(9) };
    cut.accounts.take(Bucket::META, snapshot::SETUP, Some(&entry)).unwrap();
    assert_eq!(cut.change(&set_up(&first, "root")).unwrap_err(), ErrorCode::SetupTokenInvalid);
    cut.change(&AccountChange::OfferSetup(second.hash())).unwrap();
    assert_eq!(cut.change(&set_up(&second, "root")), Ok(Direction::Grants));
}

#[test]
fn r38_what_takes_from_an_account_is_known_as_such() {
    let mut kept = Kept::administered();
    kept.add("u", certified(Role::Operator, Fingerprint([8; 32])));
    let set = |settings| AccountChange::Set(name("u"), settings);
    let cases = [
        (set(settings(Role::Operator)), Direction::Takes),
        (set(certified(Role::Operator, Fingerprint([8; 32]))), Direction::Grants),
        (set(certified(Role::Reader, Fingerprint([9; 32]))), Direction::Grants),
        (set(certified(Role::Reader, Fingerprint([9; 32]))), Direction::Neutral),
        (AccountChange::SetDisabled(name("u"), true), Direction::Takes),
        (AccountChange::SetDisabled(name("u"), false), Direction::Grants),
        (AccountChange::Remove(name("u")), Direction::Takes),
    ];
    for (change, direction) in cases {
        assert_eq!(kept.change(&change), Ok(direction), "{change:?}");
    }
}

#[test]
fn lost_updates_of_accounts_are_refused() {
    let mut kept = Kept::administered();
    kept.add("u", settings(Role::Operator));
    let before = kept.accounts.account(&name("u")).unwrap().version;
    let set = |role| AccountChange::Set(name("u"), settings(role));
    kept.change_of(&set(Role::Reader), Of::Version(before)).unwrap();
    let late = kept.change_of(&set(Role::Administrator), Of::Version(before));
    assert_eq!(late.unwrap_err(), ErrorCode::VersionConflict);
    let again = AccountChange::Add(name("u"), NewAccount { settings: settings(Role::Reader), password: None });
    for of in [Of::New, Of::Latest] {
        assert_eq!(kept.change_of(&again, of).unwrap_err(), ErrorCode::AlreadyExists);
    }
}

#[test]
fn a_value_that_is_no_account_is_not_taken_and_not_told() {
    let mut accounts = Accounts::at(Epoch(1));
    let mut take = |key: &str, value: &str| {
        let entry = Entry { key: key.into(), value: value.as_bytes().into(), version: Version(1) };
        accounts.take(Bucket::ACCOUNTS, key, Some(&entry)).map_err(|error| error.to_string())
    };
    for key in ["account", "account/", "account/a/b", "token/a", "token/a/b/c", "user/a", "account/a b"] {
        assert!(take(key, "{}").is_err(), "{key}");
    }
    let error = take("account/a", "{\"role\":\"reader\",\"generation\":\"4711\",\"created_at\":\"\"}").unwrap_err();
    assert!(!error.contains("4711"), "{error}");
    assert!(take("account/a", "{\"role\":\"reader\",\"generation\":1,\"created_at\":\"\",\"new\":1}").is_err());
    assert!(take("account/a", "{\"role\":\"reader\",\"generation\":1,\"created_at\":\"\"}").is_ok());
}

#[test]
fn r38_tokens_are_random_and_printed_by_nothing() {
    let (one, other) = (token(), token());
    assert!(one.tell() != other.tell() && one.hash() != other.hash() && one.tell().len() == 4 + 43);
    assert!(one.is(TokenKind::Api) && !one.is(TokenKind::Session) && !one.is(TokenKind::Setup));
    assert_eq!(Token::told(one.tell().into()).hash(), one.hash());
    assert_eq!(format!("{one:?} {:?}", one.hash()), "Token(..) TokenHash(..)");
    let record = TokenRecord {
        hash: one.hash(),
        role: Role::Reader,
        created_at: String::new(),
        not_after: String::new(),
        generation: 1,
        epoch: 1,
    };
    let value = String::from_utf8(record.to_value().to_vec()).unwrap();
    assert!(!value.contains(one.tell().split_once('_').unwrap().1), "only its hash is stored");
}

#[tokio::test]
async fn r38_a_password_is_hashed_by_argon2id_and_printed_by_nothing() {
    let passwords = Passwords::new().unwrap();
    let typed = |text: &str| Password::typed(text.into());
    for (text, len) in [("elevenchars", 11), (&*"a".repeat(257), 257)] {
        let refused = passwords.hash(typed(text)).await.unwrap_err();
        assert_eq!(refused, PasswordError::Length(len));
        assert!(!refused.to_string().contains(text));
    }
    let hash = passwords.hash(typed("correct horse battery")).await.unwrap();
    let stored = serde_json::to_string(&hash).unwrap();
    assert!(stored.starts_with("\"$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
    assert_ne!(passwords.hash(typed("correct horse battery")).await.unwrap(), hash, "with a salt of its own");
    assert!(passwords.check(typed("correct horse battery"), Some(hash.clone())).await.unwrap());
    assert!(!passwords.check(typed("correct horse batterx"), Some(hash.clone())).await.unwrap());
    assert!(!passwords.check(typed("nobody's password"), None).await.unwrap(), "without a hash none is right");
    assert_eq!(format!("{:?} {hash:?}", typed("correct horse battery")), "Password(..) PasswordHash(..)");
    for wrong in ["plain", "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA", ""] {
        assert!(serde_json::from_value::<PasswordHash>(wrong.into()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn r41a_few_passwords_are_worked_on_at_once_and_few_wait() {
    let passwords = std::sync::Arc::new(Passwords::new().unwrap());
    let (open, closed) = std::sync::mpsc::channel::<()>();
    let closed = std::sync::Arc::new(std::sync::Mutex::new(closed));
    let running = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let begin = || {
        let (passwords, closed, running) = (passwords.clone(), closed.clone(), running.clone());
        tokio::spawn(async move {
            passwords
                .work(move || {
                    running.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    let _ = closed.lock().unwrap().recv();
                })
                .await
        })
    };
    let first: Vec<_> = (0..34).map(|_| begin()).collect();
    while running.load(std::sync::atomic::Ordering::SeqCst) < 2 {
        tokio::task::yield_now().await;
    }
    // All have a place, two work; giving up waiting doesn't make room for a third.
    for task in &first[..2] {
        task.abort();
    }
    tokio::task::yield_now().await;
    assert_eq!(running.load(std::sync::atomic::Ordering::SeqCst), 2);
    assert_eq!(begin().await.unwrap(), Err(Busy));
    drop(open);
    for task in first.into_iter().skip(2) {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(begin().await.unwrap(), Ok(()));
}

fn rules() -> LockoutRules {
    LockoutRules {
        per_account: 3,
        per_account_in_all: 7,
        per_source: 5,
        first_wait: Span::from_secs(60),
        longest_wait: Span::from_secs(200),
        forgotten_after: Span::from_secs(3_600),
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
        let last = at + Span::from_millis(wait * 1_000 - 1);
        // Tries while it waits make it wait no longer.
        let tried = lockout.begin(Some(&account), from, last).unwrap();
        assert!(tried.is_account_locked, "{wait}");
        lockout.withdraw(&tried);
        at += Span::from_secs(wait);
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
    assert!(!lockout.begin(Some(&account), from, at + Span::from_secs(3_600)).unwrap().is_account_locked);
    assert!(!lockout.is_locked(&account, at + Span::from_secs(3_600)), "an hour forgets");
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
        at += Span::from_secs(200);
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
        at += Span::from_secs(60);
    }
    for again in 0..20 {
        let tried = lockout.begin(Some(&account), from_nth(n), at).unwrap();
        assert!(!tried.is_account_locked, "{again}: what succeeds doesn't count");
        lockout.succeeded(&tried);
    }
    for _ in 0..7 {
        n += 1;
        let _ = lockout.begin(Some(&account), from_nth(n), at).unwrap();
    }
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
    assert_eq!(lockout.begin(None, source("192.0.2.1"), at).unwrap_err(), Standstill(Span::from_secs(60)));
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
        let _ = lockout.begin(Some(&name(&format!("u{n}"))), from_nth(n), at + Span::from_millis(n.into())).unwrap();
    }
    assert!(lockout.is_locked(&locked, at + Span::from_secs(1)));
    let withdrawn = name("w");
    for _ in 0..10 {
        let tried = lockout.begin(Some(&withdrawn), source("192.0.2.9"), at).unwrap();
        assert!(!tried.is_account_locked);
        lockout.withdraw(&tried);
    }
}

#[test]
fn r38_sessions_end_by_themselves_and_the_oldest_make_room() {
    let rules = SessionRules { idle: Span::from_secs(10), absolute: Span::from_secs(25), per_account: 2, most: 3 };
    let (mut sessions, at) = (Sessions::new(rules), Instant::now());
    let standing = |account: &str| Standing { account: name(account), generation: 1, token: None };
    let second = |n| at + Span::from_secs(n);
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
