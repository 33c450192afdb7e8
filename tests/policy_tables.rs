//! Both decisions against a table that a person can read, for every combination of their inputs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use callgate::{
    model::{Door, Group, Groups, Mode},
    policy::{Admission, Disclosure, Entrance, MediaAccess, Rule, StreamProtection, Verdict, admit, disclose},
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
fn r2_r9_r10_r11_admission_for_every_combination() {
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
                    for (entrance, entrance_name) in entrances {
                        let groups = groups([(enabled, Group::CtiEnabled), (secure, Group::SecureConnection)]);
                        let inputs = [mode_name, lenient_name, enabled_name, secure_name, entrance_name];
                        let decided = match admit(&Admission { mode, lenient_doors, groups, entrance }) {
                            Verdict::Admit(Rule(rule)) => ("admit".into(), rule.into()),
                            Verdict::Refuse(code, Rule(rule)) => (code.as_str_name().into(), rule.into()),
                        };
                        assert_eq!(decided, table.decide(&inputs), "{inputs:?}");
                        combinations += 1;
                    }
                }
            }
        }
    }
    assert_eq!(combinations, 48);
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
                combinations += 1;
            }
        }
    }
    assert_eq!(combinations, 3072);
    table.assert_every_row_decided_something();
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
