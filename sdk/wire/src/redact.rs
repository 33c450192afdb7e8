//! `Debug` for messages that hold key material: everything but the key material.

use std::fmt;

use crate::v1::{AuthChallenge, AuthResponse, ScramAuth, SrtpKey};

impl fmt::Debug for SrtpKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SrtpKey")
            .field("key", &Redacted(self.key.len()))
            .field("salt", &Redacted(self.salt.len()))
            .field("mki_length", &self.mki_length)
            .field("lifetime_packets", &self.lifetime_packets)
            .finish()
    }
}

impl fmt::Debug for ScramAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramAuth")
            .field("mechanism", &self.mechanism)
            .field("initial_response", &Redacted(self.initial_response.len()))
            .finish()
    }
}

impl fmt::Debug for AuthChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthChallenge").field("data", &Redacted(self.data.len())).finish()
    }
}

impl fmt::Debug for AuthResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthResponse").field("data", &Redacted(self.data.len())).finish()
    }
}

/// Stands for so many bytes that are not shown.
struct Redacted(usize);

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn debug_shows_no_byte_of_a_key() {
        let key = SrtpKey {
            key: Bytes::from_static(b"\xaa\xbb0123456789abcd"),
            salt: Bytes::from_static(b"\xccsaltsaltsalts"),
            mki: Bytes::from_static(b"\x01"),
            mki_length: 1,
            lifetime_packets: 0,
        };
        assert_eq!(
            format!("{key:?}"),
            "SrtpKey { key: [16 bytes], salt: [14 bytes], mki_length: 1, lifetime_packets: 0 }"
        );
    }
}
