//! Importing an app's certificate of another CA (R11): it is in the ledger only if it would get in by it.

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

/// Checks that the first certificate of the file would open the TLS door as this user and instance: its chain leads to a client
/// CA, it is for clients, in date, has no other name of ours, and its CA's CRL is there and doesn't name it, unless the import
/// says that there is none. Returns the line for the ledger.
///
/// # Errors
/// It isn't so, or a file can't be read.
pub fn check_app(
    certificate: &Path,
    (user, instance): (&UserName, &InstanceId),
    crl: CrlCheck,
    files: &TlsFiles,
    now: OffsetDateTime,
) -> Result<Record, TrustError> {
    check_chain((certificate, &pem::certificates(certificate)?), (user, instance), crl, files, now)
}

/// The same for a text that somebody sent instead of a file, as a record for the store. What is wrong with the text is said
/// of the file `name`.
///
/// # Errors
/// As [`check_app`].
pub fn check_app_text(
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
    let entry = Entry {
        user: user.clone(),
        instance: instance.clone(),
        sha256: sha256(end_entity),
        serial: serial(&parsed),
        not_after: parsed.validity().not_after.timestamp(),
        foreign: Some(Foreign { issuer: issuer_id(parsed.issuer()), crl }),
        status: Status::Issued,
    };
    let record = Record {
        op: Operation::Imported,
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
    // A ledger that knows this certificate and no other.
    let ledger = Arc::new(Ledger::kept(&Arc::new(LedgerSnapshot::of([entry]))));
    let (verifier, _) = LedgerVerifier::of_files(files, ledger, Clients::MustShow)?;
    if let Err(why) = would_get_in(&verifier, end_entity, between, now) {
        return Err(TrustError::NotAccepted { path: certificate.into(), why });
    }
    Ok(record)
}

fn damaged(path: &Path, reason: &dyn std::fmt::Display) -> TrustError {
    TrustError::Damaged { path: path.into(), reason: reason.to_string() }
}

/// Asks the door's own verifier.
fn would_get_in(
    verifier: &LedgerVerifier,
    end_entity: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
    now: OffsetDateTime,
) -> Result<(), NotAccepted> {
    let seconds = u64::try_from(now.unix_timestamp()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    match witnessed_now(|| verifier.verify_client_cert(end_entity, between, now)) {
        (Ok(_), _) => Ok(()),
        (Err(_), refused) => Err(refused.map_or(NotAccepted::Other, |refused| refused.why)),
    }
}
