//! What `callgate explain` tells: rules, names and codes.

use std::{fs, process::Command};

use crate::{Shell, UNSET};

#[test]
fn explain_tells_each_rule_for_a_user_and_a_device_and_what_to_change() {
    let shell = Shell::set_up();
    let config = "
        [[device]]\nname = \"1001\"\naddresses = [\"udp:192.0.2.1:5060\"]
        [[device]]\nname = \"1002\"\nrestricted = true\naddresses = [\"udp:192.0.2.2:5060\"]
        [[user]]\nname = \"recorder\"\ndevices = [\"1001\", \"1002\"]\ngroups = [\"Standard CTI Enabled\",
            \"Standard CTI Secure Connection\", \"Standard CTI Allow Reception of SRTP Key Material\"]
        [[user]]\nname = \"viewer\"\nkind = \"end-user\"\ndevices = [\"1001\"]\ngroups = [\"Standard CTI Enabled\",
            \"Standard CTI Secure Connection\"]";
    fs::write(shell.path("callgate/callgate.toml"), config).unwrap();
    let said = |arguments: &str| shell.ok(&format!("explain --user {arguments}"));

    let text = said("recorder --device 1001");
    assert!(text.contains("Answer: recorder/1 opens no session. On the TLS door: "), "{text}");
    assert!(
        text.contains("NO   R3   ") && text.contains("mend: callgate cert issue --user recorder --instance 1"),
        "{text}"
    );
    shell.ok("cert issue --user recorder --instance 1");
    shell.ok("cert issue --user viewer --instance 1");
    let text = said("recorder --device 1001");
    assert!(text.contains("gets the keys of SRTP streams that it monitors in time."), "{text}");
    for outcome in
        ["KEYS_AVAILABLE (R16)", "KEYS_UNAVAILABLE/MONITORED_LATE", "KEYS_UNAVAILABLE/SWITCH", "NOT_ENCRYPTED"]
    {
        assert!(text.contains(outcome), "{text}");
    }
    assert!(text.contains("-> no session opens"), "the clear door is not its own: {text}");
    assert!(said("recorder --device 1002").contains("opens on the TLS door, and doesn't see 1002."));
    let text = said("viewer --device 1001 --door tls");
    assert!(text.starts_with("viewer, an end user (R6), instance 1"), "{text}");
    assert!(
        text.contains("Answer: viewer/1 opens on the TLS door, sees 1001, and gets no key: USER_NOT_AUTHORIZED (R16).")
    );
    assert!(
        text.contains("mend: callgate user set viewer --add-group 'Standard CTI Allow Reception of SRTP Key Material'   # the SRTP group only with the other two (R8)") && !text.contains("On the clear door"),
        "{text}"
    );

    let text = said("recorder");
    assert!(text.contains("and the devices that it sees") && !text.contains("R13  the device is"), "{text}");
    let expected =
        "Answer: recorder/1 opens on the TLS door, and gets the keys of SRTP streams of devices that it sees";
    assert!(text.contains(expected) && text.contains("Note: 2 devices are the user's"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&said("viewer --json")).unwrap();
    let asked = json["doors"][0]["disclosing"].as_array().unwrap();
    let rules: Vec<_> = asked.iter().map(|said| said["rule"].as_str().unwrap()).collect();
    assert_eq!((&json["device"], rules), (&serde_json::Value::Null, vec!["R16", "R2", "R16", "R21"]), "{json}");
    assert!(json["answer"].as_str().unwrap().ends_with("and gets no key: USER_NOT_AUTHORIZED (R16)."), "{json}");
    assert!(said("viewer --door clear").contains("Answer: viewer/1 opens no session on the clear door"));

    let json: serde_json::Value = serde_json::from_str(&said("viewer --device 1001 --json")).unwrap();
    assert_eq!((&json["doors"][0]["opens"], &json["doors"][1]["opens"]), (&true.into(), &false.into()), "{json}");
    assert_eq!(json["doors"][0]["streams"][0]["indicator"], "USER_NOT_AUTHORIZED", "{json}");

    shell.ok("cert revoke --user recorder --instance 1 --reason lost");
    let text = said("recorder --device 1001 --door tls");
    assert!(text.contains("was revoked at") && text.contains("opens no session on the TLS door"), "{text}");
    for (arguments, words) in [
        ("recrder --device 1001", "there is no user \"recrder\""),
        ("recorder --device 1011", "there is no device \"1011\""),
    ] {
        let (exit, error) = shell.fails(&format!("explain --user {arguments}"));
        assert!(exit == 1 && error.contains(words), "{error}");
    }
}

#[test]
fn r13_explain_says_that_the_line_of_a_device_is_restricted_and_its_mend_helps() {
    let shell = Shell::with_recorder();
    shell.ok("cert issue --user recorder --instance 1");
    shell.ok("device add 1003 --address udp:192.0.2.3:5060");
    shell.ok("user set recorder --add-device 1003");
    let asked = "explain --user recorder --device 1003 --door tls";
    shell.ok("device restrict 1003 --line 1");
    let text = shell.ok(asked);
    assert!(text.contains("NO   R13  line 1 of it is restricted: no app hears of its calls"), "{text}");
    assert!(text.contains("mend: callgate device unrestrict 1003 --line 1\n"), "{text}");
    assert!(text.contains("opens on the TLS door, and hears of no call of 1003.") && !text.contains("KEYS_"), "{text}");

    shell.ok("device restrict 1003");
    let text = shell.ok(asked);
    assert!(text.contains("the device is restricted, and line 1 of it is restricted: no app sees it"), "{text}");
    let mend = "mend: callgate device unrestrict 1003 && callgate device unrestrict 1003 --line 1\n";
    assert!(text.contains(mend) && text.contains("and doesn't see 1003."), "{text}");
    shell.ok("device unrestrict 1003");
    shell.ok("device unrestrict 1003 --line 1");
    let text = shell.ok(asked);
    assert!(text.contains("sees 1003, and gets the keys of SRTP streams"), "{text}");

    let (exit, error) = shell.fails("device unrestrict 1003 --line 3");
    assert!(exit == 2 && error.contains("line") && error.contains('3'), "{exit}: {error}");
    assert!(!shell.ok("device show 1003").contains('3'.to_string().repeat(2).as_str()));
}

#[test]
fn explain_notes_that_a_device_has_no_addresses_only_where_calls_need_them() {
    let shell = Shell::set_up();
    let config = "[[switch]]\nname = \"sim\"\nkind = \"simulated\"\ndevices = 1\n[[device]]\nname = \"1001\"\n\
                  [[user]]\nname = \"recorder\"\ndevices = [\"sim-00001\", \"1001\"]\n";
    fs::write(shell.path("callgate/callgate.toml"), config).unwrap();
    for (device, expected) in [("sim-00001", false), ("1001", true)] {
        let text = shell.ok(&format!("explain --user recorder --device {device}"));
        assert_eq!(text.contains("has no addresses"), expected, "{text}");
    }
}

#[test]
fn r13_explain_says_how_a_device_gets_a_name_and_what_it_says_works() {
    let unset = Shell::new().fails("explain --user recorder --device 1001");
    assert_eq!(unset, (2, UNSET.into()));
    let shell = Shell::with_recorder();
    shell.ok("cert issue --user recorder --instance 1");
    for address in ["udp:192.0.2.7:5060", "192.0.2.7:5060"] {
        let text = shell.ok(&format!("explain --user recorder --device {address} --door tls"));
        assert!(text.contains("and the device 192.0.2.7:5060\n"), "as the gateway calls it: {text}");
        assert!(text.contains("NO   R13  no device "), "{text}");
        assert!(text.contains("--add-group 'Standard CTI Allow Control of All Devices'"), "{text}");
    }
    let said = shell.ok("explain --user recorder --device 192.0.2.7:5060");
    for command in
        ["device add phone-192.0.2.7 --address 192.0.2.7:5060", "user set recorder --add-device phone-192.0.2.7"]
    {
        assert!(said.contains(&format!("\n  callgate {command}\n")), "{said}");
        shell.ok(command);
    }
    let text = shell.ok("explain --user recorder --device phone-192.0.2.7");
    assert!(text.contains("sees phone-192.0.2.7, and gets the keys of SRTP streams"), "{text}");

    let config = shell.path("callgate/callgate.toml");
    let first = fs::read_to_string(&config).unwrap();
    let switch = "[[switch]]\nname = \"pbx1\"\nkind = \"hep\"\npbx = [\"192.0.2.1:5060\"]";
    fs::write(&config, first + switch).unwrap();
    for (device, words) in [
        ("192.0.2.7:5060", "is an address of the device \"phone-192.0.2.7\""),
        ("192.0.2.1:5060", "is the PBX itself, by `pbx` of the switch \"pbx1\""),
        ("192.0.2.9", "such as 192.0.2.9:5060, or tcp:192.0.2.9:5060"),
    ] {
        let (exit, error) = shell.fails(&format!("explain --user recorder --device {device}"));
        assert!(exit == 2 && error.contains(words), "{error}");
    }
    shell.ok("user set recorder --add-group all-devices");
    let text = shell.ok("explain --user recorder --device tcp:192.0.2.8:5060");
    assert!(text.contains("sees tcp:192.0.2.8:5060, and gets the keys"), "{text}");
}

#[test]
fn r43_explain_knows_names_and_numbers_and_offers_the_nearest() {
    let shell = Shell::new();
    let expected = "CONNECTION_ON_INVALID_PORT (202), rule R10\n";
    for code in ["CONNECTION_ON_INVALID_PORT", "connection_on_invalid_port", "202"] {
        assert!(shell.ok(&format!("explain {code}")).starts_with(expected));
    }
    let json =
        |code: &str| serde_json::from_str::<serde_json::Value>(&shell.ok(&format!("explain {code} --json"))).unwrap();
    assert_eq!((&json("202")["number"], &json("NOT_ENCRYPTED")["rule"]), (&202.into(), &"R17".into()));
    assert!(json("KEYS_UNAVAILABLE")["reasons"].as_array().unwrap().iter().all(|reason| reason["mend"].is_string()));
    let reasons = shell.ok("explain KEYS_UNAVAILABLE");
    assert_eq!(reasons.lines().filter(|line| line.starts_with("KEYS_UNAVAILABLE_")).count(), 6, "{reasons}");
    for indicator in ["KEYS_AVAILABLE", "NOT_ENCRYPTED"] {
        assert_eq!(shell.ok(&format!("explain {indicator}")).lines().count(), 1);
    }
    for (code, near) in
        [("CONECTION_ON_INVALID_PORT", "CONNECTION_ON_INVALID_PORT (202)"), ("revoked", "CERTIFICATE_REVOKED (504)")]
    {
        let (exit, error) = shell.fails(&format!("explain {code}"));
        assert_eq!(exit, 1);
        assert!(error.contains(&format!("the nearest are {near}")), "{error}");
    }
}

#[test]
fn explain_knows_a_rule_from_a_code() {
    for rule in ["R16", "r41a"] {
        let output = Command::new(env!("CARGO_BIN_EXE_callgate")).args(["explain", rule]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("docs/RULES.md"), "{error}");
    }
}
