//! Devices by a pattern of their names (R13).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::{DeviceName, NameError, text};

/// A pattern of device names: `*` stands for any number of characters, `?` for one, everything else for itself. It is
/// compared with the names of known devices only, and case counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePattern(DeviceName);

impl DevicePattern {
    /// The pattern as it is written.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether the name is one of those meant.
    pub fn matches(&self, name: &DeviceName) -> bool {
        matches(self.as_str(), name.as_str())
    }

    /// What every name begins with that is meant: what stands before the first `*` or `?`.
    pub(super) fn beginning(&self) -> &str {
        self.as_str().split(['*', '?']).next().unwrap_or_default()
    }
}

/// Goes back at most to the last `*`: a pattern of many stars costs no more than its length times the name's.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut star = None;
    loop {
        let rest = name.clone();
        match (pattern.next(), name.next()) {
            (Some('*'), _) => {
                name = rest.clone();
                star = Some((pattern.clone(), rest));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            (None, None) => return true,
            _ => {
                // What the last star stands for is one character longer.
                let Some((after, skipped)) = &mut star else { return false };
                if skipped.next().is_none() {
                    return false;
                }
                (pattern, name) = (after.clone(), skipped.clone());
            }
        }
    }
}

impl FromStr for DevicePattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for DevicePattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for DevicePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r13_a_pattern_means_the_names_that_it_matches() {
        for (pattern, name, is_meant) in [
            ("*", "1001", true),
            ("10*", "1001", true),
            ("10*", "2001", false),
            ("1?01", "1001", true),
            ("1?01", "101", false),
            ("*01", "10101", true),
            ("*01*", "x01", true),
            ("1001", "1001", true),
            ("1001", "10010", false),
            ("10010", "1001", false),
            ("SEP*a*b", "SEPxaxbxb", true),
            ("SEP*a*b", "SEPxaxbxbx", false),
            ("sep*", "SEP1", false),
            ("?", "ä", true),
            ("**", "", true),
        ] {
            assert_eq!(matches(pattern, name), is_meant, "{pattern} {name}");
        }
    }

    #[test]
    fn r41a_a_pattern_of_stars_takes_no_long_time() {
        assert!(!matches(&"*a".repeat(64), &"a".repeat(63)));
        assert!(!matches(&format!("{}b", "*a".repeat(60)), &"a".repeat(128)));
    }
}
