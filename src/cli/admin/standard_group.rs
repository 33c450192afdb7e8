//! Standard groups as arguments: a short word each, or the whole name.

use callgate::model::Group;
use clap::ValueEnum;

/// A standard group (R7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum StandardGroup {
    /// Standard CTI Enabled: may open a session
    #[value(alias = "Standard CTI Enabled")]
    Enabled,
    /// Standard CTI Secure Connection: its door is the TLS one
    #[value(alias = "Standard CTI Secure Connection")]
    Secure,
    /// Standard CTI Allow Reception of SRTP Key Material: may have keys; needs the two above
    #[value(alias = "Standard CTI Allow Reception of SRTP Key Material")]
    SrtpKeys,
    /// Standard CTI Allow Control of All Devices: sees every device that isn't restricted
    #[value(alias = "Standard CTI Allow Control of All Devices")]
    AllDevices,
    /// Standard CTI Allow Call Monitoring
    #[value(alias = "Standard CTI Allow Call Monitoring")]
    CallMonitoring,
    /// Standard CTI Allow Call Recording
    #[value(alias = "Standard CTI Allow Call Recording")]
    CallRecording,
    /// Standard CTI Allow Call Park Monitoring
    #[value(alias = "Standard CTI Allow Call Park Monitoring")]
    CallParkMonitoring,
    /// Standard CTI Allow Calling Number Modification
    #[value(alias = "Standard CTI Allow Calling Number Modification")]
    CallingNumberModification,
}

impl StandardGroup {
    /// The group that is meant.
    pub(super) fn group(self) -> Group {
        match self {
            Self::Enabled => Group::CtiEnabled,
            Self::Secure => Group::SecureConnection,
            Self::SrtpKeys => Group::SrtpKeyMaterial,
            Self::AllDevices => Group::ControlOfAllDevices,
            Self::CallMonitoring => Group::CallMonitoring,
            Self::CallRecording => Group::CallRecording,
            Self::CallParkMonitoring => Group::CallParkMonitoring,
            Self::CallingNumberModification => Group::CallingNumberModification,
        }
    }
}

/// The word for a group.
pub(super) fn word(group: Group) -> String {
    let value = StandardGroup::value_variants().iter().find(|value| value.group() == group);
    value.and_then(ValueEnum::to_possible_value).map_or_else(|| group.name().into(), |value| value.get_name().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r7_each_standard_group_has_a_word_and_is_known_by_its_name() {
        for group in Group::ALL {
            for text in [group.name().to_owned(), word(group)] {
                assert_eq!(StandardGroup::from_str(&text, false).unwrap().group(), group, "{text}");
            }
            assert!(!word(group).contains(' '), "{group}");
        }
    }
}
