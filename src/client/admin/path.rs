//! What a request is about: a path of the API, with names as they are.

use std::fmt::{self, Write};

/// A path with its query. Whatever stands in a name, it stays one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

impl Path {
    /// The path of these segments, below the version of the API.
    pub fn of(segments: &[&str]) -> Self {
        let mut path = String::from("/v1");
        for segment in segments {
            path.push('/');
            escape(&mut path, segment);
        }
        Self(path)
    }

    /// The same with one more parameter.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.contains('?') { '&' } else { '?' });
        escape(&mut self.0, name);
        self.0.push('=');
        escape(&mut self.0, value);
        self
    }

    /// The same with one more parameter, if there is a value for it.
    #[must_use]
    pub fn with_any(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All but the unreserved characters of RFC 3986, 2.3. Two dots alone would be taken for the segment before.
fn escape(path: &mut String, text: &str) {
    let is_dots = matches!(text, "." | "..");
    for byte in text.bytes() {
        let is_unreserved = byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) || byte == b'.' && !is_dots;
        if is_unreserved {
            path.push(byte.into());
        } else {
            // A `String` takes everything.
            let _ = write!(path, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_segment_whatever_stands_in_it() {
        let path = Path::of(&["devices", "udp:192.0.2.1:5060/a?b", ".."]).with("q", "a&b= ö").with_any("none", None);
        let expected = "/v1/devices/udp%3A192.0.2.1%3A5060%2Fa%3Fb/%2E%2E?q=a%26b%3D%20%C3%B6";
        assert_eq!(path.to_string(), expected);
        assert_eq!(Path::of(&["users"]).with("a", "1").with("b", "2").as_str(), "/v1/users?a=1&b=2");
    }
}
