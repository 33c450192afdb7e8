//! `callgate cert`

mod add;
mod crl;
mod gateway;
mod issue;
mod list;
mod renew;
mod revoke;

use anyhow::{Result, bail};
use callgate::{
    admin::api::{Certificate, User},
    client::admin::{Admin, Path},
    config::Config,
    model::Group,
};

use super::{exit::Unusable, out::remark};

/// Of how many digits a SHA-256 is, and how many of them are enough to name a certificate.
const DIGITS: usize = 64;
const ENOUGH: usize = 4;

/// Apps' certificates: issue, import, revoke and list them; renew the gateway's own, or get it from another CA
#[derive(clap::Subcommand)]
pub(super) enum Cert {
    Issue(issue::Issue),
    Add(add::Add),
    Revoke(revoke::Revoke),
    List(list::List),
    Show(list::Show),
    Crl(crl::MakeCrl),
    Renew(renew::Renew),
    Csr(gateway::Csr),
    Import(gateway::Import),
}

impl Cert {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Issue(command) => command.run(),
            Self::Add(command) => command.run(),
            Self::Revoke(command) => command.run(),
            Self::List(command) => command.run(),
            Self::Show(command) => command.run(),
            Self::Crl(command) => command.run(),
            Self::Renew(command) => command.run(),
            Self::Csr(command) => command.run(),
            Self::Import(command) => command.run(),
        }
    }
}

/// Every certificate that the ledger knows.
fn certificates() -> Path {
    Path::of(&["certificates"])
}

/// Whose it is, as a certificate names it.
fn owner(certificate: &Certificate) -> String {
    format!("{}/{}", certificate.user, certificate.instance)
}

/// The SHA-256 of the one certificate that is meant, by all of its digits or the first of them.
async fn sha256(admin: &mut Admin, given: &str) -> Result<String> {
    let digits = given.trim_end_matches('.').to_ascii_lowercase();
    let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    match digits.len() {
        DIGITS if is_hex => return Ok(digits),
        ENOUGH..DIGITS if is_hex => {}
        _ => {
            let problem = format!(
                "{given:?} is no SHA-256 of a certificate: give its {DIGITS} hexadecimal digits, or at least the first \
                 {ENOUGH}, as `callgate cert list` shows them"
            );
            return Err(Unusable(problem).into());
        }
    }
    let mut meant: Vec<Certificate> = admin.list(&certificates()).await?;
    meant.retain(|certificate| certificate.sha256.starts_with(&digits));
    match meant.as_slice() {
        [one] => Ok(one.sha256.clone()),
        [] => bail!("the ledger has no certificate whose SHA-256 begins with {digits}: see `callgate cert list`"),
        several => {
            let problem = format!("the SHA-256 of {} certificates begin with {digits}: give more of it", several.len());
            Err(Unusable(problem).into())
        }
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
