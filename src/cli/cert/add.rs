//! `callgate cert add`

use std::path::PathBuf;

use anyhow::{Result, bail};
use callgate::{
    model::{InstanceId, UserName},
    trust::{CrlCheck, Entry, Ledger, Record, Status, check_app},
};
use time::OffsetDateTime;

use super::{COUNTS, warn_of_group};
use crate::cli::{admin::Gateway, out::say};

const EXAMPLES: &str = "\
Examples:
  callgate cert add --user recorder --instance 2 recorder.pem
  callgate cert add --user recorder --instance 2 --no-crl recorder.pem

The CA must be in the file that `tls.client_ca` names, and its CRL in one of `tls.client_crl`. A gateway that runs takes the
certificate, new CAs and CRLs at SIGHUP.";

/// Add an app's certificate that another CA issued, for a user and one of its instances
///
/// It must come from a client CA, be valid now and for TLS clients, and not be revoked by its CA. Who it is for is what you say
/// here, whatever names stand in it.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Add {
    /// Its user
    #[arg(long, value_name = "NAME")]
    user: UserName,

    /// Which of the user's apps this is: 1 to 128 of a-z, A-Z and 0-9
    #[arg(long, value_name = "ID")]
    instance: InstanceId,

    /// The certificate, followed by those between it and its CA (PEM)
    #[arg(value_name = "FILE")]
    certificate: PathBuf,

    /// Its CA has no CRL: what it revokes, only `callgate cert revoke` tells the gateway
    #[arg(long)]
    no_crl: bool,

    #[command(flatten)]
    gateway: Gateway,
}

impl Add {
    pub(super) fn run(self) -> Result<()> {
        let config = self.gateway.config()?;
        let user = self.gateway.user(&self.user)?;
        let ledger = Ledger::open(&config.tls.ledger)?;
        let crl = if self.no_crl { CrlCheck::None } else { CrlCheck::Required };
        let owner = (&self.user, &self.instance);
        let record = check_app(&self.certificate, owner, crl, &config.tls, OffsetDateTime::now_utc())?;
        let current = ledger.current();
        let same = current.entries().find(|entry| hex_of(entry) == record.sha256);
        if let Some(problem) = same.and_then(|entry| stands_against(entry, owner, &record)) {
            bail!("{problem}");
        }
        ledger.append(&record)?;
        say!("added for {}/{} until {}", self.user, self.instance, record.not_after)?;
        say!("sha256 {}", record.sha256)?;
        if self.no_crl {
            say!("its CA has no CRL: revoke it by `callgate cert revoke` when the CA does")?;
        }
        say!("{COUNTS}")?;
        warn_of_group(&config, &user);
        Ok(())
    }
}

/// Why a certificate that the ledger knows isn't added again. Only how its CRL counts can change.
fn stands_against(entry: &Entry, (user, instance): (&UserName, &InstanceId), record: &Record) -> Option<String> {
    if let Status::Revoked { at, reason } = &entry.status {
        return Some(format!("it was revoked at {at} ({reason}), and revoked is for good"));
    }
    if (&entry.user, &entry.instance) != (user, instance) {
        return Some(format!("it is {}/{}'s already: revoke it, and add another one", entry.user, entry.instance));
    }
    (entry.foreign.is_none() || entry.foreign == record.foreign).then(|| "the ledger has it already".into())
}

fn hex_of(entry: &Entry) -> String {
    super::hex(&entry.sha256)
}
