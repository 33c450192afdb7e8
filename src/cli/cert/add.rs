//! `callgate cert add`

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};
use callgate::{
    admin::api::{Certificate, Changed},
    client::admin::Path,
    model::{InstanceId, UserName},
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{certificates, warn_of_group};
use crate::cli::{
    admin::{Form, Gateway, json},
    exit::Unusable,
    out::say,
};

const EXAMPLES: &str = "\
Examples:
  callgate cert add --user recorder --instance 2 recorder.pem
  callgate cert add --user recorder --instance 2 --no-crl recorder.pem

The CA must be in the file that `tls.client_ca` names, and its CRL in one of `tls.client_crl`: a gateway that runs reads both
anew for each of these commands, and takes them for its doors at SIGHUP. When the command ends the certificate counts.";

/// The longest file of certificates, in bytes: more than the API takes.
const MAX_FILE: u64 = 1 << 20;

/// Add an app's certificate that another CA issued, for a user and one of its instances
///
/// It must come from a client CA, be valid now and for TLS clients, and not be revoked by its CA. Who it is for is what you say
/// here, whatever names stand in it. Added again, it changes how the CRL of its CA counts.
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
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

impl Add {
    pub(super) fn run(self) -> Result<()> {
        let config = self.gateway.config()?;
        let pem = self.read()?;
        let (added, user) = self.gateway.reach(async |admin| {
            let user = admin.read(&Path::of(&["users", self.user.as_str()])).await?.it;
            let new = json!({ "user": self.user, "instance": self.instance, "pem": *pem, "no_crl": self.no_crl });
            let added = admin.post::<Changed<Certificate>>(&certificates(), &new).await;
            Ok((added.with_context(|| self.certificate.display().to_string())?, user))
        })?;
        if self.form.is_json() {
            json(&added)?;
        } else {
            let Certificate { not_after, sha256, crl, .. } = &added.item;
            say!("added for {}/{} until {not_after}", self.user, self.instance)?;
            say!("sha256 {sha256}")?;
            match crl {
                None => say!("it is of the gateway's own CA: the ledger says whether it is revoked")?,
                Some(crl) if crl.required => {}
                Some(_) => say!("its CA has no CRL: revoke it by `callgate cert revoke` when the CA does")?,
            }
        }
        warn_of_group(&config, &user);
        Ok(())
    }

    fn read(&self) -> Result<Zeroizing<String>> {
        let path = self.certificate.display();
        let unusable = |error: &dyn std::fmt::Display| Unusable(format!("{path}: can't be read: {error}"));
        let bytes = fs::metadata(&self.certificate).map_err(|error| unusable(&error))?.len();
        if bytes > MAX_FILE {
            return Err(Unusable(format!("{path}: it has {bytes} bytes, and is no certificate")).into());
        }
        let text = Zeroizing::new(fs::read_to_string(&self.certificate).map_err(|error| unusable(&error))?);
        if text.contains("PRIVATE KEY-----") {
            let problem =
                format!("{path}: a private key is in it, which only the app should have: name the certificate");
            return Err(Unusable(problem).into());
        }
        Ok(text)
    }
}
