//! `callgate cert`

mod add;
mod crl;
mod gateway;
mod issue;
mod list;
mod revoke;

use anyhow::Result;
use callgate::{
    admin::api::{Certificate, User},
    client::admin::Path,
    config::Config,
    model::Group,
};

use super::out::remark;

/// Apps' certificates: issue, import, revoke and list them; or get the gateway's own from another CA
#[derive(clap::Subcommand)]
pub(super) enum Cert {
    Issue(issue::Issue),
    Add(add::Add),
    Revoke(revoke::Revoke),
    List(list::List),
    Show(list::Show),
    Crl(crl::MakeCrl),
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

fn warn_of_group(config: &Config, user: &User) {
    let group = Group::SecureConnection;
    if !config.lenient_doors && !user.groups.contains(group) {
        let (user, group) = (&user.name, group.name());
        remark!(
            "warning: {user:?} is not in {group:?}, and can't use the certificate (R10): callgate user set {user} --add-group secure"
        );
    }
}
