//! Who may finish a handshake (R3).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Clients, Ledger, Status, ca::sha256, name};

/// Asks the ledger after rustls has checked chain, dates and usage.
#[derive(Debug)]
pub struct LedgerVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    ledger: Arc<Ledger>,
    clients: Clients,
}

/// Why a certificate with a good chain is not accepted, where rustls has no word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAccepted {
    /// The ledger can't be read: nobody is let in.
    #[error("the ledger can't be read")]
    LedgerUnavailable,
    /// A name of ours in it is not the one in the ledger (R11).
    #[error("the certificate names another user or instance than the ledger")]
    NameDisagrees,
    /// The ledger doesn't know it.
    #[error("the certificate is not in the ledger")]
    NotInLedger,
}

impl LedgerVerifier {
    /// `chain` checks everything but the ledger.
    pub fn new(chain: Arc<dyn ClientCertVerifier>, ledger: Arc<Ledger>, clients: Clients) -> Self {
        Self { chain, ledger, clients }
    }

    fn ask_ledger(&self, certificate: &CertificateDer<'_>) -> Result<(), CertificateError> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        // rustls takes a certificate without any extended key usage for one that is good for all.
        let usage = parsed.extended_key_usage().map_err(|_| CertificateError::BadEncoding)?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(CertificateError::InvalidPurpose);
        }
        let snapshot = self.ledger.current();
        if snapshot.failure().is_some() {
            return Err(NotAccepted::LedgerUnavailable.into());
        }
        let entry = snapshot.lookup(&sha256(certificate)).ok_or(NotAccepted::NotInLedger)?;
        if entry.status != Status::Issued {
            return Err(CertificateError::Revoked);
        }
        if !name::agrees(&parsed, &entry.user, &entry.instance) {
            return Err(NotAccepted::NameDisagrees.into());
        }
        Ok(())
    }
}

impl ClientCertVerifier for LedgerVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients == Clients::MustShow
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        self.ask_ledger(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

impl From<NotAccepted> for CertificateError {
    fn from(reason: NotAccepted) -> Self {
        Self::Other(OtherError(Arc::new(reason)))
    }
}
