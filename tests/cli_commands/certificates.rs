//! Certificates of apps, of the gateway and of other CAs: issued, added, listed, revoked, and refused with their reasons.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use callgate::trust::{Ca, Crl, Ledger, Validity, gateway_names};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use time::{Duration, OffsetDateTime};

use crate::{CHECK, ISSUE, Shell, UNSET, skipped::skipped};

#[test]
fn r3_certificates_are_issued_listed_and_revoked() {
    let shell = Shell::with_recorder();
    shell.ok(&format!("{ISSUE} --out app --days 30"));
    assert_eq!((shell.mode("app"), shell.mode("app/recorder-1.key")), (0o700, 0o600));
    assert_eq!(fs::read(shell.path("app/ca.pem")).unwrap(), fs::read(shell.path("callgate/ca.pem")).unwrap());
    assert!(!fs::read_to_string(shell.path("app/recorder-1.pem")).unwrap().contains("PRIVATE"));

    let listed = shell.ok("cert list --json");
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&rows[0]["user"], &rows[0]["instance"], &rows[0]["state"], &rows[0]["origin"]),
        (&"recorder".into(), &"1".into(), &"valid".into(), &"issued".into())
    );
    let sha256 = rows[0]["sha256"].as_str().unwrap();
    assert!(shell.ok("cert list").contains(sha256));
    let shown = shell.ok(&format!("cert show {sha256}"));
    assert!(shown.contains("the gateway's own CA") && shown.contains("valid until"), "{shown}");

    let revoke = ["cert", "revoke", "--user", "recorder", "--instance", "1", "--reason", "laptop lost"];
    let said = shell.run_with(&revoke, "", &[]).out;
    assert_eq!(said, format!("revoked {sha256} of recorder/1\n"));
    assert!(shell.ok("cert list").contains("laptop lost"));
    assert!(shell.ok(&format!("cert show {}", sha256.to_ascii_uppercase())).contains("laptop lost"));

    let again = shell.fails("cert revoke --user recorder --instance 1 --reason x");
    assert_eq!(again, (1, "it is revoked already".into()));
    let unknown = shell.fails(&format!("cert revoke --sha256 {} --reason x", "0".repeat(64)));
    assert_eq!(unknown, (1, "the ledger has no such certificate: see `callgate cert list`".into()));
    assert_eq!(shell.run("cert revoke --reason x").code, 2);
}

#[test]
fn r11_the_ca_s_list_of_revoked_certificates_is_made_and_others_can_check_it() {
    let shell = Shell::with_recorder();
    for instance in ["1", "2"] {
        shell.ok(&format!("cert issue --user recorder --instance {instance}"));
    }
    assert!(shell.ok("cert crl").contains(" 0 revoked, "));
    let load = |name| {
        let (crl, ca) = (shell.path(name), shell.path("callgate/ca.pem"));
        Crl::load(&crl, &ca, OffsetDateTime::now_utc()).unwrap()
    };
    let first = load("callgate/ca.crl");
    let revoke = ["cert", "revoke", "--user", "recorder", "--instance", "1", "--reason", "key compromise"];
    assert_eq!(shell.run_with(&revoke, "", &[]).code, 0);
    let said = shell.ok("cert crl --days 7");
    let second = load("callgate/ca.crl");
    assert!(second.number() > first.number(), "{first:?}, {second:?}");
    assert!(said.starts_with("wrote callgate/ca.crl: number ") && said.contains(" 1 revoked, "), "{said}");
    let said: serde_json::Value = serde_json::from_str(&shell.ok("cert crl --out der.crl --der --json")).unwrap();
    assert_eq!((&said["file"], &said["revoked"]), (&"der.crl".into(), &1.into()), "{said}");
    assert_eq!(load("der.crl").revoked(), 1);
    assert_eq!(fs::metadata(shell.path("callgate/ca.crl")).unwrap().permissions().mode() & 0o777, 0o644);

    // Another implementation reads it, too, where there is one.
    let openssl = |arguments: &[&str]| Command::new("openssl").args(arguments).current_dir(shell.path("")).output();
    let read = ["crl", "-in", "callgate/ca.crl", "-CAfile", "callgate/ca.pem", "-noout", "-text"];
    match openssl(&read) {
        Ok(output) => {
            let text = String::from_utf8(output.stdout).unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("verify OK"), "{said}");
            assert!(text.contains("Key Compromise") && text.matches("Serial Number:").count() == 1, "{text}");
            let verify = [
                "verify",
                "-CAfile",
                "callgate/ca.pem",
                "-CRLfile",
                "callgate/ca.crl",
                "-crl_check",
                "-purpose",
                "sslclient",
            ];
            let verified = |app: &str| openssl(&[&verify[..], &[app]].concat()).unwrap();
            let (lost, kept) = (verified("callgate/recorder-1.pem"), verified("callgate/recorder-2.pem"));
            assert!(String::from_utf8_lossy(&lost.stderr).contains("certificate revoked"), "{lost:?}");
            assert!(kept.status.success(), "{kept:?}");
        }
        Err(error) => skipped("openssl", &format!("it can't be run, and so has not verified a CRL: {error}")),
    }

    fs::write(shell.path("callgate/ca.key"), "").unwrap();
    assert_eq!(shell.fails("cert crl").0, 2);
}

#[test]
fn r11_a_certificate_of_another_ca_is_added_listed_and_revoked() {
    const ADD: &str = "cert add --user recorder --instance 7 app.pem";
    let shell = Shell::with_recorder();
    let now = OffsetDateTime::now_utc();
    let validity = Validity::days(now, 30).unwrap();
    let other = Ca::make("Other CA", validity).unwrap();
    fs::write(shell.path("other.jsonl"), "").unwrap();
    let (user, instance) = ("recorder".parse().unwrap(), "7".parse().unwrap());
    let of_other = Ledger::open(shell.path("other.jsonl")).unwrap();
    let issued = other.issue_app(&user, &instance, validity, now, &of_other).unwrap();
    fs::write(shell.path("app.pem"), &issued.certificate_pem).unwrap();

    let unknown = "app.pem: CERTIFICATE_UNKNOWN_ISSUER (501): pem: the certificate's issuer is none of the client CAs\nMend: Use a \
                   certificate that this gateway issued, or add its CA to tls.client_ca.";
    assert_eq!(shell.fails(ADD), (2, unknown.into()));
    fs::write(shell.path("key.pem"), format!("{}{}", issued.certificate_pem, *issued.key_pem)).unwrap();
    let with_key = shell.fails("cert add --user recorder --instance 7 key.pem");
    assert!(with_key.0 == 2 && with_key.1.starts_with("key.pem: a private key is in it"), "{with_key:?}");
    let cas = fs::read_to_string(shell.path("callgate/ca.pem")).unwrap() + other.certificate_pem();
    fs::write(shell.path("callgate/clients.pem"), cas).unwrap();
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap().replace("client_ca = \"ca.pem\"", "client_ca = \"clients.pem\"");
    fs::write(&config, &text).unwrap();
    let missing = shell.fails(ADD);
    assert!(missing.0 == 2 && missing.1.contains("there is no CRL of the certificate's CA here"), "{missing:?}");
    assert!(shell.fails("cert add --user nobody --instance 7 app.pem").1.contains("there is no user \"nobody\""));
    let named = shell.fails("cert add --no-crl --user recorder --instance 8 app.pem");
    assert!(named.1.contains("names another user or instance"), "{named:?}");

    assert!(shell.ok(&format!("{ADD} --no-crl")).starts_with("added for recorder/7 until "));
    assert!(shell.ok("cert list").trim_end().ends_with("  another CA, without CRL"));
    let again = shell.fails(&format!("{ADD} --no-crl"));
    assert!(again.0 == 1 && again.1.contains("ALREADY_EXISTS") && again.1.contains("for recorder/7"), "{again:?}");
    // Once there is a CRL, it can be asked for.
    let crl = other.crl(&[], 1, now, now + Duration::days(1)).unwrap();
    fs::write(shell.path("callgate/other.crl"), crl.to_pem()).unwrap();
    fs::write(&config, text.replace("client_crl = []", "client_crl = [\"other.crl\"]")).unwrap();
    shell.ok(ADD);
    assert!(shell.ok(CHECK).starts_with("ok"));
    let rows: serde_json::Value = serde_json::from_str(&shell.ok("cert list --json")).unwrap();
    let row = &rows[0];
    let expected = (&"imported".into(), &true.into(), &"valid".into());
    assert_eq!((&row["origin"], &row["crl"]["required"], &row["state"]), expected);
    assert_eq!(rows.as_array().unwrap().len(), 1);

    shell.ok("cert revoke --user recorder --instance 7 --reason lost");
    let revoked = shell.fails(ADD);
    assert!(revoked.0 == 1 && revoked.1.contains("ALREADY_EXISTS"), "{revoked:?}");
    // One of our own that the ledger has lost is issued, whatever is said of a CRL.
    let own = Ca::load(&shell.path("callgate/ca.pem"), &shell.path("callgate/ca.key")).unwrap();
    fs::write(shell.path("own.pem"), own.sign_app(&user, &instance, validity).unwrap().certificate_pem).unwrap();
    let said = shell.ok("cert add --user recorder --instance 7 own.pem");
    assert!(said.contains("it is of the gateway's own CA"), "{said}");
    // It is on no list of ours.
    assert!(shell.ok("cert crl").contains(" 0 revoked, "));
}

#[test]
fn cert_issue_knows_its_users_and_overwrites_only_by_force() {
    let unset = Shell::new().fails(ISSUE);
    assert_eq!(unset, (2, UNSET.into()));
    let shell = Shell::with_recorder();
    let (code, error) = shell.fails("cert issue --user nobody --instance 1");
    assert!(code == 1 && error.starts_with("NOT_FOUND (800): there is no user \"nobody\"\nMend: "), "{error}");
    shell.ok(ISSUE);
    let there = "use --force to replace it: callgate/recorder-1.pem: is there already, and nothing is overwritten";
    assert_eq!(shell.fails(ISSUE), (2, there.into()));
    let certificates = || shell.ok("cert list --json").matches("\"sha256\"").count();
    assert_eq!(certificates(), 1);
    shell.ok(&format!("{ISSUE} --force"));
    assert_eq!(certificates(), 2);
    assert_eq!(shell.mode("callgate/recorder-1.key"), 0o600);
    let (code, error) = shell.fails("cert issue --user recorder --instance 2 --days 36500");
    assert_eq!(code, 2);
    assert!(error.contains("would outlive the CA"), "{error}");
    assert_eq!(shell.run("cert issue --user recorder --instance 2 --days 0").code, 2);
}

#[test]
fn a_certificate_that_counts_without_its_files_is_named_to_be_revoked() {
    let shell = Shell::with_recorder();
    fs::create_dir_all(shell.path("callgate/recorder-1.key/in the way")).unwrap();
    let (code, said) = shell.fails(&format!("{ISSUE} --force"));
    let sha256 = said.split_once("--sha256 ").map(|(_, rest)| &rest[..64]).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(code, 1, "{said}");
    shell.ok(&format!("cert revoke --sha256 {sha256} --reason lost"));
}

#[test]
fn cert_issue_leaves_no_foreign_ca_beside_the_certificate() {
    let (shell, other) = (Shell::with_recorder(), Shell::set_up());
    fs::create_dir(shell.path("app")).unwrap();
    fs::set_permissions(shell.path("app"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(other.path("callgate/ca.pem"), shell.path("app/ca.pem")).unwrap();
    let (code, error) = shell.fails(&format!("{ISSUE} --out app"));
    assert_eq!(code, 2, "{error}");
    let expected = "name another folder by --out: app/ca.pem: is there already and is not the CA in callgate/ca.pem";
    assert!(error.starts_with(expected), "{error}");
    assert!(Ledger::open(shell.path("callgate/ledger.jsonl")).unwrap().records().unwrap().is_empty());
    fs::copy(shell.path("callgate/ca.pem"), shell.path("app/ca.pem")).unwrap();
    shell.ok(&format!("{ISSUE} --out app"));
}

#[test]
fn keys_are_not_written_into_a_folder_that_others_may_write_into() {
    let shell = Shell::with_recorder();
    for mode in [0o777, 0o770, 0o702] {
        let name = format!("open{mode:o}");
        fs::create_dir(shell.path(&name)).unwrap();
        fs::set_permissions(shell.path(&name), fs::Permissions::from_mode(mode)).unwrap();
        let expected =
            format!("{name}: others may write into this folder (mode {mode:04o}): chmod go-w, or name another one");
        for command in [format!("init {name}"), format!("{ISSUE} --out {name}"), format!("cert csr --out {name}")] {
            assert_eq!(shell.fails(&command), (2, expected.clone()), "{command}");
        }
        assert_eq!(fs::read_dir(shell.path(&name)).unwrap().count(), 0);
    }
    assert!(Ledger::open(shell.path("callgate/ledger.jsonl")).unwrap().records().unwrap().is_empty());
}

#[test]
fn swapped_unreadable_and_foreign_certificate_files_are_named() {
    let shell = Shell::set_up();
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let swapped = text
        .replace("certificate = \"gateway.pem\"", "certificate = \"x\"")
        .replace("key = \"gateway.key\"", "key = \"gateway.pem\"")
        .replace("certificate = \"x\"", "certificate = \"gateway.key\"");
    fs::write(&config, swapped).unwrap();
    let expected = "`tls.certificate`: callgate/gateway.key: a private key is in it where a certificate belongs: the two files look swapped";
    assert_eq!(shell.check(), (2, expected.into()));

    for (from, to, expected) in [
        ("key = \"gateway.key\"", "key = \"none.key\"", "`tls.key`: callgate/none.key: can't be read: "),
        (
            "key = \"gateway.key\"",
            "key = \"gateway.pem\"",
            "`tls.key`: callgate/gateway.pem: a certificate is in it where a private key",
        ),
        (
            "key = \"gateway.key\"",
            "key = \"ca.key\"",
            "`tls.certificate` and `tls.key`: callgate/gateway.pem and callgate/ca.key don't belong together: the key is not the certificate's: name the key",
        ),
        (
            "client_ca = \"ca.pem\"",
            "client_ca = \"ledger.jsonl\"",
            "`tls.client_ca`: callgate/ledger.jsonl: there is no certificate in it",
        ),
        ("ledger = \"ledger.jsonl\"", "ledger = \"none\"", "`tls.ledger`: callgate/none: the ledger can't be read: "),
        (
            "ledger = \"ledger.jsonl\"",
            "ledger = \"ca.pem\"",
            "`tls.ledger`: callgate/ca.pem:1: this line of the ledger can't be understood",
        ),
        ("certificate = \"gateway.pem\"", "certificate = \".\"", "`tls.certificate`: callgate/.: can't be read: "),
        (
            "certificate = \"gateway.pem\"",
            "certificate = \"none.pem\"",
            "`tls.certificate`: callgate/none.pem: can't be read: No such file or directory (os error 2): mend the path, or what \
             is there; `callgate init DIR` makes all files of a new gateway",
        ),
    ] {
        fs::write(&config, text.replace(from, to)).unwrap();
        let (code, error) = shell.check();
        assert_eq!(code, 2, "{error}");
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn an_expired_gateway_certificate_is_named_with_its_date() {
    let shell = Shell::set_up();
    let ca = Ca::load(&shell.path("callgate/ca.pem"), &shell.path("callgate/ca.key")).unwrap();
    let past = Validity::days(OffsetDateTime::now_utc() - Duration::days(10), 3).unwrap();
    let gateway = ca.issue_gateway(&[], past).unwrap();
    fs::write(shell.path("callgate/gateway.pem"), &gateway.certificate_pem).unwrap();
    fs::write(shell.path("callgate/gateway.key"), &*gateway.key_pem).unwrap();
    let (code, error) = shell.check();
    let date = past.not_after.date();
    assert_eq!(code, 2);
    assert!(
        error.starts_with(&format!("`tls.certificate`: callgate/gateway.pem: the certificate expired on {date}T")),
        "{error}"
    );
}

#[test]
fn a_gateway_certificate_from_another_ca_is_taken_only_if_all_of_it_is_right() {
    let shell = Shell::set_up();
    shell.ok("cert csr --out other --name gw.example.org");
    assert_eq!(shell.mode("other/gateway.key"), 0o600);
    let (code, error) = shell.fails("cert csr --out other");
    assert_eq!(code, 2, "{error}");
    let said: serde_json::Value = serde_json::from_str(&shell.ok("cert csr --out another --json")).unwrap();
    assert_eq!(said, serde_json::json!({ "key": "another/gateway.key", "request": "another/gateway.csr" }));

    let other = OtherCa::new(&shell.path("other-ca.pem"));
    let request = fs::read_to_string(shell.path("other/gateway.csr")).unwrap();
    other.answer(&request, ExtendedKeyUsagePurpose::ClientAuth, &shell.path("client.pem"));
    other.answer(&request, ExtendedKeyUsagePurpose::ServerAuth, &shell.path("answer.pem"));
    for (certificate, ca, expected) in [
        ("client.pem", "other-ca.pem", "client.pem: the certificate is not for TLS servers"),
        ("callgate/gateway.pem", "other-ca.pem", "callgate/gateway.pem and other/gateway.key don't belong together"),
        ("answer.pem", "callgate/ca.pem", "answer.pem: the certificate does not come from the CA in callgate/ca.pem"),
        ("other/gateway.key", "other-ca.pem", "other/gateway.key: a private key is in it where a certificate belongs"),
    ] {
        let (code, error) = shell.fails(&format!("cert import --out other --certificate {certificate} --ca {ca}"));
        assert_eq!(code, 2);
        assert!(error.starts_with(expected), "{error}");
    }

    fs::create_dir(shell.path("json")).unwrap();
    fs::copy(shell.path("other/gateway.key"), shell.path("json/gateway.key")).unwrap();
    let said: serde_json::Value =
        serde_json::from_str(&shell.ok("cert import --out json --certificate answer.pem --json")).unwrap();
    assert!(said["certificate"].as_str().unwrap().ends_with("/json/gateway.pem"), "{said}");
    assert_eq!(said["chain_checked"], false, "{said}");
    let said = shell.ok("cert import --out other --certificate answer.pem --ca other-ca.pem");
    set_certificate(&shell, &said);
    assert!(shell.ok(CHECK).starts_with("ok"));
}

#[test]
fn the_gateway_s_certificate_is_renewed_even_when_it_has_ended() {
    let shell = Shell::set_up();
    let ca = Ca::load(&shell.path("callgate/ca.pem"), &shell.path("callgate/ca.key")).unwrap();
    let past = Validity::days(OffsetDateTime::now_utc() - Duration::days(10), 3).unwrap();
    let gateway = ca.issue_gateway(&["gw.example.org".into(), "192.0.2.10".into()], past).unwrap();
    fs::write(shell.path("callgate/gateway.pem"), &gateway.certificate_pem).unwrap();
    fs::write(shell.path("callgate/gateway.key"), &*gateway.key_pem).unwrap();

    let said: serde_json::Value = serde_json::from_str(
        &shell.ok("cert renew --out json --name gw2.example.org --name localhost --days 30 --json"),
    )
    .unwrap();
    let names = ["localhost", "127.0.0.1", "::1", "gw.example.org", "192.0.2.10", "gw2.example.org"];
    assert_eq!(said["names"], serde_json::json!(names));
    assert!(said["key"].as_str().unwrap().ends_with("/json/gateway.key"), "{said}");
    let said = shell.ok("cert renew --out next");
    assert_eq!(shell.mode("next/gateway.key"), 0o600);
    let (code, error) = shell.fails("cert renew --out next");
    assert_eq!((code, error.contains("next/gateway.pem") && error.contains("--out")), (2, true), "{error}");
    set_certificate(&shell, &said);
    assert!(shell.ok(CHECK).starts_with("ok"));
    let names = gateway_names(
        &shell.path("next/gateway.pem"),
        &shell.path("next/gateway.key"),
        &shell.path("callgate/ca.pem"),
        OffsetDateTime::now_utc(),
    );
    assert_eq!(names.unwrap(), ["localhost", "127.0.0.1", "::1", "gw.example.org", "192.0.2.10"]);

    // Of another CA's this one makes no next one: apps check it by that CA.
    OtherCa::new(&shell.path("callgate/ca.pem"));
    let (code, error) = shell.fails("cert renew --out other");
    assert_eq!((code, error.contains("don't belong together")), (2, true), "{error}");
    let other = Ca::make("other", Validity::days(OffsetDateTime::now_utc(), 1000).unwrap()).unwrap();
    fs::write(shell.path("callgate/ca.pem"), other.certificate_pem()).unwrap();
    fs::write(shell.path("callgate/ca.key"), &*other.key_pem()).unwrap();
    let (code, error) = shell.fails("cert renew --out other");
    assert_eq!((code, error.contains("does not come from the CA")), (2, true), "{error}");
    assert!(error.contains("callgate cert csr"), "{error}");
}

/// Writes what a command printed into the config.
fn set_certificate(shell: &Shell, said: &str) {
    let settings = said.split_once("[tls]\n").unwrap().1;
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("certificate = \"gateway.pem\"\nkey = \"gateway.key\"\n", settings);
    fs::write(&config, text).unwrap();
}

/// A CA that isn't Callgate's.
struct OtherCa(Issuer<'static, KeyPair>);

impl OtherCa {
    fn new(path: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    fn answer(&self, request: &str, usage: ExtendedKeyUsagePurpose, path: &Path) {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params.extended_key_usages = vec![usage];
        fs::write(path, request.signed_by(&self.0).unwrap().pem()).unwrap();
    }
}
