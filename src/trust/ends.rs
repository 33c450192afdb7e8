//! When the gateway's own certificates end, and those of the CAs that it accepts apps by.

use std::path::Path;

use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TrustError, pem};
use crate::config::TlsFiles;

/// Of several certificates the end of the first to end, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The gateway's certificate, and those between it and its CA.
    pub gateway: i64,
    /// The CAs that apps' certificates come from.
    pub client_ca: i64,
}

impl Ends {
    /// Reads the TLS door's certificates.
    ///
    /// # Errors
    /// A file can't be read, or holds no certificate.
    pub fn read(files: &TlsFiles) -> Result<Self, TrustError> {
        Ok(Self { gateway: first_end(&files.certificate)?, client_ca: first_end(&files.client_ca)? })
    }
}

/// The end of the first to end of the certificates in a PEM file, in seconds since 1970.
///
/// # Errors
/// The file can't be read, or holds no certificate.
pub fn first_end(path: &Path) -> Result<i64, TrustError> {
    let mut first = i64::MAX;
    for der in pem::certificates(path)? {
        let (_, parsed) = X509Certificate::from_der(&der)
            .map_err(|error| TrustError::Damaged { path: path.into(), reason: error.to_string() })?;
        first = first.min(parsed.validity().not_after.timestamp());
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use time::OffsetDateTime;

    use super::*;
    use crate::trust::{InitOptions, init};

    #[test]
    fn r32_of_several_certificates_the_first_end_counts() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let made = |days| {
            let folder = tempfile::tempdir().unwrap();
            init(folder.path(), &InitOptions { ca_days: days + 1, gateway_days: days, names: Vec::new() }, now)
                .unwrap();
            folder
        };
        let (short, long) = (made(10), made(100));
        let file = |name: &str| short.path().join(name);
        let files = TlsFiles {
            certificate: file("gateway.pem"),
            key: file("gateway.key"),
            client_ca: file("both.pem"),
            client_crl: Vec::new(),
            own_ca: None,
            ledger: file("ledger.jsonl"),
        };
        let ca = |folder: &tempfile::TempDir| fs::read_to_string(folder.path().join("ca.pem")).unwrap();
        fs::write(&files.client_ca, ca(&long) + &ca(&short)).unwrap();
        let day = |days: i64| now.unix_timestamp() + days * 86_400;
        assert_eq!(Ends::read(&files).unwrap(), Ends { gateway: day(10), client_ca: day(11) });
        fs::write(&files.client_ca, "").unwrap();
        assert!(matches!(Ends::read(&files), Err(TrustError::NoCertificate { .. })));
    }
}
