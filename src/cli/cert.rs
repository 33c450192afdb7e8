//! `callgate cert`

mod add;
mod crl;
mod gateway;
mod list;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use callgate::{
    admin::api::User,
    config::Config,
    model::{Group, InstanceId, UserName},
    trust::{
        CA_CERTIFICATE, CA_KEY, Ca, Existing, Ledger, Operation, Record, TrustError, Validity, identity_files,
        make_folder, same_certificate, write_identity, write_public,
    },
};
use time::OffsetDateTime;

use super::{
    admin::Gateway,
    out::{remark, say},
};

const ISSUE_EXAMPLES: &str = "\
Examples:
  callgate cert issue --user recorder --instance 1
  callgate cert issue --folder /etc/callgate --user recorder --instance 2 --days 90 --out recorder2";

/// When what was written into the ledger's file is in the store.
const COUNTS: &str = "It counts from the gateway's next start on. If it runs: send SIGHUP to `callgate serve`.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  callgate cert revoke --user recorder --instance 1 --reason 'laptop lost'
  callgate cert revoke --sha256 5f2c... --reason 'replaced by a new one'

A gateway that runs takes it when it reads the ledger again, and closes the session that is open by it: send it SIGHUP.";

/// Issue, revoke and list apps' certificates, or get the gateway's own from another CA
#[derive(clap::Subcommand)]
pub(super) enum Cert {
    Issue(Issue),
    Add(add::Add),
    Revoke(Revoke),
    List(list::List),
    Crl(crl::MakeCrl),
    Csr(gateway::Csr),
    Import(gateway::Import),
}

/// Issue an app's certificate for a user and one of its instances
///
/// Writes USER-INSTANCE.pem, USER-INSTANCE.key (0600) and the CA's ca.pem, which the app checks the gateway by. The key
/// is nowhere else. The ledger has the certificate before the files are there.
#[derive(clap::Args)]
#[command(after_help = ISSUE_EXAMPLES)]
pub(super) struct Issue {
    /// Its user
    #[arg(long, value_name = "NAME")]
    user: UserName,

    /// Which of the user's apps this is: 1 to 128 of a-z, A-Z and 0-9
    #[arg(long, value_name = "ID")]
    instance: InstanceId,

    #[command(flatten)]
    gateway: Gateway,

    /// Where the files go [default: the folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// How many days the certificate is valid
    #[arg(long, value_name = "N", default_value_t = 365)]
    days: u32,

    /// Replace files that are there; the certificate in them stays valid until it is revoked
    #[arg(long)]
    force: bool,
}

/// Revoke one certificate, or all of a user's instance
#[derive(clap::Args)]
#[command(after_help = REVOKE_EXAMPLES)]
pub(super) struct Revoke {
    /// The user whose certificates are revoked
    #[arg(
        long,
        value_name = "NAME",
        requires = "instance",
        required_unless_present = "sha256",
        conflicts_with = "sha256"
    )]
    user: Option<UserName>,

    /// The user's instance whose certificates are revoked
    #[arg(long, value_name = "ID", requires = "user", conflicts_with = "sha256")]
    instance: Option<InstanceId>,

    /// Instead of user and instance, one certificate: its SHA-256, as `callgate cert list` shows it
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,

    /// Why: it stands in the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    gateway: Gateway,
}

impl Cert {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Issue(command) => command.run(),
            Self::Add(command) => command.run(),
            Self::Revoke(command) => command.run(),
            Self::List(command) => command.run(),
            Self::Crl(command) => command.run(),
            Self::Csr(command) => command.run(),
            Self::Import(command) => command.run(),
        }
    }
}

impl Issue {
    fn run(self) -> Result<()> {
        let config = self.gateway.config()?;
        let user = self.gateway.user(&self.user)?;
        let out = self.out.as_ref().unwrap_or(&self.gateway.folder);
        let (certificate, key) = identity_files(out, &self.user, &self.instance);
        let existing = if self.force { Existing::Replace } else { Existing::Keep };
        // Before anything is in the ledger.
        for path in [&certificate, &key] {
            if existing == Existing::Keep && path.symlink_metadata().is_ok() {
                return Err(TrustError::Exists { path: path.clone() }).context("use --force to replace it");
            }
        }
        let (ca_file, ca_copy) = (self.gateway.join(CA_CERTIFICATE), out.join(CA_CERTIFICATE));
        let ca_is_there = ca_copy.symlink_metadata().is_ok();
        if ca_is_there && !same_certificate(&ca_copy, &ca_file)? {
            return Err(TrustError::OtherCa { path: ca_copy, ca: ca_file }).context("name another folder by --out");
        }
        let ca = Ca::load(&self.gateway.join(CA_CERTIFICATE), &self.gateway.join(CA_KEY))?;
        let ledger = Ledger::open(&config.tls.ledger)?;
        let now = OffsetDateTime::now_utc();
        make_folder(out)?;
        let issued = ca.issue_app(&self.user, &self.instance, Validity::days(now, self.days)?, now, &ledger)?;
        write_identity(out, &self.user, &self.instance, &issued, existing)?;
        if !ca_is_there {
            write_public(&ca_copy, ca.certificate_pem().as_bytes(), Existing::Keep)?;
        }
        say!("issued to {}/{} until {}", self.user, self.instance, issued.validity.not_after.date())?;
        say!("sha256 {}", hex(&issued.sha256))?;
        say!("wrote {}", certificate.display())?;
        say!("wrote {} (0600, the only copy)", key.display())?;
        if !ca_is_there {
            say!("wrote {} (the app checks the gateway by it)", ca_copy.display())?;
        }
        say!("{COUNTS}")?;
        warn_of_group(&config, &user);
        Ok(())
    }
}

impl Revoke {
    fn run(self) -> Result<()> {
        let ledger = Ledger::open(self.gateway.config()?.tls.ledger)?;
        let records = ledger.records()?;
        let is_meant = |record: &&Record| match (&self.sha256, &self.user, &self.instance) {
            (Some(sha256), ..) => record.sha256.eq_ignore_ascii_case(sha256),
            (None, Some(user), Some(instance)) => record.user == user.as_str() && record.instance == instance.as_str(),
            _ => false,
        };
        let is_revoked = |record: &&Record| {
            records.iter().any(|other| other.op == Operation::Revoked && other.sha256 == record.sha256)
        };
        let meant: Vec<&Record> = distinct(&records).filter(is_meant).collect();
        let live: Vec<&Record> = meant.iter().copied().filter(|record| !is_revoked(record)).collect();
        match (meant.is_empty(), live.is_empty()) {
            (true, _) => bail!("the ledger has no such certificate: see `callgate cert list`"),
            (false, true) => bail!("it is revoked already"),
            _ => {}
        }
        // All are revoked before a word is said: nobody may hear it.
        for record in &live {
            ledger.append(&Record::revocation(record, OffsetDateTime::now_utc(), &self.reason))?;
        }
        for record in live {
            say!("revoked {} of {}/{}", record.sha256, record.user, record.instance)?;
        }
        say!(
            "It is revoked when the gateway reads the ledger again, and its open session is closed then: send SIGHUP to"
        )?;
        say!("`callgate serve`.")?;
        Ok(())
    }
}

fn warn_of_group(config: &Config, user: &User) {
    let group = Group::SecureConnection;
    if !config.lenient_doors && !user.groups.contains(group) {
        let (user, group) = (&user.name, group.name());
        remark!(
            "warning: {user:?} is not in {group:?}, and can't use the certificate (R10): callgate user set {user} --add-group secure"
        );
    }
}

/// The lines by which certificates came into the ledger: of each the last one, which says how it counts now.
fn distinct(records: &[Record]) -> impl Iterator<Item = &Record> {
    records.iter().enumerate().filter(|(_, record)| record.op != Operation::Revoked).filter_map(|(at, record)| {
        let again =
            records.iter().skip(at + 1).any(|other| other.op != Operation::Revoked && other.sha256 == record.sha256);
        (!again).then_some(record)
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
