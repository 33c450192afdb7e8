//! `callgate cert revoke`

use anyhow::{Result, bail};
use callgate::{
    admin::api::{Certificate, Changed},
    client::admin::{Admin, AdminError, Path},
    model::{InstanceId, UserName},
};
use serde_json::json;

use super::{certificates, owner, sha256};
use crate::cli::admin::{Form, Gateway, json};

const EXAMPLES: &str = "\
Examples:
  callgate cert revoke --user recorder --instance 1 --reason 'laptop lost'
  callgate cert revoke --sha256 5f2c... --reason 'replaced by a new one'

When the command ends the certificate opens no session, and the session that was open by it is closed.";

/// Revoke one certificate, or all of a user's instance
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Revoke {
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

    /// Instead of user and instance, one certificate: its SHA-256 as `callgate cert list` shows it, or so many of the first digits
    /// that no other begins alike (at least 4)
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,

    /// Why: it stands in the ledger
    #[arg(long, value_name = "TEXT")]
    reason: String,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

impl Revoke {
    pub(super) fn run(self) -> Result<()> {
        self.gateway.reach(async |admin| {
            let meant = self.meant(admin).await?;
            let live: Vec<&Certificate> = meant.iter().filter(|certificate| certificate.revoked.is_none()).collect();
            match (meant.is_empty(), live.is_empty()) {
                (true, _) => bail!("the ledger has no such certificate: see `callgate cert list`"),
                (false, true) => bail!("it is revoked already"),
                _ => {}
            }
            let mut revoked = Vec::new();
            for certificate in live {
                let path = Path::of(&["certificates", &certificate.sha256, "revoke"]);
                let changed: Changed<Certificate> = admin.post(&path, &json!({ "reason": self.reason })).await?;
                revoked.push(changed);
            }
            // All are revoked before a word is said: nobody may hear it.
            if self.form.is_json() {
                return json(&revoked);
            }
            for changed in &revoked {
                self.form
                    .changed(changed, format_args!("revoked {} of {}", changed.item.sha256, owner(&changed.item)))?;
            }
            Ok(())
        })
    }

    async fn meant(&self, admin: &mut Admin) -> Result<Vec<Certificate>> {
        if let Some(given) = &self.sha256 {
            let sha256 = sha256(admin, given).await?;
            return match admin.read(&Path::of(&["certificates", &sha256])).await {
                Ok(certificate) => Ok(vec![certificate.it]),
                Err(AdminError::Refused(problem)) if problem.0.status == 404 => Ok(Vec::new()),
                Err(error) => Err(error.into()),
            };
        }
        let path = certificates().with_any("user", self.user.as_ref().map(UserName::as_str));
        Ok(admin.list(&path.with_any("instance", self.instance.as_ref().map(InstanceId::as_str))).await?)
    }
}
