//! TLS as an app uses it: its own certificate, the CAs that it trusts, and verification that nothing can switch off.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use zeroize::Zeroizing;

use super::error::{FileError, PemError};

/// The app's own certificate with its private key.
#[derive(Clone)]
pub struct Identity(CertifiedKey);

impl Identity {
    /// Reads a certificate (with its chain, the own one first) and its private key (PKCS#8, SEC1 or PKCS#1), both PEM.
    ///
    /// # Errors
    /// [`PemError`] when one of them can't be read, the two are swapped, or don't belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8]) -> Result<Self, PemError> {
        let chain = certificates(certificate)?;
        let key = match PrivateKeyDer::from_pem_slice(key) {
            Ok(key) => key,
            Err(pem::Error::NoItemsFound) => {
                let holds_certificate = certificates(key).is_ok();
                return Err(PemError::NoKey { holds_certificate });
            }
            Err(error) => return Err(unreadable(&error)),
        };
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map(Self)
            .map_err(|error| PemError::Mismatch(error.to_string()))
    }

    /// The same from two files. What was read of the key is wiped.
    ///
    /// # Errors
    /// [`FileError`] when one of them can't be read or used.
    pub fn from_files(certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Result<Self, FileError> {
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        Self::from_pem(&read(certificate)?, &read(key)?).map_err(|error| FileError::Unusable {
            files: format!("{} and {}", certificate.display(), key.display()),
            error,
        })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.0.cert.len()).finish_non_exhaustive()
    }
}

/// The CAs that the gateway's certificate may come from.
#[derive(Debug, Clone)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// Reads one or more CA certificates, PEM.
    ///
    /// # Errors
    /// [`PemError`] when there is none, or one can't be read.
    pub fn from_pem(certificates_pem: &[u8]) -> Result<Self, PemError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(certificates_pem)? {
            roots.add(certificate).map_err(|error| PemError::Certificate(error.to_string()))?;
        }
        Ok(Self(Arc::new(roots)))
    }

    /// The same from a file.
    ///
    /// # Errors
    /// [`FileError`] when it can't be read or used.
    pub fn from_file(certificates_pem: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = certificates_pem.as_ref();
        Self::from_pem(&read(path)?).map_err(|error| FileError::Unusable { files: path.display().to_string(), error })
    }
}

/// A file that may hold a key, in memory that is wiped.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unreadable = |error: std::io::Error| FileError::Unreadable {
        file: path.display().to_string(),
        kind: error.kind(),
        text: error.to_string(),
    };
    std::fs::read(path).map(Zeroizing::new).map_err(unreadable)
}

/// TLS 1.3 or 1.2, no resumption and no early data: the gateway judges the certificate at each connection (R3).
pub(super) fn config(identity: &Identity, roots: &Roots) -> Result<ClientConfig, rustls::Error> {
    let resolver = Arc::new(SingleCertAndKey::from(identity.0.clone()));
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_root_certificates(Arc::clone(&roots.0))
        .with_client_cert_resolver(resolver);
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(PemError::NoCertificate { holds_key: PrivateKeyDer::from_pem_slice(text).is_ok() })
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(&error)),
    }
}

/// Says what is wrong without quoting the text: it may be a key.
fn unreadable(error: &pem::Error) -> PemError {
    PemError::Unreadable(
        match error {
            pem::Error::MissingSectionEnd { .. } => "a section has no end",
            pem::Error::IllegalSectionStart { .. } => "a section begins in a wrong way",
            pem::Error::Base64Decode(_) => "a section is not base64",
            _ => "it is damaged",
        }
        .to_owned(),
    )
}
