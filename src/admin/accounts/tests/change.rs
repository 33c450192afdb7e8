//! What a change of an account comes to.

use time::Duration;

use super::*;
use crate::store::Bucket;

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
    // By a certificate that doesn't count nobody is let in either.
    let other = Fingerprint([8; 32]);
    kept.change(&AccountChange::Set(name("spare"), certified(Role::Administrator, other))).unwrap();
    let good = kept.certificates[&other].1.clone();
    let ended = CertificateRecord { not_after: "2026-12-31T00:00:00Z".into(), ..(*good).clone() };
    let to_come = CertificateRecord { not_before: "2110-01-01T00:00:00Z".into(), ..(*good).clone() };
    for bad in [Some(ended), Some(to_come), Some(good.revoked(now(), "lost")), None] {
        kept.certificates.remove(&other);
        kept.certificates.extend(bad.map(|bad| (other, (Version(0), Arc::new(bad)))));
        assert_eq!(kept.change(&takes[0]).unwrap_err(), ErrorCode::LastAdministrator);
        assert_eq!(kept.change(&AccountChange::SetDisabled(name("spare"), false)), Ok(Direction::Grants));
    }
    kept.certificates.insert(other, (Version(0), good));
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
    assert!(kept.accounts.have_administrator(None, &kept.certificates, now()));
    assert_eq!(kept.change(&set_up(&second, "root2")).unwrap_err(), ErrorCode::SetupTokenInvalid, "it was used");
    let offer = AccountChange::OfferSetup(first.hash());
    assert_eq!(kept.change(&offer).unwrap_err(), ErrorCode::SetupTokenInvalid, "there is an administrator");

    // It ends, and says so to who has it.
    let mut late = Kept::new();
    late.change(&AccountChange::OfferSetup(first.hash())).unwrap();
    let at = |late: &Kept, token: &Token, after| late.accounts.check_setup_token(&token.hash(), now() + after);
    assert!(at(&late, &first, Duration::DAY).is_ok() && late.accounts.have_setup_token(now() + Duration::DAY));
    let after = Duration::DAY + Duration::SECOND;
    assert!(at(&late, &first, after).unwrap_err().to_string().contains("24 hours"));
    assert!(!at(&late, &second, after).unwrap_err().to_string().contains("24 hours"));
    assert!(!late.accounts.have_setup_token(now() + after), "the next start makes one");

    // A crash between its two steps leaves it used, and nobody made: a new one can be offered.
    let mut cut = Kept::new();
    cut.change(&AccountChange::OfferSetup(first.hash())).unwrap();
    let mut plan = set_up(&first, "root").plan(Of::New, &cut.accounts, &cut.certificates, now()).unwrap();
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
