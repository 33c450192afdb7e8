//! Bytes that must not be seen.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: wiped when dropped, and without the traits that would print, copy, compare or serialise them by
/// accident (R20). [`expose`](Self::expose) is the one door to them, easy to search for in a review.
///
/// ```compile_fail
/// let secret = callgate::model::Secret::new(b"key".to_vec());
/// println!("{secret:?}");
/// ```
/// ```compile_fail
/// let secret = callgate::model::Secret::new(b"key".to_vec());
/// assert!(secret == callgate::model::Secret::new(b"key".to_vec()));
/// ```
/// ```compile_fail
/// let secret = callgate::model::Secret::new(b"key".to_vec());
/// let copy = secret.clone();
/// ```
/// ```compile_fail
/// let secret = callgate::model::Secret::new(b"key".to_vec());
/// serde_json::to_string(&secret);
/// ```
pub struct Secret(Zeroizing<Box<[u8]>>);

impl Secret {
    /// Takes the bytes over. The vector's own memory is wiped where it can't be kept.
    pub fn new(bytes: Vec<u8>) -> Self {
        // `into_boxed_slice` of a vector with spare room would leave the bytes behind in the old allocation.
        if bytes.len() == bytes.capacity() {
            return Self(Zeroizing::new(bytes.into_boxed_slice()));
        }
        let bytes = Zeroizing::new(bytes);
        Self(Zeroizing::new(bytes.as_slice().into()))
    }

    /// The bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both hold the same bytes, in a time that depends only on their lengths.
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_bytes_are_the_same_and_others_are_not() {
        let mut roomy = Vec::with_capacity(64);
        roomy.extend_from_slice(b"0123");
        let secret = Secret::new(roomy);
        assert!(secret.same_as(&Secret::new(b"0123".to_vec())));
        assert!(!secret.same_as(&Secret::new(b"0124".to_vec())));
        assert!(!secret.same_as(&Secret::new(b"012".to_vec())));
        assert_eq!(secret.len(), 4);
        assert!(Secret::new(Vec::new()).is_empty());
    }
}
