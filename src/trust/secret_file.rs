//! A shared secret in a file of its own.

use std::{fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

use super::TrustError;
use crate::model::Secret;

/// Longer secrets would be no passwords but the wrong file.
const MAX: usize = 256;

/// The secret in a file: one line of 1 to 256 bytes, whose end may be missing.
///
/// # Errors
/// [`TrustError::Unreadable`], [`TrustError::NoSecret`].
pub fn secret(path: &Path) -> Result<Secret, TrustError> {
    let unreadable = |cause| TrustError::Unreadable { path: path.into(), cause };
    // Room for one byte too many, so that it never grows and leaves a copy behind.
    let mut bytes = Zeroizing::new([0_u8; MAX + 3]);
    let mut filled = 0;
    let mut file = File::open(path).map_err(unreadable)?;
    while let Some(room) = bytes.get_mut(filled..).filter(|room| !room.is_empty()) {
        match file.read(room) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(unreadable(cause)),
        }
    }
    let text = bytes.get(..filled).unwrap_or_default();
    let line = text.strip_suffix(b"\n").unwrap_or(text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() || line.len() > MAX || line.iter().any(|byte| b"\r\n\0".contains(byte)) {
        return Err(TrustError::NoSecret { path: path.into() });
    }
    Ok(Secret::new(line.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_secret_is_one_line_without_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let longest = "x".repeat(MAX);
        for (text, expected) in [
            ("word", "word"),
            ("word\n", "word"),
            ("two words\r\n", "two words"),
            (&format!("{longest}\r\n"), &longest),
        ] {
            fs::write(&path, text).unwrap();
            assert!(secret(&path).unwrap().same_as(&Secret::new(expected.into())), "{text:?}");
        }
        for text in ["", "\n", "two\nlines\n", "nul\0", &format!("{longest}x"), &"x".repeat(9999)] {
            fs::write(&path, text).unwrap();
            let error = secret(&path).err().unwrap();
            assert!(matches!(error, TrustError::NoSecret { .. }) && error.is_input(), "{text:?}");
        }
        assert!(matches!(secret(folder.path()), Err(TrustError::Unreadable { .. })));
    }
}
