//! What other CAs say that they revoked (R11): the lists that the config names, and when somebody is to be told that one
//! of them is out of date.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering},
};

use metrics::{Gauge, gauge};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;
use tracing::{error, warn};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList, x509::X509Name};

use super::{
    Crl, Entry, Foreign, NotAccepted, TrustError,
    ca::digest_sha256,
    ledger::{rfc3339, to_hex},
    pem,
    refused::serial_hex,
};
use crate::config::TlsFiles;

/// It is told when so much of a list's life is left: one part of so many.
const LAST_PART: i32 = 4;

/// The lists of the client CAs, as they were when they were read. Each is signed by one of these CAs.
#[derive(Debug, Default)]
pub struct ClientCrls {
    /// The one that lasts longest first: of two of a CA it counts.
    lists: Vec<List>,
    /// Issuer, as the ledger names it, and serial number of what is revoked.
    revoked: HashSet<(String, String)>,
    /// The client CAs, by the SHA-256 of their certificates.
    cas: BTreeSet<String>,
}

/// What is different between the client CAs and their lists of before and those of now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct CaChange {
    /// What it is, in few words, a part for each kind of difference; empty if nothing is.
    pub words: Vec<String>,
    /// Certificates may count by it that didn't count before.
    pub grants: bool,
}

#[derive(Debug)]
struct List {
    path: PathBuf,
    /// As the ledger names it.
    issuer: String,
    crl: Crl,
    /// How much was told of its age.
    told: AtomicU8,
}

/// How old a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    Fresh = 0,
    LastPart = 1,
    Expired = 2,
}

impl ClientCrls {
    /// Reads those that the config names.
    ///
    /// # Errors
    /// As [`server_config`](super::server_config).
    pub fn of_files(files: &TlsFiles) -> Result<Self, TrustError> {
        Self::load(&files.client_crl, &pem::certificates(&files.client_ca)?, &files.client_ca)
    }

    /// Reads these files. A list that is out of date is taken, too: it refuses every certificate that needs it.
    ///
    /// # Errors
    /// A file can't be read, is damaged, has no list, or one that none of the CAs has signed.
    pub(super) fn load(files: &[PathBuf], cas: &[CertificateDer<'_>], ca_file: &Path) -> Result<Self, TrustError> {
        let (mut lists, mut revoked) = (Vec::new(), HashSet::new());
        for path in files {
            for crl in Crl::all(path)? {
                if !cas.iter().any(|ca| crl.is_signed_by(ca)) {
                    return Err(TrustError::CrlNotFromCa { path: path.clone(), ca: ca_file.into() });
                }
                // It was read once already.
                let parsed = CertificateRevocationList::from_der(crl.der()).map(|(_, parsed)| parsed);
                let parsed =
                    parsed.map_err(|error| TrustError::Damaged { path: path.clone(), reason: error.to_string() })?;
                let issuer = issuer_id(parsed.issuer());
                let serials = parsed.iter_revoked_certificates().map(|revoked| serial_hex(revoked.raw_serial()));
                revoked.extend(serials.map(|serial| (issuer.clone(), serial)));
                lists.push(List { path: path.clone(), issuer, crl, told: AtomicU8::new(0) });
            }
        }
        lists.sort_by_key(|list| std::cmp::Reverse(list.crl.next_update()));
        let cas = cas.iter().map(|ca| to_hex(&digest_sha256(ca))).collect();
        Ok(Self { lists, revoked, cas })
    }

    /// What is different by those that take the place of these.
    pub fn change_to(&self, next: &Self, now: OffsetDateTime) -> CaChange {
        let mut change = CaChange::default();
        for (sign, some, others) in [("+", &next.cas, &self.cas), ("-", &self.cas, &next.cas)] {
            for ca in some.difference(others) {
                change.words.push(format!("{sign}client CA {ca}"));
                change.grants |= sign == "+";
            }
        }
        let (more, less) =
            (next.revoked.difference(&self.revoked).count(), self.revoked.difference(&next.revoked).count());
        if more + less > 0 {
            change.words.push(format!("client CRLs: +{more} -{less} revoked"));
        }
        let readable = |crls: &Self, issuer: &str| {
            crls.lists.iter().find(|list| list.issuer == issuer).is_some_and(|list| !list.crl.has_expired(now))
        };
        let issuers: BTreeSet<&str> = self.lists.iter().chain(&next.lists).map(|list| &*list.issuer).collect();
        for issuer in issuers {
            match (readable(self, issuer), readable(next, issuer)) {
                (false, true) => {
                    change.words.push(format!("+CRL in date of issuer {issuer}"));
                    change.grants = true;
                }
                (true, false) => change.words.push(format!("-CRL in date of issuer {issuer}")),
                _ => {}
            }
        }
        change.grants |= less > 0;
        change
    }

    /// For the verifier, in the order in which they count.
    pub(super) fn ders(&self) -> impl Iterator<Item = CertificateRevocationListDer<'static>> + '_ {
        self.lists.iter().map(|list| list.crl.der().clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Whether one of them says that this certificate doesn't count any more. A list that is out of date still says so.
    pub fn revokes(&self, entry: &Entry) -> bool {
        let key = |foreign: &Foreign| (foreign.issuer.clone(), entry.serial.clone());
        entry.foreign.as_ref().is_some_and(|foreign| self.revoked.contains(&key(foreign)))
    }

    /// What they say against this certificate, as a handshake would find it.
    pub fn against(&self, entry: &Entry, now: OffsetDateTime) -> Option<NotAccepted> {
        let foreign = entry.foreign.as_ref()?;
        match self.lists.iter().find(|list| list.issuer == foreign.issuer) {
            _ if self.revokes(entry) => Some(NotAccepted::RevokedByCa),
            Some(list) if list.crl.has_expired(now) => Some(NotAccepted::CrlExpired),
            Some(_) => None,
            None => entry.needs_crl().then_some(NotAccepted::CrlMissing),
        }
    }

    /// Nobody tells of these lists any more, but of those that are among the `next`: no end of theirs is waited for.
    pub fn leave(&self, next: &Self) {
        let stays = |left: &List| next.lists.iter().any(|list| list.path == left.path);
        for List { path, .. } in self.lists.iter().filter(|list| !stays(list)) {
            next_update_of(&path.display().to_string()).set(f64::INFINITY);
        }
    }

    /// Tells of each list once that its end is near, and once that it is past; and all along the metric when that is.
    pub fn tell_ages(&self, now: OffsetDateTime) {
        for List { path, crl, told, .. } in &self.lists {
            let file = path.display().to_string();
            #[expect(clippy::cast_precision_loss, reason = "seconds of the next million years are exact")]
            next_update_of(&file).set(crl.next_update().unix_timestamp() as f64);
            let age = age(crl, now);
            if told.fetch_max(age as u8, Ordering::Relaxed) >= age as u8 {
                continue;
            }
            let next_update = rfc3339(crl.next_update());
            match age {
                Age::Fresh => {}
                Age::LastPart => {
                    warn!(
                        file,
                        next_update, "a client CA's CRL is soon out of date: put the next one there, and send SIGHUP"
                    );
                }
                Age::Expired => {
                    error!(
                        file,
                        next_update,
                        "a client CA's CRL is out of date: none of its certificates is accepted until the next one is there"
                    );
                }
            }
        }
    }
}

/// The metric of a list. No metric can be taken back.
fn next_update_of(file: &str) -> Gauge {
    gauge!("callgate_client_crl_next_update_timestamp_seconds", "file" => file.to_owned())
}

/// How the ledger names an issuer.
pub(super) fn issuer_id(name: &X509Name<'_>) -> String {
    to_hex(&digest_sha256(name.as_raw()))
}

fn age(crl: &Crl, now: OffsetDateTime) -> Age {
    let left = crl.next_update() - now;
    match () {
        () if crl.has_expired(now) => Age::Expired,
        () if left * LAST_PART <= crl.next_update() - crl.this_update() => Age::LastPart,
        () => Age::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;
    use crate::trust::{Ca, Validity};

    #[test]
    fn r11_a_list_is_told_of_before_its_end_and_at_it() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let ca = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
        let crl = ca.crl(&[], 1, now, now + Duration::days(8)).unwrap();
        for (days, expected) in
            [(0, Age::Fresh), (5, Age::Fresh), (7, Age::LastPart), (8, Age::LastPart), (9, Age::Expired)]
        {
            assert_eq!(age(&crl, now + Duration::days(days)), expected, "{days}");
        }
        let lists = vec![List { path: "other.crl".into(), issuer: String::new(), crl, told: AtomicU8::new(0) }];
        let crls = ClientCrls { lists, ..ClientCrls::default() };
        let told = || crls.lists[0].told.load(Ordering::Relaxed);
        for (days, expected) in [(0, 0), (7, 1), (7, 1), (9, 2), (7, 2)] {
            crls.tell_ages(now + Duration::days(days));
            assert_eq!(told(), expected, "{days}");
        }
    }

    #[test]
    fn r21_what_lets_certificates_in_is_told_from_what_keeps_them_out() {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        let of = |cas: &[&str], revoked: &[&str], lists: &[(&str, i64)]| {
            let list = |(issuer, days): &(&str, i64)| {
                let ca = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
                let crl = ca.crl(&[], 1, now - Duration::days(9), now + Duration::days(*days)).unwrap();
                List { path: "other.crl".into(), issuer: (*issuer).into(), crl, told: AtomicU8::new(0) }
            };
            ClientCrls {
                lists: lists.iter().map(list).collect(),
                revoked: revoked.iter().map(|serial| ("i".to_owned(), (*serial).to_owned())).collect(),
                cas: cas.iter().map(ToString::to_string).collect(),
            }
        };
        let change = |was: &ClientCrls, is: &ClientCrls| {
            let change = was.change_to(is, now);
            (change.words.join(", "), change.grants)
        };
        let more = |less: &ClientCrls, more: &ClientCrls, came: &str, went: &str| {
            assert_eq!(change(less, more), (came.into(), true));
            assert_eq!(change(more, less), (went.into(), false));
        };
        let none = of(&[], &[], &[]);
        assert_eq!(change(&none, &none), (String::new(), false));
        more(&none, &of(&["a"], &[], &[]), "+client CA a", "-client CA a");
        let (one, two) = (of(&["a"], &["01"], &[("i", 7)]), of(&["a"], &["01", "02"], &[("i", 8)]));
        more(&two, &one, "client CRLs: +0 -1 revoked", "client CRLs: +1 -0 revoked");
        let (old, missing) = (of(&["a"], &["01"], &[("i", -1)]), of(&["a"], &["01"], &[]));
        for without in [&old, &missing] {
            more(without, &one, "+CRL in date of issuer i", "-CRL in date of issuer i");
        }
        assert_eq!(change(&old, &missing), (String::new(), false));
        // In doubt it lets somebody in.
        assert!(change(&of(&["a"], &["01"], &[]), &of(&["b"], &["02"], &[])).1);
    }
}
