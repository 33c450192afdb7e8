//! What is shown and read as one text is stored and sent as that text: for `#[serde(with = "text")]`.

use std::{borrow::Cow, fmt::Display, str::FromStr};

use serde::{Deserialize, Deserializer, Serializer, de};

/// Writes the value as it is shown.
///
/// # Errors
/// Those of the serialiser.
pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// Reads the value from the text, by the checks that every value of its type has passed.
///
/// # Errors
/// It is no text, or not one of such a value.
pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    Cow::<str>::deserialize(deserializer)?.parse().map_err(de::Error::custom)
}
