//! Each wrong setting has an error that says where it is and what to write instead.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use callgate::{
    audit::{Flush, Options},
    config::{Config, ConfigError, HttpListen, Limits, SwitchKind},
    directory::{ScramVerifier, UserKind},
    model::{Group, Mode, Strength, Suite},
    switch::sim::SimSettings,
};

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Config::parse(text, "callgate.toml", Path::new("/etc/callgate"), variables)
}

/// The error's first line, without the file's name.
fn error(text: &str) -> String {
    let error = parse(text, &[]).unwrap_err().to_string();
    let first = error.lines().next().unwrap();
    first.strip_prefix("callgate.toml:").unwrap_or_else(|| panic!("{first}")).into()
}

fn variable_error(name: &str, value: &str) -> String {
    parse("", &[(name, value)]).unwrap_err().to_string()
}

#[test]
fn every_key_has_a_default() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.mode, Mode::Mixed);
    assert_eq!(config.doors.clear.unwrap().to_string(), "127.0.0.1:2748");
    assert_eq!(config.doors.tls.unwrap().to_string(), "127.0.0.1:2749");
    assert_eq!(config.tls.ledger, PathBuf::from("/etc/callgate/ledger.jsonl"));
    assert_eq!(config.heartbeat, callgate::config::Heartbeat::default());
    assert_eq!(config.limits, Limits::default());
}

#[test]
fn everything_that_is_written_is_read() {
    let scram = ScramVerifier::generate("pencil", 4096).unwrap().to_line();
    let text = format!(
        r#"
        mode = "mixed"
        lenient_doors = true
        [doors]
        clear = "closed"
        tls = "[::]:2749"
        [limits]
        sessions = 5
        [tls]
        key = "/secret/gateway.key"
        [[switch]]
        name = "pbx1"
        kind = "replay"
        capture = "call.pcap"
        speed = 0
        pbx = ["udp:127.0.0.1:15060"]
        [[switch]]
        name = "pbx2"
        kind = "hep"
        listen = "[::]:9070"
        security_level = "unsecure"
        networks = ["192.0.2.0/24", "2001:db8::1"]
        password_file = "hep.password"
        queue_bytes = 1048576
        [[user]]
        name = "recorder"
        kind = "end-user"
        groups = ["Standard CTI Enabled"]
        devices = ["1001"]
        password = "{}"
        [[device]]
        name = "1001"
        addresses = ["udp:127.0.0.1:16010", "tcp:[::1]:5060"]
        [[device.line]]
        number = 2
        label = "private"
        [[device.line]]
        number = 1
        restricted = true
        [[device]]
        name = "1002"
        restricted = true
        "#,
        *scram
    );
    let config = parse(&text, &[]).unwrap();
    assert!(config.lenient_doors && config.doors.clear.is_none());
    assert_eq!(config.limits.sessions, 5);
    assert_eq!(config.tls.key, PathBuf::from("/secret/gateway.key"));
    let SwitchKind::Replay { capture, speed, delay_seconds } = &config.switches[0].kind else { panic!() };
    let SwitchKind::Hep(hep) = &config.switches[1].kind else { panic!() };
    assert_eq!((hep.listen.to_string(), hep.queue_bytes), ("[::]:9070".into(), 1 << 20));
    assert_eq!(hep.password_file.as_deref(), Some(Path::new("/etc/callgate/hep.password")));
    assert_eq!(hep.networks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.0/24", "2001:db8::1/128"]);
    assert_eq!((capture.as_path(), *speed, *delay_seconds), (Path::new("/etc/callgate/call.pcap"), 0.0, 0));
    let user = config.directory.user("recorder").unwrap();
    assert_eq!(user.kind, UserKind::EndUser);
    assert!(user.groups.contains(Group::CtiEnabled));
    assert_eq!(user.password.as_ref().unwrap().to_line(), scram);
    assert_eq!(config.directory.devices_of(user).count(), 1);
    let device = config.directory.device("1001").unwrap();
    let lines: Vec<_> = device.lines.iter().map(|line| (line.number.0, line.restricted)).collect();
    assert_eq!((lines, device.visible_lines().count()), (vec![(1, true), (2, false)], 1));
    assert_eq!(config.directory.device("1002").unwrap().lines[0].number.0, 1, "a device without lines has line 1");
}

#[test]
fn a_simulated_switch_brings_its_devices() {
    let text = r#"
        [[switch]]
        name = "sim"
        kind = "simulated"
        devices = 3
        calls_per_second = 2
        suites = ["AEAD_AES_256_GCM"]
        [[user]]
        name = "app"
        devices = ["sim-00001", "sim-00002"]
        [[device]]
        name = "sim-00002"
        restricted = true
    "#;
    let config = parse(text, &[]).unwrap();
    let SwitchKind::Simulated(settings) = &config.switches[0].kind else { panic!() };
    let expected =
        SimSettings { devices: 3, calls_per_second: 2.0, suites: vec![Suite::AeadAes256Gcm], ..SimSettings::default() };
    assert_eq!(settings, &expected);
    let devices: Vec<_> = config.directory.devices().map(|device| (device.name.as_str(), device.restricted)).collect();
    assert_eq!(devices, [("sim-00001", false), ("sim-00002", true), ("sim-00003", false)]);
}

#[test]
fn a_device_beyond_those_of_a_simulated_switch_is_told_how_many_it_has() {
    for (devices, hint) in [
        (6, "the switch `sim` has 6, `sim-00001` to `sim-00006`: take one of them, or give it more `devices`"),
        (1, "the switch `sim` has `sim-00001` only: take it, or give it more `devices`"),
        (0, "the switch `sim` has no devices: give it some by `devices`"),
    ] {
        let text = format!(
            "[[switch]]\nname = \"sim\"\nkind = \"simulated\"\ndevices = {devices}\n\
             [[user]]\nname = \"a\"\ndevices = [\"sim-00007\"]"
        );
        let expected = "7:12: the user \"a\" is associated with \"sim-00007\", and there is no such device";
        assert_eq!(error(&text), format!("{expected}: {hint}"));
    }
}

#[test]
fn what_can_t_be_simulated_is_named() {
    for (line, expected) in [
        ("devices = 100001", "4:11: devices is 100001: from 0 to 100000 are allowed"),
        ("calls_per_second = -1", "4:20: calls_per_second is -1: from 0 to 10000"),
        ("calls_per_second = nan", "4:20: calls_per_second is NaN: from 0 to 10000"),
        ("call_seconds = 0", "4:16: call_seconds is 0: from 1 to 86400 are allowed"),
        ("ring_seconds = 301", "4:16: ring_seconds is 301: from 0 to 300 are allowed"),
        ("secure_percent = 101", "4:18: secure_percent is 101: from 0 to 100 are allowed"),
        ("unanswered_percent = -1", "4:22: unanswered_percent is -1: from 0 to 100 are allowed"),
        ("hold_percent = 101", "4:16: hold_percent is 101: from 0 to 100 are allowed"),
        ("rekey_percent = 101", "4:17: rekey_percent is 101: from 0 to 100 are allowed"),
        ("seed = -1", "4:8: seed is -1: from 0 to 9223372036854775807 are allowed"),
        (
            "suites = [\"AEAD_AES_256_GMC\"]",
            "4:11: unknown crypto suite `AEAD_AES_256_GMC`: did you mean `AEAD_AES_256_GCM`?",
        ),
        ("capture = \"call.pcap\"", "4:11: a switch of kind `simulated` has no `capture`: take it out"),
        ("pbx = [\"udp:192.0.2.1:5060\"]", "4:8: a switch of kind `simulated` has no `pbx`: take it out"),
        ("device = 3", "4:1: unknown key `device`: did you mean `devices`?"),
    ] {
        assert_eq!(error(&format!("[[switch]]\nname = \"sim\"\nkind = \"simulated\"\n{line}")), expected);
    }
    let replay = "[[switch]]\nname = \"a\"\nkind = \"replay\"\ncapture = \"a.pcap\"\nseed = 1";
    assert_eq!(error(replay), "5:8: a switch of kind `replay` has no `seed`: take it out");
}

#[test]
fn r2_non_secure_mode_closes_the_tls_door_whatever_the_config_says() {
    let config = parse("mode = \"non-secure\"\n[doors]\ntls = \"127.0.0.1:2749\"", &[]).unwrap();
    assert_eq!((config.mode, config.doors.tls), (Mode::NonSecure, None));
    assert_eq!(
        error("mode = \"non-secure\"\n[doors]\nclear = \"closed\""),
        "3:9: no door is open: non-secure mode has only the clear one (R2)"
    );
}

#[test]
fn the_whole_error_shows_the_line_and_marks_the_place() {
    let error = parse("mode = \"mixed\"\n\n[doors]\nclaer = \"closed\"\n", &[]).unwrap_err();
    let expected = "\
callgate.toml:4:1: unknown key `claer`: did you mean `clear`?
  |
4 | claer = ...
  | ^^^^^";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_value_in_a_list_over_several_lines_is_shown_like_others() {
    let text =
        "[[user]]\nname = \"a\"\ngroups = [\n  \"Standard CTI Enabled\",\n  \"Standard CTI Secure Conection\",\n]\n";
    let expected = "\
callgate.toml:5:3: unknown group `Standard CTI Secure Conection`: did you mean `Standard CTI Secure Connection`?
  |
5 |   \"Standard CTI Secure Conection\",
  |   ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^";
    assert_eq!(parse(text, &[]).unwrap_err().to_string(), expected);
}

#[test]
fn wrong_keys_and_words_offer_the_nearest() {
    for (text, expected) in [
        ("mod = \"mixed\"", "1:1: unknown key `mod`: did you mean `mode`?"),
        ("[limit]\nsessions = 1", "1:2: unknown key `limit`: did you mean `[limits]`?"),
        ("[limits]\nsession = 1", "2:1: unknown key `session`: did you mean `sessions`?"),
        ("[[user]]\nname = \"a\"\ngruops = []", "3:1: unknown key `gruops`: did you mean `groups`?"),
        ("[[device]]\nname = \"a\"\n[[device.line]]\nnumer = 1", "4:1: unknown key `numer`: did you mean `number`?"),
        ("[[user]]\nname = \"a\"\nkind = \"enduser\"", "3:8: unknown kind of user `enduser`: did you mean `end-user`?"),
        (
            "[[user]]\nname = \"a\"\ngroups = [\"Standard CTI Enabeld\"]",
            "3:11: unknown group `Standard CTI Enabeld`: did you mean `Standard CTI Enabled`?",
        ),
        ("[[switch]]\nname = \"a\"\nkind = \"repaly\"", "3:8: unknown kind of switch `repaly`: did you mean `replay`?"),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn r2_an_unknown_mode_offers_both_and_never_the_one_without_security() {
    for mode in ["secure", "mixd", "0", "nonsecure"] {
        let expected =
            format!("1:8: unknown mode `{mode}`: known are `mixed` (with the TLS door), `non-secure` (without it)");
        assert_eq!(error(&format!("mode = \"{mode}\"")), expected);
    }
}

#[test]
fn wrong_values_name_what_is_allowed() {
    for (text, expected) in [
        (
            "[doors]\ntls = \"localhost:2749\"",
            "2:7: \"localhost:2749\" is no door: write an IP address and a port from 0 to 65535, such as \
             \"127.0.0.1:2749\" or \"[::]:2749\", or \"closed\"",
        ),
        (
            "[doors]\nclear = \"127.0.0.1:70000\"",
            "2:9: \"127.0.0.1:70000\" is no door: write an IP address and a port from 0 to 65535, such as \
             \"127.0.0.1:2749\" or \"[::]:2749\", or \"closed\"",
        ),
        ("[doors]\nclear = \"127.0.0.1:2749\"", "2:9: both doors can't be at 127.0.0.1:2749"),
        ("[limits]\nsessions = 0", "2:12: limits.sessions is 0: from 1 to 1000000 are allowed"),
        ("[limits]\nprobe_seconds = 31", "2:17: limits.probe_seconds is 31: from 1 to 30 are allowed"),
        ("[limits]\nopen_seconds = 301", "2:16: limits.open_seconds is 301: from 1 to 300 are allowed"),
        (
            "[limits]\nqueued_bytes_per_session = -1",
            "2:28: limits.queued_bytes_per_session is -1: from 65536 to 1073741824 are allowed",
        ),
        (
            "[heartbeat]\nmin_seconds = 40",
            "2:15: heartbeat.default_seconds is 30, not between heartbeat.min_seconds, 40, and heartbeat.max_seconds, 300",
        ),
        (
            "[heartbeat]\nmin_seconds = 40\nmax_seconds = 39",
            "2:15: heartbeat.min_seconds is 40, more than heartbeat.max_seconds, 39",
        ),
        (
            "[[device]]\nname = \"a\"\naddresses = [\"1001\"]",
            "3:14: \"1001\" is no address: write transport, IP address and port, such as \"udp:192.0.2.1:5060\" or \
             \"tcp:[2001:db8::1]:5061\"",
        ),
        ("[[switch]]\nname = \"a\"\nkind = \"replay\"", "3:8: a replay needs `capture`, the file to play"),
        (
            "[[switch]]\nname = \"a\"\nkind = \"replay\"\ncapture = \"c\"\nspeed = -1",
            "5:9: speed is -1: from 0 (at once) to 1000; 1 is as it was recorded",
        ),
        ("[[user]]\nkind = \"end-user\"", "1:1: [[user]] has no `name`, and needs one"),
        ("mode = ", "1:8: a value is missing here, or is text without quotes: write text as \"...\""),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_key_and_what_to_write() {
    let user = |more: &str| format!("[[user]]\nname = \"a\"\n{more}");
    let several = |list: &str, key: &str| {
        format!("`{list}`: there may be several, in double brackets: write [[{key}]] for each, and its keys below it")
    };
    for (text, expected) in [
        (
            "[limits]\nsessions = \"5\"".into(),
            "2:12: `limits.sessions` is text where a whole number belongs: take the quotes away",
        ),
        (
            "[limits]\nsessions = \"many\"".into(),
            "2:12: `limits.sessions` is text where a whole number belongs: write digits, without quotes and without a fraction",
        ),
        (
            "[limits]\nsessions = 5.5".into(),
            "2:12: `limits.sessions` is a number with a fraction where a whole number belongs: write digits, without quotes \
             and without a fraction",
        ),
        (
            "[limits]\nsessions = 99999999999999999999".into(),
            "2:12: `limits.sessions` is too large a number: write a smaller one",
        ),
        (
            "[doors]\nclear = 2748".into(),
            "2:9: `doors.clear` is a number where text belongs: put it in quotes, as in `clear = \"...\"`",
        ),
        (
            "lenient_doors = \"yes\"".into(),
            "1:17: `lenient_doors` is text where true or false belongs: write one of these two words, without quotes",
        ),
        (
            user("groups = \"Standard CTI Enabled\""),
            "3:10: `user.groups` is text where a list belongs: put it in brackets, with commas between several, as in \
             `groups = [\"...\"]`",
        ),
        (user("groups = [1]"), "3:11: `user.groups` has in it a number where text belongs: put it in quotes"),
        (
            user("kind = [\"end-user\"]"),
            "3:8: `user.kind` is a list where one text belongs: write it in quotes, and without brackets, as in `kind = \"...\"`",
        ),
        (
            "[[switch]]\nname = \"a\"\nkind = \"replay\"\nspeed = \"1.5\"".into(),
            "4:9: `switch.speed` is text where a number belongs: take the quotes away",
        ),
        (
            "[[device]]\nname = \"a\"\nrestricted = 1".into(),
            "3:14: `device.restricted` is a number where true or false belongs: write one of these two words, without quotes",
        ),
        ("[user]\nname = \"a\"".into(), &format!("1:1: {}", several("user", "user"))),
        (
            "[[device]]\nname = \"a\"\n[device.line]\nnumber = 1".into(),
            &format!("3:1: {}", several("device.line", "device.line")),
        ),
        ("user = 1".into(), "1:8: `user`: it is a list of tables: write [[user]] for each, and its keys below it"),
        (
            "[[doors]]\nclear = \"closed\"".into(),
            "1:1: `doors`: there is one of it, in single brackets: write [doors], and its keys below it",
        ),
        ("doors = \"x\"".into(), "1:9: `doors`: it is a table: write [doors], and its keys below it"),
        (
            "[[device]]\nname = \"a\"\n[[device.line]]\nlabel = \"x\"".into(),
            "3:1: [[device.line]] has no `number`, and needs one",
        ),
        ("mode = mixed".into(), "1:8: a value is missing here, or is text without quotes: write text as \"...\""),
        ("[doors]\n[tls]\n[doors]".into(), "3:2: this is here a second time: keep one of them"),
        (
            "[user]\nname = \"a\"\n[user]\nname = \"b\"".into(),
            "3:2: `user` is here a second time: of what there may be several, write each as [[user]]",
        ),
    ] {
        assert_eq!(error(&text), expected, "{text}");
    }
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    let listens = "where the gateway listens for apps is said by `clear` and `tls` under [doors]";
    for (text, expected) in [
        ("clear = \"closed\"", "1:1: unknown key `clear`: it belongs under [doors]"),
        (
            "[doors]\nlenient_doors = true",
            "2:1: unknown key `lenient_doors`: it belongs at the top of the file, above the first line in brackets",
        ),
        ("[doors]\nledger = \"x\"", "2:1: unknown key `ledger`: it belongs under [tls]"),
        ("port = \"2748\"", &format!("1:1: unknown key `port`: {listens}")),
        ("[doors]\nport = 2748", &format!("2:1: unknown key `port`: {listens}")),
        ("[[switch]]\nname = \"a\"\nkind = \"hep\"\nport = 9060", "4:1: unknown key `port`: did you mean `listen`?"),
        ("[[users]]\nname = \"a\"", "1:3: unknown key `users`: did you mean `[[user]]`?"),
        ("[door]\nclear = \"closed\"", "1:2: unknown key `door`: did you mean `[doors]`?"),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
}

#[test]
fn a_file_cut_anywhere_is_read_or_refused_with_a_place() {
    let text = "[doors]\nclear = \"closed\"\n[[user]]\nname = \"m\u{fc}ller\"\ndevices = [\"1001\"]\n\
                [[device]]\r\nname = \"1001\"\n\tdescription = '''\u{20ac}\n'''\n";
    let mut refused = 0;
    for (at, _) in text.char_indices() {
        if let Err(error) = parse(&text[..at], &[]) {
            assert!(error.to_string().starts_with("callgate.toml:"), "{error}");
            refused += 1;
        }
    }
    assert!(refused > 50 && parse(text, &[]).is_ok());
}

#[test]
fn r6_user_names_are_checked_and_unique_across_both_kinds() {
    assert_eq!(
        error("[[user]]\nname = \"a/b\""),
        "2:8: a user name must not contain '/': printable characters other than / and :"
    );
    assert_eq!(
        error("[[user]]\nname = \"a\"\n[[user]]\nname = \"a\"\nkind = \"end-user\""),
        "4:8: there are two users called \"a\", and names are unique across both kinds of users (R6)"
    );
}

#[test]
fn r8_the_srtp_group_needs_the_other_two() {
    assert_eq!(
        error(
            "[[user]]\nname = \"a\"\ngroups = [\n  \"Standard CTI Enabled\",\n  \
             \"Standard CTI Allow Reception of SRTP Key Material\",\n]"
        ),
        "5:3: the user \"a\" is in \"Standard CTI Allow Reception of SRTP Key Material\" and not in \
         \"Standard CTI Secure Connection\": a user enters that group only when already in the other two (R8)"
    );
}

#[test]
fn r13_associations_are_with_devices_that_are_there() {
    assert_eq!(
        error(
            "[[user]]\nname = \"a\"\ndevices = [\"1001\", \"1102\"]\n[[device]]\nname = \"1001\"\n[[device]]\nname = \"1002\""
        ),
        "3:20: the user \"a\" is associated with \"1102\", and there is no such device: did you mean `1002`?"
    );
}

#[test]
fn r13_a_line_that_no_call_is_on_can_t_be_restricted() {
    let device = |number, restricted| {
        format!("[[device]]\nname = \"a\"\n[[device.line]]\nnumber = {number}\nrestricted = {restricted}\n")
    };
    for (text, at) in [
        (device(2, true), "5:14"),
        (device(65_535, true), "5:14"),
        ("[[device]]\nname = \"a\"\nline = [{ number = 1 }, { number = 3, restricted = true }]".into(), "3:52"),
    ] {
        let error = error(&text);
        assert!(error.starts_with(&format!("{at}: line ")), "{error}");
        assert!(
            error.ends_with(
                " of the device \"a\" can't be restricted: switches report all calls of a device on its line 1, so it would \
                 hide nothing; restrict that line, or the device (R13)"
            ),
            "{error}"
        );
    }
    for text in [device(1, true), device(2, false)] {
        assert!(parse(&text, &[]).is_ok(), "{text}");
    }
}

#[test]
fn devices_lines_addresses_and_switches_are_unique() {
    for (text, expected) in [
        ("[[device]]\nname = \"a\"\n[[device]]\nname = \"a\"", "4:8: there are two devices called \"a\""),
        (
            "[[device]]\nname = \"a\"\naddresses = [\"udp:192.0.2.1:5060\"]\n[[device]]\nname = \"b\"\n\
             addresses = [\"192.0.2.1:5060\"]",
            "6:14: the address 192.0.2.1:5060 belongs to the device \"a\" already",
        ),
        ("[[device]]\nname = \"a\"\nline = [{ number = 1 }, { number = 1 }]", "3:36: the device \"a\" has two lines 1"),
        (
            "[[switch]]\nname=\"a\"\nkind=\"replay\"\ncapture=\"c\"\n[[switch]]\nname=\"a\"\nkind=\"replay\"\ncapture=\"c\"",
            "6:6: there are two switches called \"a\"",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}

/// A feed with this in it, from the third line on.
fn feed(more: &str) -> String {
    format!("[[switch]]\nname = \"pbx\"\nkind = \"hep\"\n{more}")
}

#[test]
fn r5_a_feed_listens_on_loopback_to_loopback_unless_it_is_told_otherwise() {
    let config = parse(&feed(""), &[]).unwrap();
    let SwitchKind::Hep(hep) = &config.switches[0].kind else { panic!() };
    assert_eq!((hep.listen.to_string(), hep.password_file.as_ref()), ("127.0.0.1:9060".into(), None));
    for (source, allowed) in [("127.0.0.2", true), ("::1", true), ("192.0.2.1", false), ("2001:db8::1", false)] {
        assert_eq!(hep.networks.iter().any(|network| network.contains(source.parse().unwrap())), allowed, "{source}");
    }
    // Whoever names networks names all of them.
    let config = parse(&feed("networks = [\"192.0.2.1\"]"), &[]).unwrap();
    let SwitchKind::Hep(hep) = &config.switches[0].kind else { panic!() };
    assert!(!hep.networks.iter().any(|network| network.contains("127.0.0.1".parse().unwrap())));
}

#[test]
fn r4_a_feed_over_udp_is_unsecure_or_disabled() {
    assert_eq!(parse(&feed("security_level = \"unsecure\""), &[]).unwrap().switches.len(), 1);
    assert_eq!(parse(&feed("security_level = \"disabled\""), &[]).unwrap().switches.len(), 0);
    assert_eq!(
        error(&feed("security_level = \"secure-high\"")),
        "4:18: security_level is \"secure-high\": a feed over UDP can be \"unsecure\" or \"disabled\" (R4)"
    );
    // It is checked all the same, so that it can be enabled again.
    assert!(error(&feed("security_level = \"disabled\"\nlisten = \"x\"")).starts_with("5:10:"));
}

#[test]
fn wrong_settings_of_a_feed_are_named_with_what_to_write() {
    for (more, expected) in [
        (
            "listen = \"localhost\"",
            "4:10: \"localhost\" is nowhere to listen: write an IP address and a port from 0 to 65535, such as \
             \"127.0.0.1:9060\" or \"0.0.0.0:9060\"",
        ),
        (
            "listen = \"0.0.0.0:9060\"",
            "4:10: listen is 0.0.0.0:9060, and without `networks` only this machine may send (R5): name who sends, such as \
             networks = [\"192.0.2.10\", \"198.51.100.0/24\"], or listen on the loopback",
        ),
        (
            "networks = [\"192.0.2.1/24\"]",
            "4:13: \"192.0.2.1/24\" is no network: the address has bits behind the prefix: write \"192.0.2.0/24\", or \
             without a prefix for the one address",
        ),
        (
            "networks = [\"pbx.example.org\"]",
            "4:13: \"pbx.example.org\" is no network: write an IP address and the length of its prefix, such as \
             \"192.0.2.0/24\" or \"2001:db8::/32\"",
        ),
        ("queue_bytes = 4096", "4:15: queue_bytes is 4096: from 1048576 to 1073741824 are allowed"),
        ("capture = \"call.pcap\"", "4:11: a switch of kind `hep` has no `capture`: take it out"),
        ("speed = 2.0", "4:9: a switch of kind `hep` has no `speed`: take it out"),
        ("delay_seconds = 2", "4:17: a switch of kind `hep` has no `delay_seconds`: take it out"),
        ("network = [\"192.0.2.0/24\"]", "4:1: unknown key `network`: did you mean `networks`?"),
        ("password = \"hunter2\"", "4:1: unknown key `password`: did you mean `password_file`?"),
    ] {
        let whole = parse(&feed(more), &[]).unwrap_err().to_string();
        assert_eq!(error(&feed(more)), expected);
        assert!(!whole.contains("hunter2"), "{whole}");
    }
    let replay = |more: &str| format!("[[switch]]\nname = \"a\"\nkind = \"replay\"\ncapture = \"c\"\n{more}");
    for (key, value, column) in [
        ("listen", "\"127.0.0.1:9060\"", 10),
        ("security_level", "\"unsecure\"", 18),
        ("networks", "[\"192.0.2.0/24\"]", 13),
        ("password_file", "\"x\"", 17),
        ("queue_bytes", "1048576", 15),
    ] {
        let expected = format!("5:{column}: a switch of kind `replay` has no `{key}`: take it out");
        assert_eq!(error(&replay(&format!("{key} = {value}"))), expected);
    }
    assert_eq!(
        error("[[switch]]\nname = \"a\"\nkind = \"hepp\""),
        "3:8: unknown kind of switch `hepp`: did you mean `hep`?"
    );
}

#[test]
fn one_address_is_a_device_s_or_a_pbx_s_or_the_gateway_s_own() {
    let config = |pbx: &str, device: &str| {
        format!("{}\n[[device]]\nname = \"1001\"\naddresses = [\"{device}\"]", feed(&format!("pbx = [\"{pbx}\"]")))
    };
    let (pbx, phone) = ("udp:192.0.2.1:5060", "udp:192.0.2.7:5060");
    assert!(parse(&config(pbx, phone), &[]).is_ok());
    assert!(parse(&config(pbx, "tcp:192.0.2.1:5060"), &[]).is_ok(), "another transport is another address");
    for (pbx, device, expected) in [
        (
            pbx,
            "192.0.2.1:5060",
            "7:14: 192.0.2.1:5060 is the PBX itself, by `pbx` of the switch \"pbx\", and so can't be the device \"1001\": \
             take it out of one of the two",
        ),
        (
            "udp:127.0.0.1:9060",
            phone,
            "4:8: 127.0.0.1:9060 is where this gateway listens itself, by `listen` of the switch \"pbx\": write where the \
             other side's SIP comes from",
        ),
        (
            pbx,
            "tcp:127.0.0.1:2749",
            "7:14: tcp:127.0.0.1:2749 is where this gateway listens itself, by `tls` under [doors]: write where the other \
             side's SIP comes from",
        ),
    ] {
        assert_eq!(error(&config(pbx, device)), expected);
    }
}

#[test]
fn two_feeds_have_two_ports() {
    let two = |one: &str, other: &str| {
        let networks = "networks = [\"192.0.2.0/24\"]";
        format!(
            "{}\n{networks}\n[[switch]]\nname = \"b\"\nkind = \"hep\"\nlisten = \"{other}\"\n{networks}",
            feed(&format!("listen = \"{one}\""))
        )
    };
    for (one, other) in
        [("127.0.0.1:9060", "127.0.0.1:9060"), ("0.0.0.0:9060", "127.0.0.1:9060"), ("192.0.2.1:9060", "[::]:9060")]
    {
        let expected = format!("9:10: the switch \"pbx\" listens at {other} already: give each feed a port of its own");
        assert_eq!(error(&two(one, other)), expected);
    }
    for (one, other) in
        [("127.0.0.1:9060", "127.0.0.1:9061"), ("127.0.0.1:9060", "127.0.0.2:9060"), ("0.0.0.0:0", "0.0.0.0:0")]
    {
        assert_eq!(parse(&two(one, other), &[]).unwrap().switches.len(), 2);
    }
}

#[test]
fn r14_a_plaintext_password_is_refused_and_not_shown() {
    let text = "[[user]]\nname = \"a\"\npassword = \"pencil\"";
    let error = parse(text, &[]).unwrap_err().to_string();
    assert_eq!(
        error.lines().next().unwrap(),
        "callgate.toml:3:12: password of the user \"a\": it is not a SCRAM line: plaintext passwords are not accepted; \
         run `callgate passwd` and paste what it prints"
    );
    for text in [
        text,
        "[[user]]\nname = \"a\"\npassword = 1234567",
        "[[user]]\npasword = \"pencil\"",
        "[[user]]\npassword = \"pencil",
        "password = pencil",
    ] {
        let error = parse(text, &[]).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("pencil") && !shown.contains("1234567"), "{shown}");
    }
}

#[test]
fn r41a_what_is_said_of_a_device_fits_into_a_frame() {
    let device = |description: usize, lines: usize, label: usize| {
        let mut text = format!("[[device]]\nname = \"a\"\ndescription = \"{}\"\n", "x".repeat(description));
        for number in 1..=lines {
            text.push_str(&format!("[[device.line]]\nnumber = {number}\nlabel = \"{}\"\n", "x".repeat(label)));
        }
        text
    };
    assert!(parse(&device(512, 64, 64), &[]).is_ok());
    for (text, expected) in [
        (device(513, 1, 1), "3:15: a device's description has 513 bytes: up to 512 are allowed"),
        (device(1, 65, 1), "197:10: the device \"a\" has 65 lines: 64 are allowed"),
        (device(1, 1, 65), "6:9: a line's label has 65 bytes: up to 64 are allowed"),
    ] {
        assert!(error(&text).starts_with(expected), "{}", error(&text));
    }
}

#[test]
fn r20_no_error_shows_what_could_be_a_password() {
    for (text, shown) in [
        ("secret = \"SCRAM-SHA-256$65536:hunter2$a:b\"", "3 | secret = ..."),
        ("scram = \"hunter2\"", "3 | scram = ..."),
        ("verifier = \"hunter2\"", "3 | verifier = ..."),
        ("key = \"hunter2\"", "3 | key = ..."),
        ("devices = \"hunter2\"", "3 | devices = ..."),
        ("devices = 70077007", "3 | devices = ..."),
        ("groups = { password = \"hunter2\" }", "3 | groups = ..."),
        ("devices = [{ password =\n\"hunter2\" }]", "3 | devices = [{ password ="),
        ("devices = [\n  { password =\n    \"hunter2\" ]", "..."),
        ("kind = \"SCRAM-SHA-256$65536:hunter2$a:b\"", "3 | kind = \"SCRAM-SHA-256$...\""),
        ("password = \"hunter2\nname = 1", "3 | password = ..."),
        ("password = \"hunter2\" x", "3 | password = ..."),
    ] {
        let error = parse(&format!("[[user]]\nname = \"a\"\n{text}\n"), &[]).unwrap_err();
        let whole = format!("{error} {error:?}");
        assert!(!whole.contains("hunter2") && !whole.contains("70077007"), "{text}: {whole}");
        assert!(error.to_string().contains(shown), "{text}: {error}");
    }
    let error = parse("user = [\n  { name = \"a\",\n    scram = \"hunter2\" },\n]", &[]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
}

#[test]
fn variables_override_before_the_check() {
    let text = "[doors]\nclear = \"nonsense\"";
    let variables =
        [("CALLGATE_MODE", "non-secure"), ("CALLGATE_DOORS__CLEAR", "127.0.0.1:0"), ("CALLGATE_LIMITS__SESSIONS", "7")];
    let config = parse(text, &variables).unwrap();
    assert_eq!(config.mode, Mode::NonSecure);
    assert_eq!(config.doors.clear.unwrap().port(), 0);
    assert_eq!(config.limits.sessions, 7);
    assert!(parse("", &[("CALLGATE_LENIENT_DOORS", "true")]).unwrap().lenient_doors);
}

#[test]
fn a_wrong_variable_is_named() {
    for (name, value, expected) in [
        (
            "CALLGATE_MODE",
            "open",
            "unknown mode `open`: known are `mixed` (with the TLS door), `non-secure` (without it)",
        ),
        ("CALLGATE_LENIENT_DOORS", "yes", "\"yes\" is not `true` or `false`"),
        ("CALLGATE_LIMITS__SESSIONS", "many", "\"many\" is not a whole number"),
        ("CALLGATE_LIMITS__SESSIONS", "0", "limits.sessions is 0: from 1 to 1000000 are allowed"),
        ("CALLGATE_LIMITS__SESSION", "1", "no setting is called so: did you mean `CALLGATE_LIMITS__SESSIONS`?"),
        ("CALLGATE_MOED", "mixed", "no setting is called so: did you mean `CALLGATE_MODE`?"),
    ] {
        assert_eq!(variable_error(name, value), format!("environment variable {name}: {expected}"));
    }
    assert!(variable_error("CALLGATE_USERS__X", "1").contains("no setting is called so"));
    // Ignored, it would leave the doors to anybody.
    for name in ["CALLGATE_DOOR_NETWORKS", "CALLGATE_DOORS__NETWORKS", "CALLGATE_DOOR_NETWORK"] {
        let expected = "`door_networks` is a list, which no variable sets: write it into the file";
        let error = variable_error(name, "[\"127.0.0.1\"]");
        assert_eq!(error, format!("environment variable {name}: {expected}"));
    }
}

#[test]
fn variables_of_others_are_left_alone() {
    let others = [
        ("CALLGATE_LOG", "debug"),
        ("CALLGATE_SERVICE_HOST", "10.0.0.1"),
        ("CALLGATE_PORT_2749_TCP", "tcp://10.0.0.1:2749"),
        ("HOME", "/"),
    ];
    assert!(parse("", &others).is_ok());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::load("/nonexistent/callgate.toml").unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/callgate.toml: can't be read: "), "{error}");
    let mend = ": name the gateway's config with --config, or make a first one with `callgate init DIR`";
    assert!(error.ends_with(mend), "{error}");
}

#[test]
fn r4_the_level_of_the_doors_says_which_are_open() {
    for (level, clear, tls, strength) in [
        ("disabled", false, false, Strength::Low),
        ("unsecure", true, false, Strength::Low),
        ("unsecure+secure", true, true, Strength::Low),
        ("secure-low", false, true, Strength::Low),
        ("secure-medium", false, true, Strength::Medium),
        ("secure-high", false, true, Strength::High),
    ] {
        let config = parse(&format!("[doors]\nsecurity_level = \"{level}\""), &[]).unwrap();
        let doors = config.doors;
        assert_eq!((doors.clear.is_some(), doors.tls.is_some(), doors.strength), (clear, tls, strength), "{level}");
        assert_eq!(config.overruled, [""; 0], "nobody wrote an address");
    }
}

#[test]
fn r4_an_address_for_a_door_that_the_level_closes_is_told() {
    for (level, door, address) in [
        ("secure-low", "clear", "127.0.0.1:2748"),
        ("unsecure", "tls", "127.0.0.1:2749"),
        ("disabled", "tls", "[::]:1"),
    ] {
        let text = format!("[doors]\nsecurity_level = \"{level}\"\n{door} = \"{address}\"");
        let expected = format!(
            "doors.{door} is {address}, and doors.security_level \"{level}\" closes that door: write \"closed\", or another \
             level (R4)"
        );
        assert_eq!(parse(&text, &[]).unwrap().overruled, [expected]);
        let closed = text.replace(address, "closed");
        assert_eq!(parse(&closed, &[]).unwrap().overruled, [""; 0], "{level}");
    }
    let other = parse("[doors]\nclear = \"closed\"\nsecurity_level = \"unsecure+secure\"", &[]).unwrap();
    assert!(other.doors.clear.is_none() && other.doors.tls.is_some() && other.overruled.is_empty());
}

#[test]
fn r4_levels_that_are_not_allowed_and_levels_without_an_open_door_stop_the_start() {
    for (text, expected) in [
        (
            "[doors]\nsecurity_level = \"secure\"",
            "2:18: unknown level `secure`: known are `disabled`, `unsecure`, `unsecure+secure`, `secure-low`, `secure-medium`, \
             `secure-high`",
        ),
        (
            "[admin]\nsecurity_level = \"unsecure\"",
            "2:18: admin.security_level is \"unsecure\": the admin service can be \"disabled\", \"secure-low\", \
             \"secure-medium\", \"secure-high\" (R4)",
        ),
        (
            "mode = \"non-secure\"\n[doors]\nsecurity_level = \"secure-high\"",
            "3:18: no door is open: `doors.security_level` is \"secure-high\", and non-secure mode has no TLS door: write \
             \"unsecure+secure\", or mode = \"mixed\" (R4)",
        ),
        (
            "[doors]\nsecurity_level = \"secure-low\"\ntls = \"closed\"",
            "3:7: no door is open: `doors.security_level` is \"secure-low\", which closes `doors.clear`, and this closes the \
             other one: write an address, or another level (R4)",
        ),
        (
            "[doors]\nsecurity_level = \"unsecure\"\nclear = \"closed\"",
            "3:9: no door is open: `doors.security_level` is \"unsecure\", which closes `doors.tls`, and this closes the other \
             one: write an address, or another level (R4)",
        ),
        (
            "[doors]\nclear = \"closed\"\ntls = \"closed\"",
            "2:9: no door is open: open `doors.clear` or `doors.tls`, or write doors.security_level = \"disabled\"",
        ),
        (
            "[metrics]\nsecurity_level = \"unsecure+secure\"",
            "2:18: at the level \"unsecure+secure\" `metrics.listen_tls` says where TLS is: write it, too",
        ),
        (
            "[metrics]\nlisten_tls = \"127.0.0.1:9465\"",
            "2:14: `metrics.listen_tls` is for the level \"unsecure+secure\" only: at \"unsecure\" there is one address, \
             `metrics.listen`",
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:2748\"",
            "2:10: tcp:127.0.0.1:2748 is where this gateway listens already, by `clear` under [doors]: give each its own port",
        ),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let none = parse("mode = \"non-secure\"\n[doors]\nsecurity_level = \"disabled\"", &[]).unwrap().doors;
    assert_eq!((none.clear, none.tls), (None, None), "who says so means it");
}

#[test]
fn r4_the_metrics_page_is_in_the_clear_by_tls_or_both() {
    let listen = |text: &str| parse(&format!("[metrics]\n{text}"), &[]).unwrap().metrics.listen;
    let (one, other) = ("127.0.0.1:9464".parse().unwrap(), "127.0.0.1:9465".parse().unwrap());
    assert_eq!(listen(""), HttpListen::Clear(one));
    assert_eq!(listen("security_level = \"disabled\""), HttpListen::Closed);
    assert_eq!(listen("listen = \"closed\""), HttpListen::Closed);
    assert_eq!(listen("security_level = \"secure-medium\""), HttpListen::Tls(one, Strength::Medium));
    assert_eq!(listen("security_level = \"secure-high\""), HttpListen::Tls(one, Strength::High));
    assert_eq!(
        listen("security_level = \"unsecure+secure\"\nlisten_tls = \"127.0.0.1:9465\""),
        HttpListen::Both { clear: one, tls: other, strength: Strength::Low }
    );
}

#[test]
fn r5_a_service_over_http_is_for_this_machine_unless_networks_say_otherwise() {
    let config = parse("", &[]).unwrap();
    for service in [&config.metrics, &config.admin.https] {
        for (source, allowed) in [("127.0.0.2", true), ("::1", true), ("192.0.2.1", false), ("2001:db8::1", false)] {
            let is_in = service.networks.allow(source.parse().unwrap());
            assert_eq!(is_in, allowed, "{source}");
        }
    }
    for section in ["metrics", "admin"] {
        let expected = format!(
            "2:10: this is 0.0.0.0:1, and without `{section}.networks` only this machine may connect (R5): name who may, such \
             as networks = [\"192.0.2.10\", \"198.51.100.0/24\"], or listen on the loopback"
        );
        let text = format!("[{section}]\nlisten = \"0.0.0.0:1\"");
        assert_eq!(error(&text), expected);
        assert!(parse(&format!("{text}\nnetworks = [\"192.0.2.10\"]"), &[]).is_ok());
    }
    let refused = variable_error("CALLGATE_METRICS__NETWORKS", "192.0.2.10");
    assert!(refused.ends_with("it is a list, which is written into the file"), "{refused}");
}

#[test]
fn the_administration_s_socket_lies_beside_the_config_and_has_a_path_that_the_system_takes() {
    let config = parse("", &[]).unwrap();
    assert_eq!(config.admin.socket.file_name().unwrap(), "callgate.sock");
    let elsewhere = parse("[admin]\nsocket = \"/run/callgate/admin.sock\"", &[]).unwrap();
    assert_eq!(elsewhere.admin.socket.to_str(), Some("/run/callgate/admin.sock"));
    let long = format!("/{}", "s".repeat(103));
    let expected = format!(
        "2:10: `admin.socket` is {long}, and the path of a unix socket has up to 103 bytes: name a shorter one"
    );
    assert_eq!(error(&format!("[admin]\nsocket = \"{long}\"")), expected);
}

#[test]
fn r3_the_own_ca_has_its_key_only_with_its_certificate() {
    let error = parse("[tls]\nown_ca = \"\"\nown_ca_key = \"ca.key\"", &[]).unwrap_err().to_string();
    let expected = "3:14: tls.own_ca_key is set, and tls.own_ca isn't: a list of what was revoked needs both files";
    assert!(error.contains(expected), "{error}");
    assert_eq!(parse("[tls]\nown_ca = \"\"", &[]).unwrap().tls.own_ca, None);
    assert_eq!(parse("", &[]).unwrap().tls.own_ca.unwrap().key, None);
    let both = parse("[tls]\nown_ca = \"ca.pem\"\nown_ca_key = \"/secret/ca.key\"", &[]).unwrap();
    assert_eq!(both.tls.own_ca.unwrap().key, Some(PathBuf::from("/secret/ca.key")));
}

#[test]
fn r21_the_audit_log_is_kept_as_the_config_says() {
    let audit = |text: &str| parse(&format!("[audit]\n{text}"), &[]).unwrap().audit;
    let usual = audit("");
    assert_eq!(
        usual,
        Options::new(
            "/etc/callgate/audit".into(),
            "/etc/callgate/audit.key".into(),
            "/etc/callgate/audit-checkpoints.jsonl".into()
        )
    );
    let other = audit(
        "folder = \"/var/log/callgate\"\nflush_milliseconds = 0\nsegment_bytes = 1048576\nsegment_hours = 1\n\
         reserve_bytes = 0\nkeep_segments = 2\nkeep_days = 30\nlog = true",
    );
    let expected = Options {
        folder: "/var/log/callgate".into(),
        flush: Flush::Always,
        segment_bytes: 1 << 20,
        segment_age: Duration::from_secs(3600),
        reserve_bytes: 0,
        keep_segments: Some(2),
        keep_age: Some(Duration::from_secs(30 * 24 * 3600)),
        log: true,
        ..usual
    };
    assert_eq!(other, expected);
    for (text, expected) in [
        (
            "[audit]\nkeep_segments = 1",
            "2:17: audit.keep_segments is 1: write 0 to keep all, or at least 2, since one is written to",
        ),
        ("[audit]\nflush_milliseconds = -1", "2:22: audit.flush_milliseconds is -1: from 0 to 10000 are allowed"),
        (
            "[audit]\nkey = \"audit/key\"",
            "2:7: audit.key is in audit.folder: who can change the log's files should not have it, too, so keep it elsewhere",
        ),
        (
            "[audit]\nfolder = \"/etc\"",
            "2:10: audit.key is in audit.folder: who can change the log's files should not have it, too, so keep it elsewhere",
        ),
    ] {
        assert_eq!(error(text), expected);
    }
}
