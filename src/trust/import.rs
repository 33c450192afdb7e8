//! Taking an app's certificate that was made elsewhere (R11): one of another CA, or one that who has the own CA's key has
//! issued. It is in the ledger only if it would get in by it.

use std::{path::Path, slice, sync::Arc, time::Duration};

use rustls::{
    pki_types::{CertificateDer, UnixTime},
    server::danger::ClientCertVerifier,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{
    CertificateRecord, Clients, CrlCheck, Entry, Fingerprint, Foreign, Ledger, LedgerSnapshot, LedgerVerifier,
    NotAccepted, Operation, Record, Status, TrustError,
    ca::sha256,
    client_crls::issuer_id,
    ledger::{rfc3339, to_hex},
    pem, records_of_file,
    refused::{serial, witnessed_now},
};
use crate::{
    config::TlsFiles,
    model::{InstanceId, UserName},
};

/// Checks that the first certificate of a text would open the TLS door as this user and instance: its chain leads to a client
/// CA, it is for clients, in date, has no other name of ours, and its CA's CRL is there and doesn't name it, unless the import
/// says that there is none or the CA is the own one, of which the ledger knows more. Returns the record for the store. What is
/// wrong with the text is said of the file `name`.
///
/// # Errors
/// It isn't so, or a file can't be read.
pub fn check_app(
    (name, text): (&Path, &str),
    owner: (&UserName, &InstanceId),
    crl: CrlCheck,
    files: &TlsFiles,
    now: OffsetDateTime,
) -> Result<(Fingerprint, CertificateRecord), TrustError> {
    let record = check_chain((name, &pem::certificates_in(text.as_bytes(), name)?), owner, crl, files, now)?;
    let mut records = records_of_file(slice::from_ref(&record)).map_err(|(_, reason)| damaged(name, &reason))?;
    records.pop_first().ok_or_else(|| TrustError::NoCertificate { path: name.into() })
}

fn check_chain(
    (certificate, chain): (&Path, &[CertificateDer<'_>]),
    (user, instance): (&UserName, &InstanceId),
    crl: CrlCheck,
    files: &TlsFiles,
    now: OffsetDateTime,
) -> Result<Record, TrustError> {
    let (end_entity, between) =
        chain.split_first().ok_or_else(|| TrustError::NoCertificate { path: certificate.into() })?;
    let (_, parsed) = X509Certificate::from_der(end_entity).map_err(|error| damaged(certificate, &error))?;
    let mut entry = Entry {
        user: user.clone(),
        instance: instance.clone(),
        sha256: sha256(end_entity),
        serial: serial(&parsed),
        not_after: parsed.validity().not_after.timestamp(),
        foreign: None,
        status: Status::Issued,
    };
    let is_own = is_own(files, &entry, (end_entity, between), now);
    if !is_own {
        entry.foreign = Some(Foreign { issuer: issuer_id(parsed.issuer()), crl });
    }
    let record = Record {
        op: if is_own { Operation::Issued } else { Operation::Imported },
        serial: entry.serial.clone(),
        sha256: to_hex(&entry.sha256),
        user: user.to_string(),
        instance: instance.to_string(),
        not_before: rfc3339(parsed.validity().not_before.to_datetime()),
        not_after: rfc3339(parsed.validity().not_after.to_datetime()),
        at: rfc3339(now),
        reason: String::new(),
        foreign: entry.foreign.clone(),
    };
    // What other CAs have revoked is nothing to it: their lists may be missing.
    let own = TlsFiles { client_crl: Vec::new(), ..files.clone() };
    match would_get_in(if is_own { &own } else { files }, entry, (end_entity, between), now)? {
        Ok(()) => Ok(record),
        Err(why) => Err(TrustError::NotAccepted { path: certificate.into(), why }),
    }
}

/// Whether it comes from the own CA: not only by the CA's name, which another one may have, too.
fn is_own(
    files: &TlsFiles,
    entry: &Entry,
    chain: (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: OffsetDateTime,
) -> bool {
    let Some(own) = &files.own_ca else { return false };
    let files = TlsFiles { client_ca: own.certificate.clone(), client_crl: Vec::new(), ..files.clone() };
    matches!(would_get_in(&files, entry.clone(), chain, now), Ok(Ok(())))
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::Damaged { path: path.into(), reason: reason.to_string() }
}

/// Asks the door's own verifier, with a ledger that knows this certificate and no other.
fn would_get_in(
    files: &TlsFiles,
    entry: Entry,
    (end_entity, between): (&CertificateDer<'_>, &[CertificateDer<'_>]),
    now: OffsetDateTime,
) -> Result<Result<(), NotAccepted>, TrustError> {
    let ledger = Arc::new(Ledger::kept(&Arc::new(LedgerSnapshot::of([entry]))));
    let (verifier, _) = LedgerVerifier::of_files(files, ledger, Clients::MustShow)?;
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    Ok(match witnessed_now(|| verifier.verify_client_cert(end_entity, between, now)) {
        (Ok(_), _) => Ok(()),
        (Err(_), refused) => Err(refused.map_or(NotAccepted::Other, |refused| refused.why)),
    })
}
