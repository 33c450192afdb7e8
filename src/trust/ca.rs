//! The gateway's own CA.
//!
//! It decides subject, names, usages and dates of what it issues. An app's certificate is in the ledger, on disk, before
//! anybody gets it: there is no other way to have one made.

use std::{net::IpAddr, path::Path};

use aws_lc_rs::{digest, rand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::{
    Ledger, Operation, Record, TrustError,
    ledger::{rfc3339, to_hex},
    name, pem,
};
use crate::model::{InstanceId, UserName};

/// How far back a certificate begins, for clocks that are behind.
const BACK: Duration = Duration::minutes(5);
/// The upper bound of a common name (RFC 5280 appendix A.1, ub-common-name).
const COMMON_NAME_MAX: usize = 64;
/// Every gateway certificate has these names.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// A CA: its certificate and its key, P-256.
pub struct Ca {
    certificate_pem: String,
    not_after: OffsetDateTime,
    issuer: Issuer<'static, WipedKey>,
}

/// A key pair whose serialized form is wiped when it is dropped: rcgen's own is not. What the signing library has of it is
/// that library's to wipe.
pub(super) struct WipedKey(Zeroizing<KeyPair>);

impl WipedKey {
    /// A new one, P-256.
    pub(super) fn generate() -> Result<Self, TrustError> {
        Ok(Self(Zeroizing::new(KeyPair::generate()?)))
    }

    /// PKCS#8, in memory that is wiped.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        pem::encode_key(self.0.serialized_der())
    }
}

impl PublicKeyData for WipedKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        PublicKeyData::algorithm(&*self.0)
    }
}

impl SigningKey for WipedKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Its first moment.
    pub not_before: OffsetDateTime,
    /// Its last moment.
    pub not_after: OffsetDateTime,
}

/// A certificate and its key, just made.
pub struct Issued {
    /// The certificate. Nothing stands between it and the CA, so this is the whole chain.
    pub certificate_pem: String,
    /// Its private key, PKCS#8. The gateway keeps no copy.
    pub key_pem: Zeroizing<String>,
    /// SHA-256 of the certificate's DER form.
    pub sha256: [u8; 32],
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// Its dates.
    pub validity: Validity,
}

impl Validity {
    /// From some minutes before `now` for this many days.
    ///
    /// # Errors
    /// [`TrustError::Days`]: there are less than 1 or more than 36500.
    pub fn days(now: OffsetDateTime, days: u32) -> Result<Self, TrustError> {
        if !(1..=36_500).contains(&days) {
            return Err(TrustError::Days(days));
        }
        // Certificates have whole seconds.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let not_after = now.checked_add(Duration::days(days.into())).ok_or(TrustError::Days(days))?;
        Ok(Self { not_before: now.checked_sub(BACK).unwrap_or(now), not_after })
    }
}

impl Ca {
    /// Makes a new CA. Nothing is written: see [`certificate_pem`](Self::certificate_pem) and
    /// [`key_pem`](Self::key_pem).
    ///
    /// # Errors
    /// Only those of the machine.
    pub fn make(common_name: &str, validity: Validity) -> Result<Self, TrustError> {
        let mut params = params(common_name, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = false;
        let key = WipedKey::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { certificate_pem, not_after: validity.not_after, issuer: Issuer::new(params, key) })
    }

    /// Loads a CA from its two files.
    ///
    /// # Errors
    /// A file can't be read, isn't what it should be, or the two don't belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TrustError> {
        let damaged = |path: &Path, reason: String| TrustError::Damaged { path: path.into(), reason };
        let der = first(pem::certificates(certificate)?, certificate)?;
        let key_pair = KeyPair::try_from(&*pem::private_key(key)?).map(Zeroizing::new);
        let key_pair = key_pair.map_err(|error| damaged(key, error.to_string()))?;
        let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| damaged(certificate, error.to_string()))?;
        if !parsed.is_ca() {
            return Err(TrustError::NotCa { path: certificate.into() });
        }
        if *parsed.public_key().subject_public_key.data != *key_pair.public_key_raw() {
            return Err(TrustError::Mismatch { certificate: certificate.into(), key: key.into() });
        }
        let not_after = parsed.validity().not_after.to_datetime();
        let issuer = Issuer::from_ca_cert_der(&der, WipedKey(key_pair))
            .map_err(|error| damaged(certificate, error.to_string()))?;
        Ok(Self { certificate_pem: pem::encode(std::slice::from_ref(&der)), not_after, issuer })
    }

    /// The CA's certificate.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, PKCS#8.
    pub fn key_pem(&self) -> Zeroizing<String> {
        self.issuer.key().to_pem()
    }

    /// Its last moment.
    pub(super) fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, WipedKey> {
        &self.issuer
    }

    /// Signs an app's certificate: clientAuth only, with the user and instance as a URI (R31). It opens no door before the
    /// ledger has it.
    ///
    /// # Errors
    /// It would outlive the CA.
    pub fn sign_app(&self, user: &UserName, instance: &InstanceId, validity: Validity) -> Result<Issued, TrustError> {
        let mut params = params(&format!("{user}/{instance}"), validity)?;
        params.subject_alt_names = vec![SanType::URI(name::uri(user, instance).as_str().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(&params, validity)
    }

    /// [Signs](Self::sign_app) an app's certificate. When this returns, it is in the ledger.
    ///
    /// # Errors
    /// It would outlive the CA, or the ledger can't be written; then there is no certificate.
    pub fn issue_app(
        &self,
        user: &UserName,
        instance: &InstanceId,
        validity: Validity,
        now: OffsetDateTime,
        ledger: &Ledger,
    ) -> Result<Issued, TrustError> {
        let issued = self.sign_app(user, instance, validity)?;
        ledger.append(&Record {
            op: Operation::Issued,
            serial: issued.serial.clone(),
            sha256: to_hex(&issued.sha256),
            user: user.to_string(),
            instance: instance.to_string(),
            not_before: rfc3339(validity.not_before),
            not_after: rfc3339(validity.not_after),
            at: rfc3339(now),
            reason: String::new(),
            foreign: None,
        })?;
        Ok(issued)
    }

    /// Issues a gateway's certificate: serverAuth only, for these DNS names and IP addresses and the local ones. It is in
    /// no ledger: it opens no door.
    ///
    /// # Errors
    /// It would outlive the CA, or a name is neither a DNS name nor an IP address.
    pub fn issue_gateway(&self, names: &[String], validity: Validity) -> Result<Issued, TrustError> {
        self.issue(&gateway_params(names, validity)?, validity)
    }

    fn issue(&self, params: &CertificateParams, validity: Validity) -> Result<Issued, TrustError> {
        if validity.not_after > self.not_after {
            return Err(TrustError::OutlivesCa { ca_not_after: rfc3339(self.not_after) });
        }
        let key = WipedKey::generate()?;
        let serial = params.serial_number.as_ref().map(|serial| to_hex(&serial.to_bytes())).unwrap_or_default();
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.to_pem(),
            sha256: sha256(certificate.der()),
            serial,
            validity,
        })
    }
}

/// What a gateway's certificate says, also in a request to another CA.
pub(super) fn gateway_params(names: &[String], validity: Validity) -> Result<CertificateParams, TrustError> {
    let mut params = params("Callgate gateway", validity)?;
    for name in LOCAL_NAMES.into_iter().chain(names.iter().map(String::as_str)) {
        let name = alternative_name(name)?;
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Whether two files begin with the same certificate.
///
/// # Errors
/// One of them can't be read, or has none.
pub fn same_certificate(one: &Path, other: &Path) -> Result<bool, TrustError> {
    Ok(first(pem::certificates(one)?, one)? == first(pem::certificates(other)?, other)?)
}

pub(super) fn sha256(der: &CertificateDer<'_>) -> [u8; 32] {
    digest_sha256(der)
}

pub(super) fn digest_sha256(content: &[u8]) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, content).as_ref());
    bytes
}

/// The certificate that a chain begins with.
pub(super) fn first(chain: Vec<CertificateDer<'static>>, path: &Path) -> Result<CertificateDer<'static>, TrustError> {
    chain.into_iter().next().ok_or_else(|| TrustError::NoCertificate { path: path.into() })
}

fn params(common_name: &str, validity: Validity) -> Result<CertificateParams, TrustError> {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, common_name.chars().take(COMMON_NAME_MAX).collect::<String>());
    params.distinguished_name = subject;
    params.not_before = validity.not_before;
    params.not_after = validity.not_after;
    params.serial_number = Some(serial_number()?);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// 16 random bytes, positive and without leading zeros (RFC 5280 section 4.1.2.2).
fn serial_number() -> Result<SerialNumber, TrustError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| TrustError::Randomness)?;
    let [first, ..] = &mut bytes;
    *first = (*first & 0x7f) | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn alternative_name(name: &str) -> Result<SanType, TrustError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let wrong = || TrustError::GatewayName(name.into());
    rustls_pki_types::DnsName::try_from(name.strip_prefix("*.").unwrap_or(name)).map_err(|_| wrong())?;
    Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    #[test]
    fn r31_an_app_s_certificate_is_for_clients_only_and_names_user_and_instance() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        fs::write(&path, "").unwrap();
        let ledger = Ledger::open(path).unwrap();
        let ca = Ca::make("Test CA", Validity::days(now(), 1000).unwrap()).unwrap();
        let (user, instance) = ("recorder".parse().unwrap(), "1".parse().unwrap());
        let validity = Validity::days(now(), 365).unwrap();
        let issued = ca.issue_app(&user, &instance, validity, now(), &ledger).unwrap();

        let file = folder.path().join("a.pem");
        fs::write(&file, &issued.certificate_pem).unwrap();
        let der = first(pem::certificates(&file).unwrap(), &file).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any && usage.other.is_empty());
        assert!(!certificate.is_ca() && certificate.basic_constraints().unwrap().is_some());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert_eq!(usage.flags, 1, "digitalSignature and nothing else");
        assert_eq!(certificate.raw_serial().len(), 16);
        assert!(name::agrees(&certificate, &user, &instance));
        assert!(!name::agrees(&certificate, &user, &"2".parse().unwrap()));
        assert_eq!(certificate.validity().not_after.timestamp(), now().unix_timestamp() + 365 * 86_400);
        assert_eq!(certificate.validity().not_before.timestamp(), now().unix_timestamp() - 300);

        let snapshot = ledger.current();
        let entry = snapshot.lookup(&issued.sha256).unwrap();
        assert_eq!((&entry.user, &entry.instance, &entry.serial), (&user, &instance, &issued.serial));
    }

    #[test]
    fn a_ca_is_loaded_as_it_was_made() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
        let validity = Validity::days(now(), 1000).unwrap();
        let ca = Ca::make("Test CA", validity).unwrap();
        fs::write(&certificate, ca.certificate_pem()).unwrap();
        fs::write(&key, ca.key_pem()).unwrap();
        let loaded = Ca::load(&certificate, &key).unwrap();
        assert_eq!(
            loaded.certificate_pem().split_whitespace().collect::<String>(),
            ca.certificate_pem().split_whitespace().collect::<String>()
        );
        assert!(loaded.issue_gateway(&["gw.example.org".into()], validity).is_ok());
        let longer = Validity::days(now(), 1001).unwrap();
        assert!(matches!(loaded.issue_gateway(&[], longer), Err(TrustError::OutlivesCa { .. })));
        assert!(matches!(loaded.issue_gateway(&["no name".into()], validity), Err(TrustError::GatewayName(_))));
        fs::write(&key, Ca::make("Other", validity).unwrap().key_pem()).unwrap();
        assert!(matches!(Ca::load(&certificate, &key), Err(TrustError::Mismatch { .. })));
    }
}
