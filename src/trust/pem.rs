//! Reading PEM files, with errors that tell what is in the file instead.

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use zeroize::Zeroizing;

use super::TrustError;

/// Every certificate of the file, in its order; at least one.
///
/// # Errors
/// The file can't be read, is damaged, has no certificate, or has a private key instead.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    certificates_in(&read(path)?, path)
}

/// The same for what was read already.
pub(super) fn certificates_in(text: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let certificates: Vec<_> = rustls_pemfile::certs(&mut &*text)
        .collect::<Result<_, _>>()
        .map_err(|error| TrustError::Damaged { path: path.into(), reason: error.to_string() })?;
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    Err(match PrivateKeyDer::from_pem_slice(text).map(Zeroizing::new) {
        Ok(_) => TrustError::KeyForCertificate { path: path.into() },
        Err(_) => TrustError::NoCertificate { path: path.into() },
    })
}

/// The first private key of the file (PKCS#8, PKCS#1 or SEC1); wiped when it is dropped.
///
/// # Errors
/// The file can't be read, is damaged, has no key, or has a certificate instead.
pub fn private_key(path: &Path) -> Result<Zeroizing<PrivateKeyDer<'static>>, TrustError> {
    let text = read(path)?;
    match PrivateKeyDer::from_pem_slice(&text) {
        Ok(key) => Ok(Zeroizing::new(key)),
        Err(pem::Error::NoItemsFound) => Err(match CertificateDer::from_pem_slice(&text) {
            Ok(_) => TrustError::CertificateForKey { path: path.into() },
            Err(_) => TrustError::NoKey { path: path.into() },
        }),
        Err(error) => Err(TrustError::Damaged { path: path.into(), reason: error.to_string() }),
    }
}

/// Every list of revoked certificates of the file, which is PEM or one list as DER; at least one.
///
/// # Errors
/// The file can't be read, is damaged, or has none.
pub(super) fn crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TrustError> {
    let text = read(path)?;
    // DER begins with a sequence whose length takes more than one byte, and no text does.
    if matches!(text[..], [0x30, 0x80..=0xff, ..]) {
        return Ok(vec![CertificateRevocationListDer::from(text.to_vec())]);
    }
    let lists: Vec<_> = rustls_pemfile::crls(&mut text.as_slice())
        .collect::<Result<_, _>>()
        .map_err(|error| TrustError::Damaged { path: path.into(), reason: error.to_string() })?;
    if lists.is_empty() {
        return Err(TrustError::NoCrl { path: path.into() });
    }
    Ok(lists)
}

/// These certificates as PEM.
pub(super) fn encode(certificates: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for der in certificates {
        block(&mut text, "CERTIFICATE", &BASE64_STANDARD.encode(der));
    }
    text
}

/// This list of revoked certificates as PEM.
pub(super) fn encode_crl(der: &CertificateRevocationListDer<'_>) -> String {
    let mut text = String::new();
    block(&mut text, "X509 CRL", &BASE64_STANDARD.encode(der));
    text
}

/// This key as PEM (PKCS#8), in memory that is wiped.
pub(super) fn encode_key(der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(BASE64_STANDARD.encode(der));
    // Enough for line ends and the two lines around it: a text that grew would leave what it held where it was.
    let mut text = Zeroizing::new(String::with_capacity(2 * base64.len() + 128));
    block(&mut text, "PRIVATE KEY", &base64);
    text
}

fn block(text: &mut String, label: &str, base64: &str) {
    text.extend(["-----BEGIN ", label, "-----\n"]);
    let mut rest = base64;
    while let Some((line, more)) = rest.split_at_checked(64) {
        text.extend([line, "\n"]);
        rest = more;
    }
    if !rest.is_empty() {
        text.extend([rest, "\n"]);
    }
    text.extend(["-----END ", label, "-----\n"]);
}

/// It may hold a key, so it is wiped.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TrustError> {
    fs::read(path).map(Zeroizing::new).map_err(|cause| TrustError::Unreadable { path: path.into(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_file_instead_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(
            encode_key(key.serialized_der()).lines().collect::<Vec<_>>(),
            key.serialize_pem().lines().collect::<Vec<_>>()
        );
        let key = file("key", &encode_key(key.serialized_der()));
        let certificate = file("certificate", &certificate.pem());
        let (empty, damaged) = (file("empty", ""), file("damaged", "-----BEGIN CERTIFICATE-----\nx\n"));

        assert_eq!(certificates(&certificate).unwrap().len(), 1);
        let twice = [certificates(&certificate).unwrap(), certificates(&certificate).unwrap()].concat();
        assert_eq!(certificates(&file("twice", &encode(&twice))).unwrap(), twice);
        assert!(private_key(&key).is_ok());
        assert!(matches!(certificates(&key), Err(TrustError::KeyForCertificate { .. })));
        assert!(matches!(private_key(&certificate), Err(TrustError::CertificateForKey { .. })));
        assert!(matches!(certificates(&empty), Err(TrustError::NoCertificate { .. })));
        assert!(matches!(private_key(&empty), Err(TrustError::NoKey { .. })));
        assert!(matches!(certificates(&damaged), Err(TrustError::Damaged { .. })));
        assert!(matches!(private_key(folder.path()), Err(TrustError::Unreadable { .. })));
    }
}
