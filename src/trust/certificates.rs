//! The ledger as values of the store: one certificate each, by its SHA-256 (R3).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Entry, Foreign, LedgerSnapshot, Operation, Record, Status,
    ledger::{rfc3339, sha256_from_hex, to_hex},
};
use crate::{
    model::{InstanceId, UserName},
    store::{self, Version},
};

/// The certificates that the store knows.
pub type CertificateRecords = BTreeMap<Fingerprint, (Version, Arc<CertificateRecord>)>;

/// SHA-256 of a certificate's DER form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// What the ledger knows of one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateRecord {
    /// Whose it is (R11). It never changes.
    pub user: UserName,
    /// Of which instance. It never changes.
    pub instance: InstanceId,
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// Its first moment, RFC 3339.
    pub not_before: String,
    /// Its last moment, RFC 3339.
    pub not_after: String,
    /// Where it came from.
    pub origin: Origin,
    /// Of an imported one, what there is to know of its CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
    /// When the ledger got it, RFC 3339; of an imported one, when it got it last: an import again may change how its CA's
    /// CRL counts.
    pub added_at: String,
    /// Since when it doesn't count any more, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revocation>,
}

/// Where a certificate came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// This gateway's CA issued it.
    Issued,
    /// Another CA did, and an administrator imported it for a user and instance.
    Imported,
}

/// That a certificate doesn't count any more, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Since when, RFC 3339.
    pub at: String,
    /// Why, as the administrator put it.
    pub reason: String,
}

impl Fingerprint {
    /// From 64 hex digits, upper or lower case.
    pub fn from_hex(hex: &str) -> Option<Self> {
        sha256_from_hex(hex).map(Self)
    }

    /// 64 hex digits, lower case: the key in the store.
    pub fn to_hex(self) -> String {
        to_hex(&self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_hex(&hex).ok_or_else(|| de::Error::custom("a SHA-256 has 64 hex digits"))
    }
}

#[cfg(test)]
impl CertificateRecord {
    /// One that this gateway issued, and that counts for as long as anybody tests.
    pub(crate) fn of(user: &str, instance: &str, serial: &str) -> Self {
        Self {
            user: user.parse().unwrap(),
            instance: instance.parse().unwrap(),
            serial: serial.into(),
            not_before: "2020-01-01T00:00:00Z".into(),
            not_after: "2120-01-01T00:00:00Z".into(),
            origin: Origin::Issued,
            foreign: None,
            added_at: "2020-01-01T00:00:00Z".into(),
            revoked: None,
        }
    }
}

impl CertificateRecord {
    /// The value that stands for it in the store.
    pub fn to_value(&self) -> Vec<u8> {
        // Names and texts: nothing of it can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What an entry of the store says.
    ///
    /// # Errors
    /// It is damaged, or of a later version.
    pub fn from_entry(entry: &store::Entry) -> Result<(Fingerprint, Self), String> {
        let fingerprint = Fingerprint::from_hex(&entry.key).ok_or("the key is no SHA-256 in hex")?;
        let record: Self = serde_json::from_slice(&entry.value).map_err(|error| error.to_string())?;
        record.not_after()?;
        Ok((fingerprint, record))
    }

    /// The same, revoked. What is revoked stays as it is.
    #[must_use]
    pub fn revoked(&self, at: OffsetDateTime, reason: &str) -> Self {
        let revoked = self.revoked.clone().or_else(|| Some(Revocation { at: rfc3339(at), reason: reason.into() }));
        Self { revoked, ..self.clone() }
    }

    /// Whether it counts at this moment, or will: one that isn't valid yet is to be revoked as one that is.
    pub fn counts_at(&self, now: OffsetDateTime) -> bool {
        self.revoked.is_none() && self.not_after().is_ok_and(|not_after| now.unix_timestamp() <= not_after)
    }

    /// Whether its first moment has come. One that can't be read hasn't.
    pub fn has_begun(&self, now: OffsetDateTime) -> bool {
        self.dates().is_some_and(|(not_before, _)| not_before <= now)
    }

    /// The same as an import again makes it: only how the CRL of its CA counts can change. `None`: nothing is different, it
    /// was revoked, or this import is older than what is known.
    pub fn imported_again(&self, again: &Self) -> Option<Self> {
        let at = |record: &Self| OffsetDateTime::parse(&record.added_at, &Rfc3339).ok();
        let is_imported = self.origin == Origin::Imported && again.origin == Origin::Imported;
        let is_different = self.foreign != again.foreign && at(again) > at(self);
        (is_imported && is_different && self.revoked.is_none()).then(|| Self {
            foreign: again.foreign.clone(),
            added_at: again.added_at.clone(),
            ..self.clone()
        })
    }

    /// Its first and its last moment; `None` if they can't be read.
    pub fn dates(&self) -> Option<(OffsetDateTime, OffsetDateTime)> {
        let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        Some((read(&self.not_before)?, read(&self.not_after)?))
    }

    fn entry(&self, fingerprint: Fingerprint) -> Entry {
        Entry {
            user: self.user.clone(),
            instance: self.instance.clone(),
            sha256: fingerprint.0,
            serial: self.serial.clone(),
            // Read once already, when the record was.
            not_after: self.not_after().unwrap_or(i64::MIN),
            foreign: match self.origin {
                Origin::Issued => None,
                Origin::Imported => Some(self.foreign.clone().unwrap_or_default()),
            },
            status: match &self.revoked {
                None => Status::Issued,
                Some(Revocation { at, reason }) => Status::Revoked { at: at.clone(), reason: reason.clone() },
            },
        }
    }

    fn not_after(&self) -> Result<i64, String> {
        let parsed = OffsetDateTime::parse(&self.not_after, &Rfc3339);
        Ok(parsed.map_err(|error| format!("not_after: {error}"))?.unix_timestamp())
    }
}

impl LedgerSnapshot {
    /// What these records say.
    pub fn of_records(records: &CertificateRecords) -> Self {
        Self::of(records.iter().map(|(fingerprint, (_, record))| record.entry(*fingerprint)))
    }

    /// The same as it was, but for these certificates, of which the records say what they are now.
    pub fn changed_to(&self, records: &CertificateRecords, changed: &BTreeSet<Fingerprint>) -> Self {
        let now = |fingerprint: &Fingerprint| records.get(fingerprint).map(|(_, record)| record.entry(*fingerprint));
        self.with(changed.iter().map(|fingerprint| (fingerprint.0, now(fingerprint))))
    }
}

/// The certificates that a ledger's file knows, for a store that takes its place.
///
/// # Errors
/// A line isn't one of a ledger: its number, from 1, and why.
pub fn records_of_file(lines: &[Record]) -> Result<BTreeMap<Fingerprint, CertificateRecord>, (usize, String)> {
    let mut records = BTreeMap::<Fingerprint, CertificateRecord>::new();
    for (line, record) in (1..).zip(lines) {
        let bad = |reason: String| (line, reason);
        let fingerprint = Fingerprint::from_hex(&record.sha256).ok_or_else(|| bad("sha256: 64 hex digits".into()))?;
        let known = records.entry(fingerprint);
        let read = CertificateRecord {
            user: record.user.parse().map_err(|error| bad(format!("user: {error}")))?,
            instance: record.instance.parse().map_err(|error| bad(format!("instance: {error}")))?,
            serial: record.serial.clone(),
            not_before: record.not_before.clone(),
            not_after: record.not_after.clone(),
            origin: if record.op == Operation::Imported { Origin::Imported } else { Origin::Issued },
            foreign: record.foreign.clone().filter(|_| record.op == Operation::Imported),
            added_at: record.at.clone(),
            revoked: None,
        };
        read.not_after().map_err(bad)?;
        let again = read.foreign.clone();
        let record_of_it = known.or_insert(read);
        if record_of_it.origin == Origin::Imported && record.op == Operation::Imported {
            record_of_it.foreign = again;
            record_of_it.added_at.clone_from(&record.at);
        }
        if record.op == Operation::Revoked && record_of_it.revoked.is_none() {
            record_of_it.revoked = Some(Revocation { at: record.at.clone(), reason: record.reason.clone() });
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{CrlCheck, Ledger};

    fn line(op: Operation, number: u8) -> Record {
        Record {
            op,
            serial: "01".into(),
            sha256: to_hex(&[number; 32]),
            user: "recorder".into(),
            instance: "1".into(),
            not_before: "2026-01-01T00:00:00Z".into(),
            not_after: "2027-01-01T00:00:00Z".into(),
            at: "2026-02-01T00:00:00Z".into(),
            reason: "lost".into(),
            foreign: None,
        }
    }

    #[test]
    fn r11_imports_are_the_same_by_the_file_and_by_its_records_and_old_values_are_read() {
        let foreign = |crl| Some(Foreign { issuer: "ab".into(), crl });
        let imported = |number, crl| Record { foreign: foreign(crl), ..line(Operation::Imported, number) };
        let lines = [
            line(Operation::Issued, 1),
            imported(1, CrlCheck::Required),
            imported(2, CrlCheck::Required),
            imported(2, CrlCheck::None),
            imported(3, CrlCheck::Required),
            Record { foreign: None, ..imported(4, CrlCheck::None) },
            Record::revocation(&imported(3, CrlCheck::Required), OffsetDateTime::UNIX_EPOCH, "lost"),
        ];
        let file = tempfile::NamedTempFile::new().unwrap();
        let ledger = Ledger::open(file.path()).unwrap();
        lines.iter().for_each(|line| ledger.append(line).unwrap());
        let by_file = ledger.current();
        let records = records_of_file(&ledger.records().unwrap()).unwrap();
        let records = records.into_iter().map(|(key, record)| (key, (Version(1), Arc::new(record)))).collect();
        let by_records = LedgerSnapshot::of_records(&records);
        for number in 1..=4 {
            assert_eq!(by_records.lookup(&[number; 32]), by_file.lookup(&[number; 32]), "{number}");
        }
        let needs = [1, 2, 3, 4].map(|number| by_file.lookup(&[number; 32]).unwrap().needs_crl());
        assert_eq!(needs, [false, false, true, true]);
        for (Fingerprint(key), (_, record)) in &records {
            let value = String::from_utf8(record.to_value()).unwrap();
            assert_eq!(value.contains("foreign"), [2, 3].contains(&key[0]), "{value}");
        }
    }

    #[test]
    fn r3_a_ledger_s_file_becomes_records_and_revoked_is_for_good() {
        let lines = [line(Operation::Issued, 1), line(Operation::Issued, 2), line(Operation::Revoked, 1)];
        let records = records_of_file(&[&lines[..], &[line(Operation::Issued, 1)]].concat()).unwrap();
        assert_eq!(records.len(), 2);
        let revoked = Revocation { at: "2026-02-01T00:00:00Z".into(), reason: "lost".into() };
        assert_eq!(records[&Fingerprint([1; 32])].revoked, Some(revoked));
        assert_eq!(records[&Fingerprint([2; 32])].revoked, None);
        let bad = [line(Operation::Issued, 1), Record { user: "a/b".into(), ..line(Operation::Issued, 3) }];
        assert_eq!(records_of_file(&bad).unwrap_err().0, 2);
    }

    #[test]
    fn records_are_read_as_they_were_written_and_say_what_counts() {
        let record = records_of_file(&[line(Operation::Issued, 1)]).unwrap().remove(&Fingerprint([1; 32])).unwrap();
        let at = |unix| OffsetDateTime::from_unix_timestamp(unix).unwrap();
        assert!(record.counts_at(at(1_798_761_600)) && !record.counts_at(at(1_798_761_601)));
        let revoked = record.revoked(at(1_770_000_000), "stolen");
        assert!(!revoked.counts_at(at(0)));
        assert_eq!(revoked.revoked(at(1_780_000_000), "again"), revoked);
        let key = Fingerprint([1; 32]).to_hex();
        let entry = store::Entry { key, value: revoked.to_value().into(), version: Version(3) };
        assert_eq!(CertificateRecord::from_entry(&entry), Ok((Fingerprint([1; 32]), revoked.clone())));
        let records = [(Fingerprint([1; 32]), (Version(3), Arc::new(revoked)))].into();
        let snapshot = LedgerSnapshot::of_records(&records);
        assert!(matches!(snapshot.lookup(&[1; 32]).unwrap().status, Status::Revoked { .. }));
    }
}
