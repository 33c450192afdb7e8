//! Who may finish a handshake (R3).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    Clients, Ledger, NotAccepted, Refused, Shown, Status,
    ca::sha256,
    name,
    refused::{is_weak, leave_word},
};

/// Asks the ledger after rustls has checked chain, dates and usage.
#[derive(Debug)]
pub struct LedgerVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    ledger: Arc<Ledger>,
    clients: Clients,
}

impl LedgerVerifier {
    /// `chain` checks everything but the ledger.
    pub fn new(chain: Arc<dyn ClientCertVerifier>, ledger: Arc<Ledger>, clients: Clients) -> Self {
        Self { chain, ledger, clients }
    }

    /// What chain, dates and usages don't say.
    fn ask_ledger(&self, certificate: &CertificateDer<'_>) -> Result<(), NotAccepted> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| NotAccepted::Unreadable)?;
        // rustls takes a certificate without any extended key usage for one that is good for all.
        let usage = parsed.extended_key_usage().map_err(|_| NotAccepted::Unreadable)?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(NotAccepted::NoUsage);
        }
        // The proof of possession would fail with it, too, but not say why.
        if is_weak(&parsed) {
            return Err(NotAccepted::WeakKey);
        }
        let snapshot = self.ledger.current();
        if snapshot.failure().is_some() {
            return Err(NotAccepted::LedgerUnavailable);
        }
        let entry = snapshot.lookup(&sha256(certificate)).ok_or(NotAccepted::NotInLedger)?;
        if entry.status != Status::Issued {
            return Err(NotAccepted::Revoked);
        }
        if !name::agrees(&parsed, &entry.user, &entry.instance) {
            return Err(NotAccepted::NameDisagrees);
        }
        Ok(())
    }

    /// Leaves word of it. The error that decides the alert is given back as it is, unless rustls has no word for it.
    fn refused(&self, certificate: &CertificateDer<'_>, why: NotAccepted, error: Error) -> Error {
        leave_word(|| Refused { why, shown: Shown::new(certificate, &self.ledger) });
        match error {
            Error::InvalidCertificate(CertificateError::Other(_)) => CertificateError::from(why).into(),
            error => error,
        }
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
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)
            .map_err(|error| self.refused(end_entity, NotAccepted::of_chain(&error, end_entity), error))?;
        self.ask_ledger(end_entity).map_err(|why| self.refused(end_entity, why, CertificateError::from(why).into()))?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let possessed = self.chain.verify_tls12_signature(message, cert, dss);
        possessed.map_err(|error| self.refused(cert, NotAccepted::NotPossessed, error))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let possessed = self.chain.verify_tls13_signature(message, cert, dss);
        possessed.map_err(|error| self.refused(cert, NotAccepted::NotPossessed, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
