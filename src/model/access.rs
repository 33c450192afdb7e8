//! Who may do what, in the field's words: cluster security mode, doors, groups.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;

/// The cluster security mode (R2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 0: the TLS door is closed, and no key leaves.
    NonSecure,
    /// 1: both doors are open.
    Mixed,
}

/// The door that a session came by (R1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// TCP 2748, without confidentiality and integrity.
    Clear,
    /// TCP 2749, with mutual TLS.
    Tls,
}

impl Door {
    /// Its name in logs, metrics and records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Tls => "tls",
        }
    }
}

/// A standard group (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Group {
    /// May open a session at all (R9).
    CtiEnabled,
    /// Must use the TLS door, and may (R10).
    SecureConnection,
    /// May have SRTP keys (R16).
    SrtpKeyMaterial,
    /// Sees and controls every device (R13).
    ControlOfAllDevices,
    /// May monitor calls; for a later capability.
    CallMonitoring,
    /// May record calls; for a later capability.
    CallRecording,
    /// May monitor parked calls; for a later capability.
    CallParkMonitoring,
    /// May modify calling numbers; for a later capability.
    CallingNumberModification,
}

impl Group {
    /// Every standard group.
    pub const ALL: [Self; 8] = [
        Self::CtiEnabled,
        Self::SecureConnection,
        Self::SrtpKeyMaterial,
        Self::ControlOfAllDevices,
        Self::CallMonitoring,
        Self::CallRecording,
        Self::CallParkMonitoring,
        Self::CallingNumberModification,
    ];

    /// Its fixed name (R7).
    pub fn name(self) -> &'static str {
        match self {
            Self::CtiEnabled => "Standard CTI Enabled",
            Self::SecureConnection => "Standard CTI Secure Connection",
            Self::SrtpKeyMaterial => "Standard CTI Allow Reception of SRTP Key Material",
            Self::ControlOfAllDevices => "Standard CTI Allow Control of All Devices",
            Self::CallMonitoring => "Standard CTI Allow Call Monitoring",
            Self::CallRecording => "Standard CTI Allow Call Recording",
            Self::CallParkMonitoring => "Standard CTI Allow Call Park Monitoring",
            Self::CallingNumberModification => "Standard CTI Allow Calling Number Modification",
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No standard group has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no group is called {0:?}")]
pub struct UnknownGroup(pub String);

impl FromStr for Group {
    type Err = UnknownGroup;

    fn from_str(name: &str) -> Result<Self, UnknownGroup> {
        Self::ALL.into_iter().find(|group| group.name() == name).ok_or_else(|| UnknownGroup(name.into()))
    }
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// The standard groups that a user is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Groups(u8);

impl Groups {
    /// Whether `group` is among them.
    pub fn contains(self, group: Group) -> bool {
        self.0 & Self::bit(group) != 0
    }

    /// These groups and `group`.
    #[must_use]
    pub fn with(self, group: Group) -> Self {
        Self(self.0 | Self::bit(group))
    }

    /// These groups without `group`.
    #[must_use]
    pub fn without(self, group: Group) -> Self {
        Self(self.0 & !Self::bit(group))
    }

    /// Those of these groups that are not among `others`.
    #[must_use]
    pub fn beyond(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The groups, in the order of [`Group::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |group| self.contains(*group))
    }

    /// Whether all three groups are there that SRTP keys need (R16).
    pub fn allow_keys(self) -> bool {
        [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial]
            .into_iter()
            .all(|group| self.contains(group))
    }

    fn bit(group: Group) -> u8 {
        1 << group as u8
    }
}

impl Serialize for Groups {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Groups {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Group>::deserialize(deserializer)?.into_iter().collect())
    }
}

impl FromIterator<Group> for Groups {
    fn from_iter<I: IntoIterator<Item = Group>>(groups: I) -> Self {
        groups.into_iter().fold(Self::default(), Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_each_standard_group_is_found_by_its_name() {
        for group in Group::ALL {
            assert_eq!(group.name().parse(), Ok(group));
        }
        assert!("standard cti enabled".parse::<Group>().is_err());
    }

    #[test]
    fn r16_keys_need_all_three_groups() {
        let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
        assert!(Groups::from_iter(all).allow_keys());
        for missing in all {
            assert!(!all.into_iter().filter(|group| *group != missing).collect::<Groups>().allow_keys());
        }
    }
}
