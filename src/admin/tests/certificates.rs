//! The ledger of certificates: imported, added, revoked, and what goes with its user (R3, R11).

use super::*;

#[tokio::test]
async fn r3_a_ledger_s_file_adds_what_is_new_and_brings_nothing_back() {
    let rig = Rig::new().await;
    let record = certificate("u", "1");
    let records = |numbers: &[(u8, bool)]| {
        let at = OffsetDateTime::UNIX_EPOCH;
        let record = |is_revoked| if is_revoked { record.revoked(at, "lost") } else { record.clone() };
        numbers.iter().map(|(n, is_revoked)| (Fingerprint([*n; 32]), record(*is_revoked))).collect()
    };
    for (file, added, revoked) in
        [([(1, false), (2, true)], 2, 0), ([(1, true), (2, false)], 0, 1), ([(1, false), (2, false)], 0, 0)]
    {
        let imported = rig.administration.import(&ACTOR, &records(&file)).await.unwrap();
        assert_eq!(imported, Imported { added, changed: 0, revoked });
    }
    let state = rig.administration.state();
    assert!(state.certificates.values().all(|(_, record)| record.revoked.is_some()));
}

#[tokio::test]
async fn r11_a_later_import_changes_how_the_crl_counts_and_an_older_one_doesn_t() {
    let rig = Rig::new().await;
    let import = |crl, at: &str, user: &str| CertificateRecord {
        origin: Origin::Imported,
        foreign: Some(Foreign { issuer: "ab".into(), crl }),
        added_at: at.into(),
        ..certificate(user, "1")
    };
    let needs_crl = || {
        let state = rig.administration.state();
        let foreign = state.certificates[&Fingerprint([1; 32])].1.foreign.clone();
        foreign.unwrap().crl == CrlCheck::Required
    };
    let (early, late) = ("2026-02-01T00:00:00.5Z", "2026-02-01T00:00:01Z");
    for (record, changed, is_needed) in [
        (import(CrlCheck::Required, early, "u"), 0, true),
        (import(CrlCheck::None, early, "u"), 0, true),
        (import(CrlCheck::None, late, "v"), 0, true),
        (import(CrlCheck::None, late, "u"), 1, false),
        (import(CrlCheck::Required, early, "u"), 0, false),
    ] {
        let imported = rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), record)].into()).await.unwrap();
        assert_eq!((imported.changed, needs_crl()), (changed, is_needed));
    }
    // Without the log only what takes is done.
    rig.log.close(true);
    let later = import(CrlCheck::Required, "2026-02-02T00:00:00Z", "u");
    rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), later)].into()).await.unwrap();
    assert!(needs_crl());
    let later = import(CrlCheck::None, "2026-02-03T00:00:00Z", "u");
    let refused = rig.administration.import(&ACTOR, &[(Fingerprint([1; 32]), later)].into()).await.unwrap_err();
    assert_eq!((refused.code(), needs_crl()), (ErrorCode::AuditUnavailable, true));
}

#[tokio::test]
async fn r21_what_cannot_be_imported_now_holds_up_no_revocation() {
    let at = OffsetDateTime::UNIX_EPOCH;
    // Known ones stand between new ones, which are revoked or not.
    let file = |is_revoked: bool| {
        let record = |n: u8| {
            let record = certificate("u", &n.to_string());
            if is_revoked && n != 3 { record.revoked(at, "lost") } else { record }
        };
        (1..=6).filter(|n| is_revoked || n % 2 == 0).map(|n| (Fingerprint([n; 32]), record(n))).collect()
    };
    let count = |rig: &Rig| {
        let state = rig.administration.state();
        let counting = state.certificates.values().filter(|(_, record)| record.revoked.is_none()).count();
        (state.certificates.len(), counting)
    };
    for (is_log, code) in [(true, ErrorCode::AuditUnavailable), (false, ErrorCode::StoreUnavailable)] {
        let rig = Rig::new().await;
        rig.administration.import(&ACTOR, &file(false)).await.unwrap();
        assert_eq!(count(&rig), (3, 3));
        if is_log {
            rig.log.close(true);
        } else {
            rig.store.fail_after(0);
        }
        let refused = rig.administration.import(&ACTOR, &file(true)).await.unwrap_err();
        assert_eq!((refused.code(), count(&rig)), (code, (3, 0)));
        rig.log.close(false);
        rig.store.fail_after(u64::MAX);
        rig.administration.heal().await.unwrap();
        let imported = rig.administration.import(&ACTOR, &file(true)).await.unwrap();
        assert_eq!((imported, count(&rig)), (Imported { added: 3, changed: 0, revoked: 0 }, (6, 1)));
    }
}

#[tokio::test]
async fn r11_a_user_goes_only_without_certificates_that_count() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[], &[])).await.unwrap();
    rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "1")).await.unwrap();
    let taken = rig.administration.add_certificate(&ACTOR, Fingerprint([1; 32]), &certificate("u", "2")).await;
    assert_eq!(taken.unwrap_err().code(), ErrorCode::AlreadyExists);
    let nobody = rig.administration.add_certificate(&ACTOR, Fingerprint([2; 32]), &certificate("v", "1")).await;
    assert_eq!(nobody.unwrap_err().code(), ErrorCode::FieldInvalid, "who gets that name later would own it");
    let remove = Change::RemoveUser("u".parse().unwrap());
    assert_eq!(rig.change(&remove).await.unwrap_err().code(), ErrorCode::StillCertified);
    rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await.unwrap();
    let state = rig.administration.state();
    assert!(state.directory.user("u").is_none());
    assert!(!state.certificates[&Fingerprint([1; 32])].1.counts_at(OffsetDateTime::now_utc()));
}

#[tokio::test]
async fn r21_each_certificate_that_goes_with_its_user_is_named_on_record_and_counted() {
    // As many as a record names, and more.
    for count in [0, 2, 12, 15] {
        let rig = Rig::new().await;
        rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
        for n in 0..count {
            let record = certificate("u", &n.to_string());
            rig.administration.add_certificate(&ACTOR, Fingerprint([n; 32]), &record).await.unwrap();
        }
        rig.log.told();
        let remove = Change::RemoveUser("u".parse().unwrap());
        let done = rig.administration.change(&ACTOR, &remove, Of::Latest, Cascade::All).await.unwrap();
        assert_eq!(done.revoked, usize::from(count));
        let details = rig.log.details();
        let ([verb, name, named], before) = details.split_last().unwrap();
        assert_eq!((&**verb, &**name), ("remove", "u"));
        // The log keeps so much of a value.
        assert!(named.len() <= 1024, "{named}");
        for n in 0..count {
            let sha256 = Fingerprint([n; 32]).to_hex();
            let is_named = named.split(", ").any(|part| part == format!("-certificate {sha256}"));
            let is_alone = before.iter().any(|[verb, name, detail]| {
                (&**verb, name, detail.ends_with("the user was removed")) == ("revoke", &sha256, true)
            });
            assert!(is_named != is_alone, "{n} of {count}: {details:?}");
        }
        assert_eq!(before.len(), usize::from(count.saturating_sub(12)));
        let certificates = &rig.administration.state().certificates;
        assert!(certificates.values().all(|(_, record)| record.revoked.is_some()));
    }
}

#[tokio::test]
async fn r3_revoked_is_at_the_handshake_at_once_and_for_good() {
    let rig = Rig::new().await;
    let ledger = rig.administration.ledger();
    let fingerprint = Fingerprint([1; 32]);
    let unknown = rig.administration.revoke(&ACTOR, fingerprint, "lost").await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::NotFound);
    rig.change(&user("u", &[], &[])).await.unwrap();
    rig.administration.add_certificate(&ACTOR, fingerprint, &certificate("u", "1")).await.unwrap();
    assert_eq!(ledger.current().lookup(&[1; 32]).unwrap().status, crate::trust::Status::Issued);
    rig.administration.revoke(&ACTOR, fingerprint, "lost").await.unwrap();
    rig.administration.revoke(&ACTOR, fingerprint, "and again").await.unwrap();
    match &ledger.current().lookup(&[1; 32]).unwrap().status {
        crate::trust::Status::Revoked { reason, .. } => assert_eq!(reason, "lost"),
        status => panic!("{status:?}"),
    }
}

#[tokio::test]
async fn r11_who_goes_leaves_no_certificate_that_could_count_again_for_a_later_user_of_the_name() {
    let rig = Rig::new().await;
    rig.change(&user("u", &[Group::CtiEnabled], &[])).await.unwrap();
    let expired = CertificateRecord { not_after: "2020-01-01T00:00:00Z".into(), ..certificate("u", "1") };
    // As a wrong clock may find it.
    let ledger = std::collections::BTreeMap::from([(Fingerprint([1; 32]), expired)]);
    rig.administration.import(&ACTOR, &ledger).await.unwrap();
    rig.change(&Change::RemoveUser("u".parse().unwrap())).await.unwrap();
    assert!(rig.administration.state().certificates[&Fingerprint([1; 32])].1.revoked.is_some());
}
