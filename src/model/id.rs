//! Names and numbers, each of a type of its own, each made only by a check.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::text;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// There is no text.
    #[error("{what} is empty")]
    Empty {
        /// Which kind of name.
        what: &'static str,
    },
    /// There is too much of it.
    #[error("{what} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// Which kind of name.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// It has a character that must not be there.
    #[error("{what} must not contain {found:?}: {allowed}")]
    Character {
        /// Which kind of name.
        what: &'static str,
        /// The character.
        found: char,
        /// What is allowed instead.
        allowed: &'static str,
    },
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, max $max:literal, $allowed:literal, $ok:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest name, in bytes.
            pub const MAX_LEN: usize = $max;

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if text.is_empty() {
                    return Err(NameError::Empty { what: $what });
                }
                if text.len() > Self::MAX_LEN {
                    return Err(NameError::TooLong { what: $what, len: text.len(), max: Self::MAX_LEN });
                }
                let ok: fn(char) -> bool = $ok;
                match text.chars().find(|c| !ok(*c)) {
                    Some(found) => Err(NameError::Character { what: $what, found, allowed: $allowed }),
                    None => Ok(Self(text.into())),
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                text::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::deserialize(deserializer)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name!(
    /// A device's name: what the operator gave it, or its address.
    DeviceName, "a device name", max 128, "printable characters", |c| !c.is_control()
);
name!(
    /// A user's name, unique across application and end users (R6).
    UserName, "a user name", max 128, "printable characters other than / and :", |c| !c.is_control() && c != '/' && c != ':'
);
name!(
    /// Which of a user's app instances this is (R28).
    InstanceId, "an instance", max 128, "a-z, A-Z and 0-9", |c| c.is_ascii_alphanumeric()
);
name!(
    /// The name of a group of the operator's own; those of standard groups are theirs alone (R7).
    GroupName, "a group name", max 128, "printable characters other than / and :", |c| !c.is_control() && c != '/' && c != ':'
);
name!(
    /// An account of the administration; it is no user, and shares nothing with one (R38).
    AccountName, "an account name", max 64, "a-z, A-Z, 0-9, ., -, _ and @", is_of_account
);
name!(
    /// What an account calls one of its tokens.
    TokenName, "a token name", max 64, "a-z, A-Z, 0-9, ., -, _ and @", is_of_account
);
name!(
    /// The configured name of a switch connector.
    SwitchName, "a switch name", max 64, "a-z, A-Z, 0-9, - and _", |c| c.is_ascii_alphanumeric() || c == '-' || c == '_'
);

fn is_of_account(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".-_@".contains(c)
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

number!(
    /// Callgate's own id of a call, never used twice: the start of the process is part of it.
    CallId, "c{:013x}"
);
number!(
    /// Callgate's own id of a stream: one direction of one media line of a call, as one device sees it.
    StreamId, "m{:013x}"
);

/// A line of a device, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LineNumber(pub u32);

impl LineNumber {
    /// The line of devices that have only one, and the one where nothing tells which it is.
    pub const FIRST: Self = Self(1);

    /// Whether a restriction of the line would hide anything (R13): every connector reports the calls of a device on its
    /// first line.
    pub fn can_be_restricted(self) -> bool {
        self == Self::FIRST
    }
}

impl fmt::Display for LineNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One set of key material of one stream and direction, counted from 1 (R22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

impl Generation {
    /// The first set of a stream.
    pub const FIRST: Self = Self(1);

    /// The set after this one. The last one (after 4 billion rekeys) stays.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A moment by the wall clock: microseconds since 1970.
///
/// It says when something happened, for people. Deadlines use the monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r6_user_names_have_no_slash_and_no_colon() {
        assert_eq!("recorder".parse::<UserName>().unwrap().as_str(), "recorder");
        assert_eq!(
            "a/b".parse::<UserName>().unwrap_err().to_string(),
            "a user name must not contain '/': printable characters other than / and :"
        );
        assert!("a:b".parse::<UserName>().is_err());
        assert!("a\nb".parse::<UserName>().is_err());
        assert!("".parse::<UserName>().is_err());
    }

    #[test]
    fn r28_an_instance_is_1_to_128_letters_and_digits() {
        assert!("a".repeat(128).parse::<InstanceId>().is_ok());
        assert!("a".repeat(129).parse::<InstanceId>().is_err());
        assert!("a-b".parse::<InstanceId>().is_err());
        assert!("ä".parse::<InstanceId>().is_err());
    }

    #[test]
    fn generations_don_t_wrap() {
        assert_eq!(Generation::FIRST.next(), Generation(2));
        assert_eq!(Generation(u32::MAX).next(), Generation(u32::MAX));
    }
}
