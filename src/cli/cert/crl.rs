//! `callgate cert crl`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callgate::{
    admin::api::{Certificate, Revoked},
    trust::{CA_CERTIFICATE, CA_KEY, CRL, Ca, CertificateRecord, Crl, Existing, Origin, Revocation, write_public},
};
use serde::Serialize;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::certificates;
use crate::cli::admin::{Form, Gateway};

const EXAMPLES: &str = "\
Examples:
  callgate cert crl
  callgate cert crl --folder /etc/callgate --days 7 --out /var/www/callgate.crl --der

The gateway's own doors don't need the list: they ask the ledger. It is for others that take certificates of this CA. Make it
again after each `callgate cert revoke`, and before its days are over: whoever checks it takes no certificate by an old one.
A reason that begins with one of the words of RFC 5280, such as `key compromise` or `superseded`, is in the list as that.";

/// Write the CA's list of revoked certificates (CRL)
///
/// Needs the CA's key. It has every certificate of the ledger that is revoked and hasn't expired. With `tls.own_ca_key` the
/// administration's API serves such a list, too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct MakeCrl {
    #[command(flatten)]
    gateway: Gateway,

    /// Where the list goes; what is there is replaced [default: ca.crl in the folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// By when there will be another one; it ends with the CA at the latest
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,

    /// Write DER instead of PEM
    #[arg(long)]
    der: bool,

    #[command(flatten)]
    form: Form,
}

/// What was written.
#[derive(Serialize)]
struct Wrote<'a> {
    file: &'a Path,
    number: String,
    revoked: usize,
    next_update: String,
}

impl MakeCrl {
    pub(super) fn run(self) -> Result<()> {
        let ca = Ca::load(&self.gateway.join(CA_CERTIFICATE), &self.gateway.join(CA_KEY))?;
        let revoked = certificates().with("state", "revoked").with("origin", "issued");
        let revoked: Vec<Certificate> = self.gateway.reach(async |admin| Ok(admin.list(&revoked).await?))?;
        let records = revoked.into_iter().map(record).collect::<Result<Vec<_>>>()?;
        let out = self.out.unwrap_or_else(|| self.gateway.join(CRL));
        let now = OffsetDateTime::now_utc();
        let number = Crl::next_number(&out, now);
        let crl = ca.crl(&records, number, now, now + Duration::days(self.days.into()))?;
        let pem = crl.to_pem();
        let bytes = if self.der { crl.der().as_ref() } else { pem.as_bytes() };
        write_public(&out, bytes, Existing::Replace)?;
        let (revoked, next_update) = (crl.revoked(), crl.next_update());
        let wrote =
            Wrote { file: &out, number: number.to_string(), revoked, next_update: next_update.format(&Rfc3339)? };
        let (file, next) = (out.display(), next_update.date());
        self.form.told(&wrote, format_args!("wrote {file}: number {number}, {revoked} revoked, the next one by {next}"))
    }
}

/// What the ledger says of a certificate that the CA has issued.
fn record(certificate: Certificate) -> Result<CertificateRecord> {
    let Certificate { user, instance, serial, not_before, not_after, added_at, revoked, .. } = certificate;
    Ok(CertificateRecord {
        user: user.parse().context("the gateway's answer can't be understood")?,
        instance: instance.parse().context("the gateway's answer can't be understood")?,
        serial,
        not_before,
        not_after,
        origin: Origin::Issued,
        foreign: None,
        added_at,
        revoked: revoked.map(|Revoked { at, reason }| Revocation { at, reason }),
    })
}
