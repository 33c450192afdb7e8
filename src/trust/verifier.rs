//! Who may finish a handshake (R3).

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::{
        VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    ClientCrls, Clients, Entry, Ledger, NotAccepted, Refused, Shown, Status, TrustError,
    ca::sha256,
    name, pem,
    refused::{is_weak, leave_word},
};
use crate::config::TlsFiles;

/// Asks the ledger after rustls has checked chain, dates, usage and CRL.
#[derive(Debug)]
pub struct LedgerVerifier {
    /// For certificates that need no CRL: where there is one of their CA, it counts.
    chain: Arc<dyn ClientCertVerifier>,
    /// For those that need one; `None` if there is none at all.
    chain_and_crl: Option<Arc<dyn ClientCertVerifier>>,
    ledger: Arc<Ledger>,
    clients: Clients,
}

impl LedgerVerifier {
    /// By the client CAs and their CRLs in these files. The CRLs are returned, too.
    ///
    /// # Errors
    /// A file can't be read or isn't what it should be.
    pub fn of_files(
        files: &TlsFiles,
        ledger: Arc<Ledger>,
        clients: Clients,
    ) -> Result<(Self, Arc<ClientCrls>), TrustError> {
        let cas = pem::certificates(&files.client_ca)?;
        let crls = ClientCrls::load(&files.client_crl, &cas, &files.client_ca)?;
        let mut roots = RootCertStore::empty();
        for ca in cas {
            roots
                .add(ca)
                .map_err(|error| TrustError::Damaged { path: files.client_ca.clone(), reason: error.to_string() })?;
        }
        // The process's default provider is whatever somebody installed: ours is named.
        let provider = Arc::new(aws_lc_rs::default_provider());
        // What a CA between has revoked is on a list of its own, which nobody has to have here: an import is of one certificate.
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .with_crls(crls.ders())
            .only_check_end_entity_revocation()
            .enforce_revocation_expiration();
        let lenient = strict.clone().allow_unknown_revocation_status();
        let tls = |error: VerifierBuilderError| TrustError::Tls(error.to_string());
        let chain = lenient.build().map_err(tls)?;
        let chain_and_crl = if crls.is_empty() { None } else { Some(strict.build().map_err(tls)?) };
        Ok((Self { chain, chain_and_crl, ledger, clients }, Arc::new(crls)))
    }

    /// What rustls says of chain, dates, usage and CRL. A certificate that nobody knows gets no further anyway.
    fn check_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let needs_crl = self.ledger.current().lookup(&sha256(end_entity)).is_some_and(Entry::needs_crl);
        match (&self.chain_and_crl, needs_crl) {
            (Some(strict), true) => strict.verify_client_cert(end_entity, intermediates, now),
            (_, false) => self.chain.verify_client_cert(end_entity, intermediates, now),
            (None, true) => {
                self.chain.verify_client_cert(end_entity, intermediates, now)?;
                Err(CertificateError::from(NotAccepted::CrlMissing).into())
            }
        }
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
            .check_chain(end_entity, intermediates, now)
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
