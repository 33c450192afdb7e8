//! `callgate cert list` and `callgate cert show`

use anyhow::Result;
use callgate::{
    admin::api::{Certificate, CertificateOrigin, CertificateState, CrlStanding},
    client::admin::Path,
    model::UserName,
};

use super::{certificates, owner, sha256};
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
    /// Its SHA-256, or so many of the first digits that no other begins alike: at least 4
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
        self.gateway.reach(async |admin| {
            let sha256 = sha256(admin, &self.sha256).await?;
            self.form.show(admin, &Path::of(&["certificates", &sha256]), show).await
        })
    }
}

fn table(certificates: &[Certificate]) -> Table {
    let mut table = Table::new(&["APP", "STATE", "UNTIL", "SHA-256", "FROM"]);
    let mut certificates: Vec<&Certificate> = certificates.iter().collect();
    certificates.sort_by_key(|it| (&it.user, &it.instance, &it.added_at));
    for certificate in certificates {
        let from = match (certificate.origin, &certificate.revoked) {
            (_, Some(revoked)) => format!("revoked at {}: {}", whole_seconds(&revoked.at), revoked.reason),
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
        ("added at", whole_seconds(&certificate.added_at).into()),
    ];
    if let Some(revoked) = &certificate.revoked {
        shown.extend([("revoked at", whole_seconds(&revoked.at).into()), ("reason", revoked.reason.as_str().into())]);
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

/// A moment in UTC, as it is shown to people.
fn whole_seconds(at: &str) -> String {
    at.split_once('.').map_or_else(|| at.into(), |(seconds, _)| format!("{seconds}Z"))
}

/// How the CRL of another CA counts.
fn crl(standing: Option<&CrlStanding>) -> &'static str {
    if standing.is_some_and(|crl| !crl.required) { "without CRL" } else { "with its CRL" }
}
