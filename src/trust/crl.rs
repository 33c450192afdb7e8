//! Lists of revoked certificates (RFC 5280 section 5): the one that our own CA signs for others, and those of other CAs,
//! which imported certificates are looked up in (R11).
//!
//! The gateway's own door doesn't need its CA's list: it asks the ledger.

use std::path::Path;

use rcgen::{CertificateRevocationListParams, RevocationReason, RevokedCertParams, SerialNumber};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    revocation_list::CertificateRevocationList,
};

use super::{
    Ca, CertificateRecord, Origin, TrustError,
    ca::first,
    ledger::{from_hex, rfc3339},
    pem,
};

/// How far back a list begins, for clocks that are behind.
const BACK: Duration = Duration::minutes(5);

/// The words with which a reason begins, and what they are in a list (RFC 5280 section 5.3.1). Blanks and cases don't
/// matter. What is revoked is so for good, so there is no word for a certificate on hold.
const REASONS: [(&str, RevocationReason); 6] = [
    ("affiliationchanged", RevocationReason::AffiliationChanged),
    ("cacompromise", RevocationReason::CaCompromise),
    ("cessationofoperation", RevocationReason::CessationOfOperation),
    ("keycompromise", RevocationReason::KeyCompromise),
    ("privilegewithdrawn", RevocationReason::PrivilegeWithdrawn),
    ("superseded", RevocationReason::Superseded),
];

/// A list of revoked certificates that can be read. Who signed it is another question.
#[derive(Debug, Clone)]
pub struct Crl {
    der: CertificateRevocationListDer<'static>,
    number: Option<u64>,
    this_update: OffsetDateTime,
    next_update: OffsetDateTime,
    revoked: usize,
}

impl Ca {
    /// The list of all certificates of this CA that are revoked and haven't expired, by these records. Its number must be
    /// higher than that of the list before: see [`Crl::next_number`]. It ends with the CA at the latest.
    ///
    /// # Errors
    /// `next_update` or the CA's end is past, or the CA's certificate doesn't allow it to sign lists.
    pub fn crl<'a>(
        &self,
        records: impl IntoIterator<Item = &'a CertificateRecord>,
        number: u64,
        now: OffsetDateTime,
        next_update: OffsetDateTime,
    ) -> Result<Crl, TrustError> {
        let issued = records.into_iter().filter(|record| record.origin == Origin::Issued);
        let now = now.replace_nanosecond(0).unwrap_or(now);
        let params = CertificateRevocationListParams {
            this_update: now.checked_sub(BACK).unwrap_or(now),
            next_update: next_update.min(self.not_after()),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: issued.filter_map(|record| revoked(record, now)).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        if self.not_after() <= now {
            return Err(TrustError::CaEnded { not_after: rfc3339(self.not_after()) });
        }
        if params.next_update <= now {
            return Err(TrustError::Days(0));
        }
        Crl::read(params.signed_by(self.issuer())?.der().clone(), Path::new(""))
    }
}

impl Crl {
    /// Reads a list, PEM or DER, and checks that this CA signed it and that it isn't out of date.
    ///
    /// # Errors
    /// It isn't so, or a file can't be read.
    pub fn load(path: &Path, ca: &Path, now: OffsetDateTime) -> Result<Self, TrustError> {
        let crl = Self::all(path)?.into_iter().next().ok_or_else(|| TrustError::NoCrl { path: path.into() })?;
        if !crl.is_signed_by(&first(pem::certificates(ca)?, ca)?) {
            return Err(TrustError::CrlNotFromCa { path: path.into(), ca: ca.into() });
        }
        if crl.has_expired(now) {
            return Err(TrustError::CrlExpired { path: path.into(), next_update: rfc3339(crl.next_update) });
        }
        Ok(crl)
    }

    /// Every list of a file, PEM or DER; at least one.
    ///
    /// # Errors
    /// The file can't be read, is damaged, or has none.
    pub fn all(path: &Path) -> Result<Vec<Self>, TrustError> {
        pem::crls(path)?.into_iter().map(|der| Self::read(der, path)).collect()
    }

    /// The number for the list that follows the one in this file: higher than its, and than any that was given before if
    /// that file is lost.
    pub fn next_number(previous: &Path, now: OffsetDateTime) -> u64 {
        let before = Self::all(previous).ok().and_then(|lists| lists.first()?.number).unwrap_or_default();
        before.saturating_add(1).max(u64::try_from(now.unix_timestamp()).unwrap_or_default())
    }

    fn read(der: CertificateRevocationListDer<'static>, path: &Path) -> Result<Self, TrustError> {
        let damaged = |reason: String| TrustError::Damaged { path: path.into(), reason };
        let (_, parsed) = CertificateRevocationList::from_der(&der).map_err(|error| damaged(error.to_string()))?;
        let next_update =
            parsed.next_update().ok_or_else(|| damaged("it doesn't say when the next one comes".into()))?;
        let number = parsed.crl_number().map(x509_parser::num_bigint::BigUint::to_u64_digits);
        let number = number.and_then(|digits| match digits[..] {
            [] => Some(0),
            [number] => Some(number),
            _ => None,
        });
        let (this_update, next_update) = (parsed.last_update().to_datetime(), next_update.to_datetime());
        let revoked = parsed.iter_revoked_certificates().count();
        Ok(Self { number, this_update, next_update, revoked, der })
    }

    /// As others read it: PEM.
    pub fn to_pem(&self) -> String {
        pem::encode_crl(&self.der)
    }

    /// As it is served (RFC 5280 section 4.2.1.13).
    pub fn der(&self) -> &CertificateRevocationListDer<'static> {
        &self.der
    }

    /// Its number; `None` if it has none, or one that no list of ours has.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// When it was made.
    pub(super) fn this_update(&self) -> OffsetDateTime {
        self.this_update
    }

    /// By when there must be another one.
    pub fn next_update(&self) -> OffsetDateTime {
        self.next_update
    }

    /// How many certificates are on it.
    pub fn revoked(&self) -> usize {
        self.revoked
    }

    /// Whether there should be another one already.
    pub fn has_expired(&self, now: OffsetDateTime) -> bool {
        now > self.next_update
    }

    /// Whether this CA's key signed it, in this CA's name.
    pub(super) fn is_signed_by(&self, ca: &CertificateDer<'_>) -> bool {
        let Ok((_, ca)) = X509Certificate::from_der(ca) else { return false };
        let Ok((_, parsed)) = CertificateRevocationList::from_der(&self.der) else { return false };
        parsed.issuer().as_raw() == ca.subject().as_raw() && parsed.verify_signature(ca.public_key()).is_ok()
    }
}

/// What a list says of a certificate that is revoked and hasn't expired.
fn revoked(record: &CertificateRecord, now: OffsetDateTime) -> Option<RevokedCertParams> {
    let revocation = record.revoked.as_ref()?;
    let moment = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
    if moment(&record.not_after).is_none_or(|not_after| not_after < now) {
        return None;
    }
    Some(RevokedCertParams {
        serial_number: SerialNumber::from_slice(&from_hex(&record.serial)?),
        revocation_time: moment(&revocation.at).map(|at| at.replace_nanosecond(0).unwrap_or(at)).unwrap_or(now),
        reason_code: reason(&revocation.reason),
        invalidity_date: None,
    })
}

/// `None` is "unspecified", which a list says by saying nothing.
fn reason(text: &str) -> Option<RevocationReason> {
    let word: String = text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    REASONS.iter().find(|(begins, _)| word.starts_with(begins)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use x509_parser::{extensions::ParsedExtension, x509::ReasonCode};

    use super::*;
    use crate::trust::{Revocation, Validity};

    fn now() -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
    }

    fn record(serial: &str, days: i64, revoked: Option<&str>) -> CertificateRecord {
        CertificateRecord {
            not_after: rfc3339(now() + Duration::days(days)),
            revoked: revoked.map(|reason| Revocation { at: rfc3339(now()), reason: reason.into() }),
            ..CertificateRecord::of("recorder", "1", serial)
        }
    }

    fn ca() -> Ca {
        Ca::make("Test CA", Validity::days(now(), 1000).unwrap()).unwrap()
    }

    #[test]
    fn r11_a_list_has_what_this_ca_revoked_and_what_has_not_expired() {
        let imported = CertificateRecord { origin: Origin::Imported, ..record("04", 10, Some("lost")) };
        let records = [
            record("4c01", 10, Some("Key compromise: laptop lost")),
            record("ff02", 10, Some("laptop lost")),
            record("03", 10, None),
            imported,
            record("05", -1, Some("superseded")),
        ];
        let crl = ca().crl(&records, 7, now(), now() + Duration::days(30)).unwrap();
        assert_eq!((crl.number(), crl.next_update(), crl.revoked()), (Some(7), now() + Duration::days(30), 2));
        let (_, parsed) = CertificateRevocationList::from_der(crl.der()).unwrap();
        let said: Vec<_> = parsed
            .iter_revoked_certificates()
            .map(|revoked| {
                let code = revoked.extensions().iter().find_map(|extension| match extension.parsed_extension() {
                    ParsedExtension::ReasonCode(code) => Some(*code),
                    _ => None,
                });
                (revoked.serial().to_bytes_be(), revoked.revocation_date.timestamp(), code)
            })
            .collect();
        let at = now().unix_timestamp();
        assert_eq!(said, [(vec![0x4c, 1], at, Some(ReasonCode::KeyCompromise)), (vec![0xff, 2], at, None)]);
        assert_eq!(parsed.last_update().timestamp(), at - 300);
    }

    #[test]
    fn r11_a_list_is_of_the_ca_that_signed_it_and_in_date() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            path
        };
        let (ours, other) = (ca(), ca());
        let crl = ours.crl(&[record("4c01", 10, Some(""))], 1, now(), now() + Duration::days(30)).unwrap();
        let (ca_file, other_file) =
            (file("ca.pem", ours.certificate_pem().as_bytes()), file("other.pem", other.certificate_pem().as_bytes()));
        let (pem, der) = (file("ca.crl", crl.to_pem().as_bytes()), file("der.crl", crl.der()));
        for path in [&pem, &der] {
            assert_eq!(Crl::load(path, &ca_file, now()).unwrap().der(), crl.der());
            let expired = Crl::load(path, &ca_file, now() + Duration::days(31));
            assert!(matches!(expired, Err(TrustError::CrlExpired { .. })), "{expired:?}");
            let foreign = Crl::load(path, &other_file, now());
            assert!(matches!(foreign, Err(TrustError::CrlNotFromCa { .. })), "{foreign:?}");
        }
        assert!(matches!(Crl::all(&ca_file), Err(TrustError::NoCrl { .. })));
        assert!(matches!(Crl::all(&file("cut.crl", &crl.der()[..80])), Err(TrustError::Damaged { .. })));
    }

    #[test]
    fn a_number_is_higher_than_the_one_before_also_if_that_one_is_lost_or_the_clock_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.crl");
        let first = Crl::next_number(&path, now());
        assert_eq!(first, 1_800_000_000);
        let crl = ca().crl(&[], first, now(), now() + Duration::days(1)).unwrap();
        fs::write(&path, crl.to_pem()).unwrap();
        assert_eq!(Crl::next_number(&path, now()), first + 1);
        assert_eq!(Crl::next_number(&path, now() - Duration::days(1)), first + 1);
        assert_eq!(Crl::next_number(&path, now() + Duration::seconds(9)), first + 9);
    }

    #[test]
    fn a_list_ends_with_its_ca_and_not_before_it_begins() {
        let ca = ca();
        let crl = ca.crl(&[], 1, now(), now() + Duration::days(5_000)).unwrap();
        assert_eq!(crl.next_update(), now() + Duration::days(1000));
        let late = ca.crl(&[], 1, now() + Duration::days(1001), now() + Duration::days(1002));
        assert!(matches!(late, Err(TrustError::CaEnded { .. })), "{late:?}");
        let empty = ca.crl(&[], 1, now(), now());
        assert!(matches!(empty, Err(TrustError::Days(0))), "{empty:?}");
    }
}
