//! Who counts, of the accounts and tokens that are stored.

use time::Duration;

use super::*;
use crate::store::Bucket;

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

#[test]
fn r38_a_token_that_is_made_again_by_its_former_name_is_another() {
    let mut kept = Kept::administered();
    kept.add("u", settings(Role::Operator));
    let mut made = || {
        let token = kept.add_token("u", Role::Reader, 1).unwrap();
        let (standing, _) = kept.accounts.by_token(&token.hash(), now()).unwrap();
        assert!(kept.stands(&standing));
        kept.change(&AccountChange::RemoveToken(name("u"), token_name("t"))).unwrap();
        standing
    };
    let (first, second) = (made(), made());
    assert_eq!(first.generation, second.generation);
    let identity = |standing: &Standing| Actor::Account(standing.clone()).identity();
    assert_ne!(identity(&first), identity(&second), "what was answered to one isn't answered to the other");
    kept.add_token("u", Role::Reader, 1).unwrap();
    assert!(!kept.stands(&first) && !kept.stands(&second));
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
