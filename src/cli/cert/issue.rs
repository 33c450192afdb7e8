//! `callgate cert issue`

use std::path::PathBuf;

use anyhow::{Context, Result};
use callgate::{
    admin::api::{Certificate, Changed},
    client::admin::Path,
    model::{InstanceId, UserName},
    trust::{
        CA_CERTIFICATE, CA_KEY, Ca, Existing, TrustError, Validity, identity_files, make_folder, same_certificate,
        write_identity, write_public,
    },
};
use serde_json::json;
use time::OffsetDateTime;

use super::{certificates, warn_of_group};
use crate::cli::{
    admin::{Form, Gateway, json},
    out::say,
};

const EXAMPLES: &str = "\
Examples:
  callgate cert issue --user recorder --instance 1
  callgate cert issue --folder /etc/callgate --user recorder --instance 2 --days 90 --out recorder2

When the command ends the certificate counts.";

/// Issue an app's certificate for a user and one of its instances
///
/// Writes USER-INSTANCE.pem, USER-INSTANCE.key (0600) and the CA's ca.pem, which the app checks the gateway by. The key
/// is nowhere else. The ledger has the certificate before the files are there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Issue {
    /// Its user
    #[arg(long, value_name = "NAME")]
    user: UserName,

    /// Which of the user's apps this is: 1 to 128 of a-z, A-Z and 0-9
    #[arg(long, value_name = "ID")]
    instance: InstanceId,

    /// Where the files go [default: the folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// How many days the certificate is valid
    #[arg(long, value_name = "N", default_value_t = 365)]
    days: u32,

    /// Replace files that are there; the certificate in them stays valid until it is revoked
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

impl Issue {
    pub(super) fn run(self) -> Result<()> {
        let config = self.gateway.config()?;
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
        let validity = Validity::days(OffsetDateTime::now_utc(), self.days)?;
        make_folder(out)?;
        let (issued, added, user) = self.gateway.reach(async |admin| {
            let user = admin.read(&Path::of(&["users", self.user.as_str()])).await?.it;
            let issued = ca.sign_app(&self.user, &self.instance, validity)?;
            let new = json!({ "user": self.user, "instance": self.instance, "pem": issued.certificate_pem });
            let added: Changed<Certificate> = admin.post(&certificates(), &new).await?;
            Ok((issued, added, user))
        })?;
        write_identity(out, &self.user, &self.instance, &issued, existing).with_context(|| {
            let sha256 = &added.item.sha256;
            format!("the ledger has the certificate, and its files are not there: callgate cert revoke --sha256 {sha256} --reason 'not written'")
        })?;
        if !ca_is_there {
            write_public(&ca_copy, ca.certificate_pem().as_bytes(), Existing::Keep)?;
        }
        if self.form.is_json() {
            json(&added)?;
        } else {
            say!("issued to {}/{} until {}", self.user, self.instance, issued.validity.not_after.date())?;
            say!("sha256 {}", added.item.sha256)?;
            say!("wrote {}", certificate.display())?;
            say!("wrote {} (0600, the only copy)", key.display())?;
            if !ca_is_there {
                say!("wrote {} (the app checks the gateway by it)", ca_copy.display())?;
            }
        }
        warn_of_group(&config, &user);
        Ok(())
    }
}
