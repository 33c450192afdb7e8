//! Both decisions against a table that a person can read, for every combination of their inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use callgate::{
    model::{Door, Group, Groups, Mode},
    policy::{
        Admission, Case, Certificate, Condition, Disclosure, Entrance, Indication, KEY_GROUPS, MediaAccess, Reason,
        Rule, Stream, StreamProtection, Verdict, admit, against_disclosure, disclose, explain,
    },
};

/// A row of a table: one pattern per input, the outcome, and how often it decided.
struct Row {
    patterns: Vec<String>,
    outcome: String,
    rule: String,
    used: usize,
}

struct Table(Vec<Row>);

impl Table {
    fn read(text: &str) -> Self {
        let rows = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).map(|line| {
            let (inputs, outputs) = line.split_once("->").expect("a row has an arrow");
            let (outcome, rule) = outputs.trim().rsplit_once(char::is_whitespace).expect("outcome and rule");
            Row {
                patterns: inputs.split_whitespace().map(Into::into).collect(),
                outcome: outcome.trim().into(),
                rule: rule.into(),
                used: 0,
            }
        });
        Self(rows.collect())
    }

    /// What the first row that fits says.
    fn decide(&mut self, inputs: &[&str]) -> (String, String) {
        let fits =
            |pattern: &str, input: &str| pattern == "-" || pattern == input || pattern == "short" && input != "yyy";
        let row = self
            .0
            .iter_mut()
            .find(|row| {
                assert_eq!(row.patterns.len(), inputs.len(), "{:?}", row.patterns);
                row.patterns.iter().zip(inputs).all(|(pattern, input)| fits(pattern, input))
            })
            .unwrap_or_else(|| panic!("no row fits {inputs:?}"));
        row.used += 1;
        (row.outcome.clone(), row.rule.clone())
    }

    fn assert_every_row_decided_something(&self) {
        for row in &self.0 {
            assert!(row.used > 0, "no combination reaches {:?} -> {}", row.patterns, row.outcome);
        }
    }
}

const MODES: [(Mode, &str); 2] = [(Mode::NonSecure, "non-secure"), (Mode::Mixed, "mixed")];
const NO_YES: [(bool, &str); 2] = [(false, "no"), (true, "yes")];

#[test]
fn r2_r9_r10_r11_r14_admission_for_every_combination() {
    let mut table = Table::read(include_str!("tables/admission.txt"));
    let entrances = [
        (Entrance::Clear, "clear"),
        (Entrance::Tls { certificate_matches: true }, "tls-own"),
        (Entrance::Tls { certificate_matches: false }, "tls-foreign"),
    ];
    let mut combinations = 0;
    for (mode, mode_name) in MODES {
        for (lenient_doors, lenient_name) in NO_YES {
            for (enabled, enabled_name) in NO_YES {
                for (secure, secure_name) in NO_YES {
                    for (locked, password_missing) in [(false, false), (false, true), (true, false), (true, true)] {
                        let [locked_name, missing_name] =
                            [locked, password_missing].map(|is| NO_YES[usize::from(is)].1);
                        for (entrance, entrance_name) in entrances {
                            let groups = groups([(enabled, Group::CtiEnabled), (secure, Group::SecureConnection)]);
                            let inputs = [
                                mode_name,
                                lenient_name,
                                enabled_name,
                                secure_name,
                                locked_name,
                                missing_name,
                                entrance_name,
                            ];
                            let admission = Admission {
                                mode,
                                lenient_doors,
                                groups,
                                locked,
                                password_on_tls: password_missing,
                                password_proven: !password_missing,
                                entrance,
                            };
                            let decided = match admit(&admission) {
                                Verdict::Admit(Rule(rule)) => ("admit".into(), rule.into()),
                                Verdict::Refuse(code, Rule(rule)) => (code.as_str_name().into(), rule.into()),
                            };
                            assert_eq!(decided, table.decide(&inputs), "{inputs:?}");
                            explains_admission(&admission);
                            combinations += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 192);
    table.assert_every_row_decided_something();
}

#[test]
fn r16_r17_disclosure_for_every_combination() {
    let mut table = Table::read(include_str!("tables/disclosure.txt"));
    let streams = [
        (StreamProtection::Clear, "clear"),
        (StreamProtection::Keyed, "keyed"),
        (StreamProtection::Unknown, "unknown"),
    ];
    let doors = [(Door::Clear, "clear"), (Door::Tls, "tls")];
    let monitors = [(false, "late"), (true, "before")];
    let mut combinations = 0;
    for bits in 0u32..1 << 9 {
        let bit = |n: usize| bits >> n & 1 == 1;
        let (associated, associated_name) = NO_YES[usize::from(bit(0))];
        let (restricted, restricted_name) = NO_YES[usize::from(bit(1))];
        let (mode, mode_name) = MODES[usize::from(bit(2))];
        let (door, door_name) = doors[usize::from(bit(3))];
        let (recordable, recordable_name) = NO_YES[usize::from(bit(4))];
        let (seen_since_start, start_name) = NO_YES[usize::from(bit(5))];
        let groups =
            groups([(bit(6), Group::CtiEnabled), (bit(7), Group::SecureConnection), (bit(8), Group::SrtpKeyMaterial)]);
        let groups_name: String = (6..9).map(|n| if bit(n) { 'y' } else { 'n' }).collect();
        for (protection, stream_name) in streams {
            for (monitored_before, monitored_name) in monitors {
                let access = MediaAccess {
                    associated,
                    restricted,
                    protection,
                    groups,
                    mode,
                    door,
                    monitored_before,
                    recordable,
                    seen_since_start,
                };
                let inputs = [
                    associated_name,
                    restricted_name,
                    stream_name,
                    &groups_name,
                    mode_name,
                    door_name,
                    monitored_name,
                    recordable_name,
                    start_name,
                ];
                assert_eq!(disclosure_name(disclose(&access)), table.decide(&inputs), "{inputs:?}");
                explains_disclosure(&access);
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, 3072);
    table.assert_every_row_decided_something();
}

/// The explanation says what the decision says, and names as standing against it exactly what is not as it must be.
fn explains_admission(admission: &Admission) {
    let Admission { mode, lenient_doors, groups, locked, password_on_tls, password_proven, entrance } = *admission;
    let password_missing = password_on_tls && !password_proven;
    let own = entrance != Entrance::Tls { certificate_matches: false };
    let case = Case {
        mode,
        lenient_doors,
        clear_listens: true,
        tls_listens: true,
        groups,
        has_password: !password_missing || entrance == Entrance::Clear,
        password_on_tls,
        locked,
        certificate: if own { Certificate::Counts } else { Certificate::None },
        associated: true,
        restricted: false,
        recordable: true,
    };
    let [tls, clear] = explain(&case);
    let (door, is_tls) = if entrance == Entrance::Clear { (clear, false) } else { (tls, true) };
    assert_eq!(door.verdict, admit(admission), "{admission:?}");
    assert_eq!(door.opens, matches!(door.verdict, Verdict::Admit(_)), "{admission:?}");
    let secure = groups.contains(Group::SecureConnection);
    for check in &door.opening {
        let holds = match check.condition {
            Condition::Mode => mode == Mode::Mixed || !is_tls,
            Condition::Certificate => own,
            Condition::CtiEnabled => groups.contains(Group::CtiEnabled),
            // In non-secure mode the first thing to mend is the mode; what is asked then is asked in mixed mode.
            Condition::Door => lenient_doors || secure == is_tls || (mode == Mode::NonSecure && !is_tls),
            Condition::Listens => true,
            Condition::Password => !(password_missing && is_tls),
            Condition::NotLocked => !locked,
            other => panic!("{other:?} has no part in opening"),
        };
        assert_eq!(check.holds, holds, "{:?} of {admission:?}", check.condition);
    }
    if let Verdict::Refuse(_, Rule(rule)) = door.verdict {
        let first = door.opening.iter().find(|check| !check.holds).unwrap();
        let expected = if first.condition == Condition::Certificate { "R11" } else { first.rule };
        assert_eq!(rule, expected, "the first thing that doesn't hold is the one that decides: {admission:?}");
    }
}

fn explains_disclosure(access: &MediaAccess) {
    let against = against_disclosure(access);
    let is_open = !(against.is_empty() && access.protection == StreamProtection::Clear);
    let visible = access.associated && !access.restricted;
    for (condition, holds, is_asked) in [
        (Condition::Associated, access.associated, true),
        (Condition::NotRestricted, !access.restricted, true),
        (Condition::KeyGroups, access.groups.allow_keys(), access.protection != StreamProtection::Clear),
        (Condition::Mode, access.mode == Mode::Mixed, access.protection != StreamProtection::Clear),
        (Condition::SecureDoor, access.door == Door::Tls, access.protection != StreamProtection::Clear),
        // What is against the one stream comes before it.
        (
            Condition::Recordable,
            access.recordable,
            access.protection == StreamProtection::Keyed && access.monitored_before,
        ),
    ] {
        assert_eq!(against.contains(&condition), is_asked && !holds, "{condition:?} of {access:?}");
    }
    // What was named, and nothing else, must be mended for what is left to be a matter of the stream alone.
    let mended = MediaAccess {
        associated: true,
        restricted: false,
        groups: KEY_GROUPS.into_iter().collect(),
        mode: Mode::Mixed,
        door: Door::Tls,
        recordable: true,
        ..*access
    };
    let left = disclose(&mended);
    let of_stream = [Reason::MonitoredLate, Reason::Switch, Reason::GatewayRestarted];
    assert!(
        match left {
            Disclosure::Event(Indication::KeysUnavailable(reason), _) => of_stream.contains(&reason),
            Disclosure::Event(Indication::KeysAvailable | Indication::NotEncrypted, _) => true,
            _ => false,
        },
        "{access:?}: {left:?}"
    );
    assert!(is_open || visible, "a stream in the clear of a device that is seen needs nothing");

    if !access.seen_since_start {
        return; // A circumstance of one stream that no case knows.
    }
    let case = Case {
        mode: access.mode,
        lenient_doors: false,
        clear_listens: true,
        tls_listens: true,
        groups: access.groups,
        has_password: true,
        password_on_tls: false,
        locked: false,
        certificate: Certificate::Counts,
        associated: access.associated,
        restricted: access.restricted,
        recordable: access.recordable,
    };
    let stream = match (access.protection, access.monitored_before) {
        (StreamProtection::Clear, _) => Stream::Clear,
        (StreamProtection::Keyed, true) => Stream::InTime,
        (StreamProtection::Keyed, false) => Stream::Late,
        (StreamProtection::Unknown, true) => Stream::Unknown,
        (StreamProtection::Unknown, false) => return,
    };
    let door = explain(&case).into_iter().find(|on| on.door == access.door).unwrap();
    let (_, told) = door.streams.iter().find(|(kind, _)| *kind == stream).unwrap();
    assert_eq!(*told, disclose(access), "{access:?}");
}

#[test]
fn an_explanation_counts_what_stands_before_the_decision() {
    let all = KEY_GROUPS.into_iter().collect();
    let case = Case {
        mode: Mode::Mixed,
        lenient_doors: true,
        clear_listens: true,
        tls_listens: true,
        groups: all,
        has_password: true,
        password_on_tls: false,
        locked: false,
        certificate: Certificate::Counts,
        associated: true,
        restricted: false,
        recordable: true,
    };
    let [tls, clear] = explain(&case);
    assert!(tls.opens && tls.sees_device() && tls.gets_keys());
    assert!(clear.opens && clear.sees_device() && !clear.gets_keys(), "no key leaves by the clear door");
    for certificate in [Certificate::Expired, Certificate::None, Certificate::Revoked, Certificate::StatusUnknown] {
        assert!(!explain(&Case { certificate, ..case })[0].opens, "{certificate:?}");
    }
    assert!(!explain(&Case { tls_listens: false, ..case })[0].gets_keys());
    assert!(!explain(&Case { clear_listens: false, ..case })[1].opens);
    assert!(!explain(&Case { has_password: false, ..case })[1].opens);
    assert!(!explain(&Case { recordable: false, ..case })[0].gets_keys());
    let stranger = Case { associated: false, ..case };
    assert!(!explain(&stranger)[0].sees_device());
    let controller = Case { groups: case.groups.with(Group::ControlOfAllDevices), ..stranger };
    assert!(explain(&controller)[0].gets_keys());
    assert!(!explain(&Case { restricted: true, ..controller })[0].sees_device());
}

fn groups<const N: usize>(memberships: [(bool, Group); N]) -> Groups {
    memberships.into_iter().filter(|(member, _)| *member).map(|(_, group)| group).collect()
}

fn disclosure_name(disclosure: Disclosure) -> (String, String) {
    match disclosure {
        Disclosure::Nothing(Rule(rule)) => ("(no event)".into(), rule.into()),
        Disclosure::Event(indication, Rule(rule)) => match indication.names() {
            (indicator, None) => (indicator.into(), rule.into()),
            (indicator, Some(reason)) => (format!("{indicator}/{reason}"), rule.into()),
        },
    }
}
