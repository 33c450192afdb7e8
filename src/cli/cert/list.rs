//! `callgate cert list` and `callgate cert show`

use anyhow::Result;
use callgate::{
    admin::api::{Certificate, CertificateOrigin, CertificateState, CrlStanding},
    client::admin::Path,
    model::UserName,
};

use super::{certificates, owner};
use crate::cli::{
    admin::{Form, Gateway},
    out::Unwritten,
    table::{Cell, Mood, Table, fields},
};

const LIST_EXAMPLES: &str = "\
Examples:
  callgate cert list
  callgate cert list --user recorder --json";

const SHOW_EXAMPLES: &str = "\
Example:
  callgate cert show 5f2c...      # its SHA-256, as `callgate cert list` shows it";

/// Every certificate that the ledger knows
#[derive(clap::Args)]
#[command(after_help = LIST_EXAMPLES)]
pub(in crate::cli) struct List {
    /// Only those of this user
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

/// One certificate
#[derive(clap::Args)]
#[command(after_help = SHOW_EXAMPLES)]
pub(in crate::cli) struct Show {
    /// Its SHA-256
    #[arg(value_name = "HEX")]
    sha256: String,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

impl List {
    pub(super) fn run(self) -> Result<()> {
        let path = certificates().with_any("user", self.user.as_ref().map(UserName::as_str));
        self.gateway.reach(async |admin| self.form.list(admin, &path, "there is no certificate yet", table).await)
    }
}

impl Show {
    pub(super) fn run(self) -> Result<()> {
        let path = Path::of(&["certificates", &self.sha256.to_ascii_lowercase()]);
        self.gateway.reach(async |admin| self.form.show(admin, &path, show).await)
    }
}

fn table(certificates: &[Certificate]) -> Table {
    let mut table = Table::new(&["APP", "STATE", "UNTIL", "SHA-256", "FROM"]);
    for certificate in certificates {
        let from = match (certificate.origin, &certificate.revoked) {
            (_, Some(revoked)) => format!("revoked at {}: {}", revoked.at, revoked.reason),
            (CertificateOrigin::Issued, None) => "own CA".into(),
            (CertificateOrigin::Imported, None) => format!("another CA, {}", crl(certificate.crl.as_ref())),
        };
        table.row([
            owner(certificate).as_str().into(),
            state(certificate),
            certificate.not_after.as_str().into(),
            certificate.sha256.as_str().into(),
            from.as_str().into(),
        ]);
    }
    table
}

fn show(certificate: &Certificate) -> Result<(), Unwritten> {
    let from = match certificate.origin {
        CertificateOrigin::Issued => "the gateway's own CA".into(),
        CertificateOrigin::Imported => format!("another CA, {}", crl(certificate.crl.as_ref())),
    };
    let mut shown: Vec<(&str, Cell)> = vec![
        ("sha256", certificate.sha256.as_str().into()),
        ("user", certificate.user.as_str().into()),
        ("instance", certificate.instance.as_str().into()),
        ("state", state(certificate)),
        ("from", from.as_str().into()),
        ("serial", certificate.serial.as_str().into()),
        ("valid from", certificate.not_before.as_str().into()),
        ("valid until", certificate.not_after.as_str().into()),
        ("added at", certificate.added_at.as_str().into()),
    ];
    if let Some(revoked) = &certificate.revoked {
        shown.extend([("revoked at", revoked.at.as_str().into()), ("reason", revoked.reason.as_str().into())]);
    }
    fields(shown)
}

fn state(certificate: &Certificate) -> Cell {
    let against = certificate.crl.as_ref().and_then(|crl| crl.against.as_deref());
    match (certificate.state, against) {
        (CertificateState::Revoked, _) => Cell::from("revoked").is(Mood::Past),
        (CertificateState::Expired, _) => Cell::from("expired").is(Mood::Past),
        (CertificateState::NotYetValid, _) => Cell::from("not yet valid").is(Mood::Bad),
        (CertificateState::Valid, Some(code)) => Cell::from(code).is(Mood::Bad),
        (CertificateState::Valid, None) => Cell::from("valid").is(Mood::Good),
    }
}

/// How the CRL of another CA counts.
fn crl(standing: Option<&CrlStanding>) -> &'static str {
    if standing.is_some_and(|crl| !crl.required) { "without CRL" } else { "with its CRL" }
}
