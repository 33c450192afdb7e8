//! Who is let in, and for how long (R38).

use std::time::{Duration, Instant};

use super::*;
use crate::{
    admin::accounts::{
        AccountSettings, LockoutRules, NewAccount, NewToken, PasswordError, Role, SessionRules, Token, TokenKind,
    },
    http::Peer,
    model::AccountName,
    trust::CertificateIdentity,
};

const PASSWORD: &str = "correct horse battery";
const OWN_UID: u32 = 990;

struct Gated {
    rig: Rig,
    administration: Arc<Administration>,
    gate: Gate,
    now: Instant,
}

fn name(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn owned((name, detail): (&str, &str)) -> (String, String) {
    (name.into(), detail.into())
}

fn typed(password: &str) -> Password {
    Password::typed(password.into())
}

fn remote() -> Peer {
    Peer::Tls { address: "192.0.2.1:40000".parse().unwrap(), certificate: None }
}

fn settings(role: Role) -> AccountSettings {
    AccountSettings { role, description: String::new(), certificates: BTreeSet::new() }
}

impl Gated {
    /// With an administrator `root` and a reader `eva`, who have the same password.
    async fn new() -> Self {
        let Rig { store, log, administration } = Rig::new().await;
        let administration = Arc::new(administration);
        let rules = LockoutRules { per_account: 3, per_source: 8, ..LockoutRules::default() };
        let gate = Gate::new(Arc::clone(&administration), OWN_UID, SessionRules::default(), rules).unwrap();
        let again = Administration::open(Arc::new(store.clone()), log.clone(), Seed::default()).await.unwrap().0;
        let gated = Self { rig: Rig { store, log, administration: again }, administration, gate, now: Instant::now() };
        let hash = gated.gate.passwords().hash(typed(PASSWORD)).await.unwrap();
        for (account, role) in [("root", Role::Administrator), ("eva", Role::Reader)] {
            let new = NewAccount { settings: settings(role), password: Some(hash.clone()) };
            gated.change(&AccountChange::Add(name(account), new)).await.unwrap();
        }
        gated.rig.log.told();
        gated
    }

    async fn change(&self, change: &AccountChange) -> Result<Done, Refused> {
        self.administration.change_account(&ACTOR, change, Of::Latest).await
    }

    async fn log_in(&self, account: &str, password: &str) -> Result<Token, Denied> {
        self.gate.log_in(&remote(), account, typed(password), self.now).await.map(|logged_in| logged_in.token)
    }

    fn admit(&self, token: &Token) -> Result<Role, Denied> {
        self.gate.admit(&remote(), Some(token), self.now).map(|caller| caller.role)
    }

    /// Name and detail of the logins that are on record as failed since this was asked last.
    fn failed(&self) -> Vec<(String, String)> {
        let records: Vec<_> = self.rig.log.records.lock().unwrap().drain(..).collect();
        let failed = records.into_iter().filter(|it| it.verb == "log in" && it.outcome == Outcome::Failed);
        failed.map(|record| (record.name, record.detail)).collect()
    }

    fn is_out(&self, token: &Token) -> bool {
        matches!(self.admit(token), Err(Denied::NotAuthenticated))
    }
}

#[tokio::test]
async fn r38_on_the_machine_itself_root_and_the_gateway_s_own_user_are_administrators() {
    let gated = Gated::new().await;
    let admit = |uid| gated.gate.admit(&Peer::Unix { uid, pid: None }, None, gated.now);
    for uid in [0, OWN_UID] {
        let caller = admit(uid).unwrap();
        assert_eq!((caller.role, caller.actor), (Role::Administrator, Actor::Local(uid)));
    }
    assert!(matches!(admit(1000), Err(Denied::NotLocalAdministrator(1000))));
    let token = gated.log_in("eva", PASSWORD).await.unwrap();
    let with_token = |uid, token| gated.gate.admit(&Peer::Unix { uid, pid: None }, Some(token), gated.now);
    assert!(with_token(1000, &token).is_err(), "the socket is for the machine's administrators");
    assert_eq!(with_token(0, &token).unwrap().role, Role::Reader, "who shows a token asks as its account");
    assert!(with_token(0, &Token::told("cgt_wrong".into())).is_err());
}

#[tokio::test]
async fn r38_a_login_lasts_until_it_ends_or_its_account_changes() {
    let gated = Gated::new().await;
    let [root, eva, eva2] = ["root", "eva", "eva"].map(|account| gated.log_in(account, PASSWORD));
    let (root, eva, eva2) = (root.await.unwrap(), eva.await.unwrap(), eva2.await.unwrap());
    assert_eq!((gated.admit(&root).unwrap(), gated.admit(&eva).unwrap()), (Role::Administrator, Role::Reader));
    assert!(gated.gate.end(&eva2.hash()) && gated.is_out(&eva2) && !gated.is_out(&eva));
    gated.change(&AccountChange::Set(name("eva"), settings(Role::Operator))).await.unwrap();
    assert!(gated.is_out(&eva) && !gated.is_out(&root));
    let idle = gated.gate.admit(&remote(), Some(&root), gated.now + SessionRules::default().idle);
    assert!(matches!(idle, Err(Denied::NotAuthenticated)));
    let told = gated.rig.log.told();
    assert_eq!(told.iter().filter(|(verb, _, outcome)| verb == "log in" && *outcome == Outcome::Done).count(), 3);
}

#[tokio::test]
async fn r38_a_token_ends_at_once_with_its_account_or_by_itself() {
    let gated = Gated::new().await;
    let mut tokens = Vec::new();
    for n in 0..2 {
        let token = Token::draw(TokenKind::Api).unwrap();
        let new = NewToken { hash: token.hash(), role: Role::Reader, days: 1 };
        let token_name = format!("t{n}").parse().unwrap();
        gated.change(&AccountChange::AddToken(name("root"), token_name, new)).await.unwrap();
        tokens.push(token);
    }
    let caller = gated.gate.admit(&remote(), Some(&tokens[0]), gated.now).unwrap();
    assert_eq!((caller.role, caller.actor.to_string()), (Role::Reader, "account:root token:t0".into()));
    let other = AccountChange::RemoveToken(name("root"), "t0".parse().unwrap());
    gated.change(&other).await.unwrap();
    assert!(gated.is_out(&tokens[0]) && !gated.is_out(&tokens[1]));
    // What it was let in for before isn't done any more.
    let late = gated.administration.change_account(&caller.actor, &other, Of::Latest).await.unwrap_err();
    assert_eq!(late.code(), ErrorCode::AdminNotAuthenticated);
    let late =
        gated.administration.act(&caller.actor, ("close", "session", "u/1"), "", async { Ok::<_, ()>(()) }).await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::AdminNotAuthenticated);
    assert!(gated.is_out(&Token::draw(TokenKind::Api).unwrap()));
    assert!(gated.is_out(&Token::told("cgs_".into())) && gated.is_out(&Token::told(String::new())));
}

#[tokio::test]
async fn r38_a_client_certificate_lets_in_while_ledger_and_account_have_it() {
    let gated = Gated::new().await;
    let fingerprint = Fingerprint([5; 32]);
    let certificates = [fingerprint].into();
    let listed = AccountSettings { certificates, ..settings(Role::Operator) };
    gated.administration.change(&ACTOR, &user("u", &[], &[]), Of::New, Cascade::Nothing).await.unwrap();
    let identity = CertificateIdentity {
        user: "u".parse().unwrap(),
        instance: "1".parse().unwrap(),
        sha256: fingerprint.0,
        not_after_unix: i64::MAX,
    };
    let shown = Peer::Tls { address: "192.0.2.1:1".parse().unwrap(), certificate: Some(identity) };
    let admit = || gated.gate.admit(&shown, None, gated.now).map(|caller| caller.role).ok();
    assert_eq!(admit(), None);
    gated.change(&AccountChange::Set(name("eva"), listed)).await.unwrap();
    assert_eq!(admit(), None, "the ledger doesn't know it");
    gated.administration.add_certificate(&ACTOR, fingerprint, &certificate("u", "1")).await.unwrap();
    assert_eq!(admit(), Some(Role::Operator));
    let wrong = gated.gate.admit(&shown, Some(&Token::told("cgt_x".into())), gated.now);
    assert!(wrong.is_err(), "who shows a token means to come by it");
    gated.administration.revoke(&ACTOR, fingerprint, "lost").await.unwrap();
    assert_eq!(admit(), None, "however long the connection lasts");
}

#[tokio::test]
async fn r38_who_fails_too_often_waits_and_nobody_learns_what_was_wrong() {
    let gated = Gated::new().await;
    let no_password = NewAccount { settings: settings(Role::Reader), password: None };
    gated.change(&AccountChange::Add(name("robot"), no_password)).await.unwrap();
    gated.change(&AccountChange::SetDisabled(name("robot"), true)).await.unwrap();
    for account in ["nobody", "robot", "no name", "eva", "eva", "eva"] {
        let denied = gated.log_in(account, "wrong").await.unwrap_err();
        assert!(matches!(denied, Denied::NotAuthenticated), "{account}");
    }
    assert!(gated.gate.is_locked(&name("eva"), gated.now));
    let right = gated.log_in("eva", PASSWORD).await.unwrap_err();
    assert!(matches!(right, Denied::NotAuthenticated), "locked, and told like the others");
    gated.rig.log.close(true);
    let refused = gated.gate.unlock(&ACTOR, &name("eva")).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::AuditUnavailable, "it gives something back (R21)");
    assert!(gated.gate.is_locked(&name("eva"), gated.now));
    gated.rig.log.close(false);
    gated.gate.unlock(&ACTOR, &name("eva")).unwrap();
    gated.log_in("eva", PASSWORD).await.unwrap();
    gated.log_in("root", "wrong").await.unwrap_err();
    let source = gated.log_in("root", PASSWORD).await.unwrap_err();
    assert!(matches!(source, Denied::LockedOut(wait) if wait <= Duration::from_secs(60)), "{source:?}");
    gated.gate.prove(&Peer::Unix { uid: 0, pid: None }, "root", typed(PASSWORD), gated.now).await.unwrap();

    assert_eq!(
        gated.failed(),
        [
            ("", "unknown_account from 192.0.2.1"),
            ("robot", "disabled from 192.0.2.1"),
            ("eva", "wrong_password from 192.0.2.1"),
            ("eva", "account_locked from 192.0.2.1"),
            ("root", "wrong_password from 192.0.2.1"),
            ("", "source_locked from 192.0.2.1"),
        ]
        .map(owned),
        "the same once a minute, and never what somebody typed who is nobody"
    );
    gated.gate.look_around(gated.now + Duration::from_secs(59));
    assert_eq!(gated.failed(), []);
    gated.gate.look_around(gated.now + Duration::from_secs(60));
    let again =
        [("", "unknown_account from 192.0.2.1, 1 times more"), ("eva", "wrong_password from 192.0.2.1, 2 times more")];
    assert_eq!(gated.failed(), again.map(owned), "without another failure");
}

#[tokio::test]
async fn r21_what_was_only_counted_of_failed_logins_is_on_record_when_the_gate_goes() {
    let mut gated = Gated::new().await;
    for _ in 0..3 {
        gated.log_in("eva", "wrong").await.unwrap_err();
    }
    let again = Gate::new(Arc::clone(&gated.administration), OWN_UID, SessionRules::default(), LockoutRules::default());
    drop(std::mem::replace(&mut gated.gate, again.unwrap()));
    let told = [("eva", "wrong_password from 192.0.2.1"), ("eva", "wrong_password from 192.0.2.1, 2 times more")];
    assert_eq!(gated.failed(), told.map(owned));
}

#[tokio::test]
async fn r38_who_guesses_keeps_the_owner_out_from_nowhere_else() {
    let gated = Gated::new().await;
    for _ in 0..5 {
        gated.log_in("root", "wrong").await.unwrap_err();
    }
    assert!(gated.gate.is_locked(&name("root"), gated.now));
    gated.log_in("root", PASSWORD).await.unwrap_err();
    let elsewhere = Peer::Tls { address: "192.0.2.2:1".parse().unwrap(), certificate: None };
    gated.gate.log_in(&elsewhere, "root", typed(PASSWORD), gated.now).await.unwrap();
    let local = Peer::Unix { uid: 0, pid: None };
    gated.gate.prove(&local, "root", typed(PASSWORD), gated.now).await.unwrap();
}

#[tokio::test]
async fn r38_the_first_start_tells_one_token_that_makes_one_administrator() {
    let Rig { administration, log, store } = Rig::new().await;
    let administration = Arc::new(administration);
    let gate = Gate::new(Arc::clone(&administration), OWN_UID, SessionRules::default(), LockoutRules::default());
    let (gate, now) = (gate.unwrap(), Instant::now());
    let token = administration.first_setup_token().await.unwrap().unwrap();
    assert!(administration.first_setup_token().await.unwrap().is_none(), "told once");
    let again = Rig::over(store.clone(), Seed::default()).await;
    assert!(again.administration.first_setup_token().await.unwrap().is_none(), "over a restart, too");

    let set_up = |token: &Token, password: &str| {
        let token = Token::told(token.tell().into());
        let password = typed(password);
        let gate = &gate;
        async move { gate.set_up(&remote(), &token, name("root"), password, now).await }
    };
    let guessed = set_up(&Token::draw(TokenKind::Setup).unwrap(), PASSWORD).await.unwrap_err();
    assert!(matches!(&guessed, Denied::Refused(refused) if refused.code() == ErrorCode::SetupTokenInvalid));
    let short = set_up(&token, "short").await.unwrap_err();
    assert!(matches!(short, Denied::Password(PasswordError::Length(5))), "and the token is as good as before");
    let (one, other) = tokio::join!(set_up(&token, PASSWORD), set_up(&token, PASSWORD));
    assert_eq!(u8::from(one.is_ok()) + u8::from(other.is_ok()), 1, "one of those who race for it");
    assert!(set_up(&token, PASSWORD).await.is_err());
    gate.log_in(&remote(), "root", typed(PASSWORD), now).await.unwrap();
    let told = log.told();
    assert!(told.contains(&("set up".into(), "root".into(), Outcome::Done)), "{told:?}");
}
