//! The gateway's own certificate: checked when it is loaded, or asked for from another CA.

use std::{net::IpAddr, path::Path, time::Duration};

use rustls::{
    Error, InconsistentKeys, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use super::{
    TrustError, Validity,
    ca::{WipedKey, first, gateway_params},
    ledger::rfc3339,
    pem,
};

/// A request for a certificate, and the key that it will belong to.
pub struct GatewayRequest {
    /// The request, PKCS#10 in PEM.
    pub request_pem: String,
    /// The private key, PKCS#8.
    pub key_pem: Zeroizing<String>,
}

/// Makes a key and a request for a certificate for these DNS names and IP addresses and the local ones.
///
/// # Errors
/// A name is neither a DNS name nor an IP address.
pub fn request_gateway(names: &[String]) -> Result<GatewayRequest, TrustError> {
    // Dates, serial number and issuer are the other CA's.
    let mut params = gateway_params(names, Validity::days(OffsetDateTime::UNIX_EPOCH, 1)?)?;
    params.serial_number = None;
    params.use_authority_key_identifier_extension = false;
    params.is_ca = rcgen::IsCa::NoCa;
    let key = WipedKey::generate()?;
    let request_pem = params.serialize_request(&key)?.pem()?;
    Ok(GatewayRequest { request_pem, key_pem: key.to_pem() })
}

/// Checks that a certificate belongs to the key, is valid now and for servers, and, if a CA is given, comes from it.
/// Returns the chain, as PEM and with nothing else that may have been in the file.
///
/// # Errors
/// It isn't so, or a file can't be read.
pub fn check_gateway(certificate: &Path, key: &Path, ca: Option<&Path>, now: UnixTime) -> Result<String, TrustError> {
    let chain = load(certificate, key, now)?.cert;
    let Some(ca) = ca else {
        return Ok(pem::encode(&chain));
    };
    let mut roots = RootCertStore::empty();
    for root in pem::certificates(ca)? {
        roots.add(root).map_err(|error| damaged(ca, &error))?;
    }
    let (end_entity, intermediates) =
        chain.split_first().ok_or_else(|| TrustError::NoCertificate { path: certificate.into() })?;
    let parsed = ParsedCertificate::try_from(end_entity).map_err(|error| damaged(certificate, &error))?;
    let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms).map_err(|error| {
        TrustError::NotFromCa { path: certificate.into(), ca: ca.into(), reason: error.to_string() }
    })?;
    Ok(pem::encode(&chain))
}

/// The names of a gateway's certificate that comes from this CA, whether or not it has ended by `now`: those for which the CA is to make the
/// next one.
///
/// # Errors
/// It comes from another CA, or a file can't be read.
pub fn gateway_names(
    certificate: &Path,
    key: &Path,
    ca: &Path,
    now: OffsetDateTime,
) -> Result<Vec<String>, TrustError> {
    let der = first(pem::certificates(certificate)?, certificate)?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| damaged(certificate, &error))?;
    let (begin, end) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
    let last = u64::try_from(now.unix_timestamp().min(end).max(begin)).unwrap_or(0);
    check_gateway(certificate, key, Some(ca), UnixTime::since_unix_epoch(Duration::from_secs(last)))?;
    let names = parsed.subject_alternative_name().map_err(|error| damaged(certificate, &error))?;
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    Ok(names.filter_map(host).collect())
}

fn host(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}

/// The gateway's chain and key, checked: a pair, valid now, for servers.
pub(super) fn load(certificate: &Path, key: &Path, now: UnixTime) -> Result<CertifiedKey, TrustError> {
    let chain = pem::certificates(certificate)?;
    let private_key = pem::private_key(key)?;
    // By reference: what takes the key as a value would leave a copy of it behind.
    let signing_key = aws_lc_rs::sign::any_supported_type(&private_key).map_err(|error| damaged(key, &error))?;
    let pair = CertifiedKey::new(chain, signing_key);
    match pair.keys_match() {
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            return Err(TrustError::Mismatch { certificate: certificate.into(), key: key.into() });
        }
        // A kind of key that can't tell its public half.
        Ok(()) | Err(Error::InconsistentKeys(_)) => {}
        Err(error) => return Err(damaged(certificate, &error)),
    }
    let end_entity = pair.end_entity_cert().map_err(|error| damaged(certificate, &error))?;
    check_end_entity(end_entity, certificate, now)?;
    Ok(pair)
}

fn check_end_entity(der: &CertificateDer<'_>, path: &Path, now: UnixTime) -> Result<(), TrustError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|error| damaged(path, &error))?;
    let validity = parsed.validity();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > validity.not_after.timestamp() {
        let not_after = rfc3339(validity.not_after.to_datetime());
        return Err(TrustError::Expired { path: path.into(), not_after });
    }
    if now < validity.not_before.timestamp() {
        let not_before = rfc3339(validity.not_before.to_datetime());
        return Err(TrustError::NotYetValid { path: path.into(), not_before });
    }
    let usage = parsed.extended_key_usage().map_err(|error| damaged(path, &error))?;
    // Without the extension a certificate is good for every use (RFC 5280 section 4.2.1.12).
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        return Err(TrustError::NotForServers { path: path.into() });
    }
    Ok(())
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::Damaged { path: path.into(), reason: reason.to_string() }
}
