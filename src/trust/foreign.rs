//! What the ledger knows of certificates of other CAs (R11).

use serde::{Deserialize, Serialize};

use super::Entry;

/// What there is to know of the CA of an imported certificate (R11).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Foreign {
    /// SHA-256 of the issuer's name in its DER form, lower-case hex: with the serial number, what its CRL means.
    pub issuer: String,
    /// Whether there must be a CRL.
    pub crl: CrlCheck,
}

/// Whether the CRL of its CA must be there for a certificate to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CrlCheck {
    /// The import says that there is none. If there is one, it counts all the same.
    None,
    /// There must be one, and it must be in date.
    #[default]
    Required,
}

impl Entry {
    /// Whether the CRL of its CA must be there.
    pub(super) fn needs_crl(&self) -> bool {
        self.foreign.as_ref().is_some_and(|foreign| foreign.crl == CrlCheck::Required)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{
        Ledger, Operation, Record, Status,
        ledger::tests::{ledger, record},
    };

    #[test]
    fn r11_an_import_says_whether_there_must_be_a_crl_and_makes_nothing_foreign_that_is_ours() {
        let imported = |number, crl| Record {
            foreign: Some(Foreign { issuer: "ab".into(), crl }),
            ..record(Operation::Imported, number)
        };
        let (_folder, path) = ledger("");
        let ledger = Ledger::open(&path).unwrap();
        let needs_crl = |number| ledger.current().lookup(&[number; 32]).unwrap().needs_crl();
        ledger.append(&imported(1, CrlCheck::Required)).unwrap();
        assert!(needs_crl(1));
        ledger.append(&imported(1, CrlCheck::None)).unwrap();
        assert!(!needs_crl(1));
        ledger.append(&record(Operation::Issued, 2)).unwrap();
        ledger.append(&imported(2, CrlCheck::Required)).unwrap();
        assert!(!needs_crl(2), "it is ours");
        ledger.append(&Record { foreign: None, ..imported(3, CrlCheck::None) }).unwrap();
        assert!(needs_crl(3), "what doesn't say otherwise");
        ledger.append(&record(Operation::Revoked, 1)).unwrap();
        ledger.append(&imported(1, CrlCheck::None)).unwrap();
        assert!(matches!(ledger.current().lookup(&[1; 32]).unwrap().status, Status::Revoked { .. }), "for good");
    }
}
