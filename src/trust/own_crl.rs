//! The list of what our own CA revoked, for others that take its certificates: made when somebody asks, and again when it is
//! not what the ledger says any more.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rustls_pki_types::CertificateDer;
use time::{Duration, OffsetDateTime};

use super::{CRL, Ca, CertificateRecords, Crl, LedgerSnapshot, TrustError, ca::first, pem};

/// By when there is another one, at the latest.
const VALID: Duration = Duration::days(7);
/// How old one may be that is handed out.
const FRESH: Duration = Duration::hours(1);

/// The list that was made last.
#[derive(Debug, Default)]
pub struct OwnCrl(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    at: OffsetDateTime,
    /// By whom: a CA that takes the place of another one has lists of its own.
    ca: CertificateDer<'static>,
    /// By what.
    ledger: Arc<LedgerSnapshot>,
    crl: Arc<Crl>,
}

impl OwnCrl {
    /// The list by these records, of which `ledger` is the snapshot. Its number is higher than that of each one before, and than
    /// that of the file that `callgate cert crl` writes beside the CA's certificate. It reads files.
    ///
    /// # Errors
    /// The CA can't be read, has ended, or may not sign lists.
    pub fn current(
        &self,
        (certificate, key): (&Path, &Path),
        records: &CertificateRecords,
        ledger: &Arc<LedgerSnapshot>,
        now: OffsetDateTime,
    ) -> Result<Arc<Crl>, TrustError> {
        let of = first(pem::certificates(certificate)?, certificate)?;
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.is_good(&of, ledger, now)) {
            return Ok(Arc::clone(&made.crl));
        }
        let ca = Ca::load(certificate, key)?;
        let written = certificate.with_file_name(CRL);
        let before = made.as_ref().and_then(|made| made.crl.number()).unwrap_or_default();
        let number = Crl::next_number(&written, now).max(before.saturating_add(1));
        let records = records.values().map(|(_, record)| &**record);
        let crl = Arc::new(ca.crl(records, number, now, now + VALID)?);
        *made = Some(Made { at: now, ca: of, ledger: Arc::clone(ledger), crl: Arc::clone(&crl) });
        Ok(crl)
    }
}

impl Made {
    fn is_good(&self, ca: &CertificateDer<'_>, ledger: &Arc<LedgerSnapshot>, now: OffsetDateTime) -> bool {
        let is_fresh = (self.at..self.at + FRESH).contains(&now) && !self.crl.has_expired(now);
        is_fresh && self.ca == *ca && Arc::ptr_eq(&self.ledger, ledger)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{
        store::Version,
        trust::{CertificateRecord, Fingerprint, Validity, ledger::rfc3339},
    };

    #[test]
    fn r11_a_list_is_made_again_when_the_ledger_or_the_ca_changed_or_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let make_ca = || {
            let ca = Ca::make("Test CA", Validity::days(now, 100).unwrap()).unwrap();
            fs::write(folder.path().join("ca.pem"), ca.certificate_pem()).unwrap();
            fs::write(folder.path().join("ca.key"), &*ca.key_pem()).unwrap();
        };
        make_ca();
        let (certificate, key) = (folder.path().join("ca.pem"), folder.path().join("ca.key"));
        let files = (certificate.as_path(), key.as_path());
        let record = CertificateRecord {
            not_after: rfc3339(now + Duration::days(9)),
            ..CertificateRecord::of("recorder", "1", "4c01")
        };
        let of = |record: &CertificateRecord| {
            let records: CertificateRecords = [(Fingerprint([1; 32]), (Version(1), Arc::new(record.clone())))].into();
            let ledger = Arc::new(LedgerSnapshot::of_records(&records));
            (records, ledger)
        };
        let crls = OwnCrl::default();
        let (records, ledger) = of(&record);
        let ask = |records: &CertificateRecords, ledger: &Arc<LedgerSnapshot>, at| {
            let crl = crls.current(files, records, ledger, at).unwrap();
            (crl.number().unwrap(), crl.revoked())
        };
        let first = ask(&records, &ledger, now);
        assert_eq!(first, (1_800_000_000, 0));
        assert_eq!(ask(&records, &ledger, now + Duration::minutes(59)), first);
        // Within the same second, and with a clock that goes back.
        let (records, ledger) = of(&record.revoked(now, "lost"));
        assert_eq!(ask(&records, &ledger, now), (first.0 + 1, 1));
        assert_eq!(ask(&records, &ledger, now - Duration::days(1)), (first.0 + 2, 1));
        assert_eq!(ask(&records, &ledger, now + Duration::hours(2)), (first.0 + 7200, 1));
        make_ca();
        assert_eq!(ask(&records, &ledger, now + Duration::hours(2)), (first.0 + 7201, 1));
        fs::remove_file(&key).unwrap();
        let (records, ledger) = of(&record);
        let failed = crls.current(files, &records, &ledger, now);
        assert!(matches!(failed, Err(TrustError::Unreadable { .. })), "{failed:?}");
    }
}
