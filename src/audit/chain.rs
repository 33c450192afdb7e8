//! The chain: each line has a mac over itself and the mac of the record before it.
//!
//! `mac = HMAC-SHA-256(chain key, mac of the record before (32 bytes) | line up to its mac)`. The first record's predecessor
//! is 32 zero bytes. Who hasn't the key can't write a line, and who has it can't change one without changing every mac
//! behind it, which a checkpoint that was exported shows.

use std::{
    fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    hmac, rand,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use zeroize::Zeroizing;

/// What stands between a line's body and its mac.
const BEFORE_MAC: &[u8] = b",\"mac\":\"";
const AFTER_MAC: &[u8] = b"\"}";

/// The authentication code of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mac([u8; 32]);

impl Mac {
    /// What stands before the first record.
    pub const START: Self = Self([0; 32]);

    /// Reads 64 hex digits.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        from_hex(text).map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&to_hex::<32, 64>(&self.0)).unwrap_or_default())
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The audit log's secret: it makes the chain, signs checkpoints, and names SRTP keys in records.
pub struct AuditKey {
    chain: hmac::Key,
    fingerprints: hmac::Key,
    signer: Ed25519KeyPair,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The file can't be read or made.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The file has something else in it.
    #[error("{}: this is no audit key, which is one line of 64 hex digits: restore it from your backup", .0.display())]
    Malformed(PathBuf),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
}

impl AuditKey {
    /// The bytes of the secret.
    const LEN: usize = 32;

    /// Reads the key in this file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn read(path: &Path) -> Result<Self, KeyError> {
        // Room for one byte too many.
        let mut text = Zeroizing::new([0; 2 * Self::LEN + 2]);
        let mut file = fs::File::open(path).map_err(|cause| KeyError::File { path: path.into(), cause })?;
        let mut filled = 0;
        while let Some(room) = text.get_mut(filled..).filter(|room| !room.is_empty()) {
            match file.read(room) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(KeyError::File { path: path.into(), cause }),
            }
        }
        let line = text.get(..filled).unwrap_or_default();
        let secret = from_hex(line.strip_suffix(b"\n").unwrap_or(line)).map(Zeroizing::new);
        secret.and_then(|secret| Self::of(&secret)).ok_or_else(|| KeyError::Malformed(path.into()))
    }

    /// Makes a new key in this file, which isn't there yet. Only its owner can read it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn make(path: &Path) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; Self::LEN]);
        rand::fill(&mut *secret).map_err(|_| KeyError::Randomness)?;
        let text = Zeroizing::new(to_hex::<{ Self::LEN }, { 2 * Self::LEN }>(&secret));
        let made = (|| {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::create_dir_all(folder)?;
            // As a whole or not at all: half a key would make the log look foreign at the next start.
            let mut file = tempfile::Builder::new().prefix(".audit-key-").tempfile_in(folder)?;
            file.write_all(&*text)?;
            file.write_all(b"\n")?;
            file.as_file().sync_all()?;
            file.persist_noclobber(path).map_err(|error| error.error)?;
            fs::File::open(folder)?.sync_all()
        })();
        made.map_err(|cause| KeyError::File { path: path.into(), cause })?;
        Self::of(&secret).ok_or_else(|| KeyError::Malformed(path.into()))
    }

    /// The two keys of a secret.
    fn of(secret: &[u8; Self::LEN]) -> Option<Self> {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = |label: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&secret, label).as_ref());
        let (chain, fingerprints) = (derived(b"callgate audit chain"), derived(b"callgate audit fingerprint"));
        let seed = hmac::sign(&secret, b"callgate audit checkpoint");
        Some(Self { chain, fingerprints, signer: Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok()? })
    }

    /// What names SRTP keys in records.
    pub(super) fn fingerprints(&self) -> &hmac::Key {
        &self.fingerprints
    }

    /// Ends the line that begins at `from`, and says its mac. `before` is that of the record before it.
    pub(super) fn seal(&self, out: &mut Vec<u8>, from: usize, before: Mac) -> Mac {
        let mac = self.mac(out.get(from..).unwrap_or_default(), before);
        out.extend_from_slice(BEFORE_MAC);
        out.extend_from_slice(&to_hex::<32, 64>(&mac.0));
        out.extend_from_slice(AFTER_MAC);
        out.push(b'\n');
        mac
    }

    /// Whether the line is one of ours, and stands behind a record with this mac.
    pub(super) fn has_made(&self, line: &Sealed<'_>, before: Mac) -> bool {
        // The macs are no secret, so it may take a time that depends on them.
        self.mac(line.content, before) == line.mac
    }

    /// Signs what is exported.
    pub(super) fn sign(&self, bytes: &[u8]) -> [u8; 64] {
        let signature = self.signer.sign(bytes);
        signature.as_ref().first_chunk().copied().unwrap_or([0; 64])
    }

    /// Whether we signed it.
    pub(super) fn has_signed(&self, bytes: &[u8], signature: &[u8; 64]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public()).verify(bytes, signature).is_ok()
    }

    /// The public key of what is signed.
    pub fn public(&self) -> [u8; 32] {
        self.signer.public_key().as_ref().first_chunk().copied().unwrap_or([0; 32])
    }

    /// The mac of a line with this content.
    pub(super) fn mac(&self, content: &[u8], Mac(before): Mac) -> Mac {
        let mut context = hmac::Context::with_key(&self.chain);
        context.update(&before);
        context.update(content);
        Mac(context.sign().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuditKey")
    }
}

/// A line that has a mac, in its parts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sealed<'a> {
    /// Up to the mac.
    pub(super) content: &'a [u8],
    pub(super) mac: Mac,
}

impl<'a> Sealed<'a> {
    /// Takes a line, without its end, apart.
    pub(super) fn of(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(AFTER_MAC)?;
        let (content, mac) = line.split_at_checked(line.len().checked_sub(64)?)?;
        Some(Self { content: content.strip_suffix(BEFORE_MAC)?, mac: Mac::from_hex(mac)? })
    }

    /// The number, if it is a record's line.
    pub(super) fn number(&self) -> Option<u64> {
        let digits = self.content.strip_prefix(b"{\"n\":")?.split(|byte| *byte == b',').next()?;
        str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// Lower-case hex. `TWICE` is twice `LEN`.
pub(super) fn to_hex<const LEN: usize, const TWICE: usize>(bytes: &[u8; LEN]) -> [u8; TWICE] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [b'0'; TWICE];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(bytes) {
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    hex
}

/// Reads lower-case hex of exactly so many bytes.
pub(super) fn from_hex<const LEN: usize>(text: &[u8]) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    if text.len() != 2 * LEN {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}
