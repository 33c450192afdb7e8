//! `callgate cert renew`: the gateway's next certificate from its own CA.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callgate::trust::{
    CA_CERTIFICATE, CA_KEY, Ca, Existing, TrustError, Validity, gateway_names, make_folder, write_private, write_public,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::gateway::{CERTIFICATE, KEY, say_settings};
use crate::cli::{
    admin::{Form, Gateway, json},
    out::say,
};

const EXAMPLES: &str = "\
Examples:
  callgate cert renew --out callgate/2027
  callgate cert renew --folder /etc/callgate --out /etc/callgate/2027 --name gateway2.example.org

Nothing that a running gateway uses is touched: the command prints what to write into the config. Apps check the gateway by
the same ca.pem as before. For a certificate from another CA see `callgate cert csr`.";

/// Make the gateway's next certificate, from the CA of `callgate init`
///
/// It has a new key, and the names of the one that the config names now, even if that has ended. Needs the CA's key.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Renew {
    /// Where gateway.pem and gateway.key (0600) go; a folder that has none yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// One more DNS name or IP address that apps reach the gateway by; may be given more than once
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// How many days the certificate is valid
    #[arg(long, value_name = "N", default_value_t = 825)]
    days: u32,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

/// What was made, as the config is to name it.
#[derive(Serialize)]
struct Renewed<'a> {
    certificate: &'a Path,
    key: &'a Path,
    names: &'a [String],
    not_after: String,
}

impl Renew {
    pub(super) fn run(self) -> Result<()> {
        let files = self.gateway.config()?.tls;
        let ca_file = self.gateway.join(CA_CERTIFICATE);
        let ca = Ca::load(&ca_file, &self.gateway.join(CA_KEY))?;
        let now = OffsetDateTime::now_utc();
        let mut names = gateway_names(&files.certificate, &files.key, &ca_file, now).map_err(|error| match error {
            TrustError::NotFromCa { .. } => {
                anyhow::Error::from(error).context("`callgate cert csr` asks another CA for the gateway's certificate")
            }
            error => error.into(),
        })?;
        for name in self.names {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let issued = ca.issue_gateway(&names, Validity::days(now, self.days)?)?;

        make_folder(&self.out)?;
        let (certificate, key) = (self.out.join(CERTIFICATE), self.out.join(KEY));
        // Before there is a key without a certificate.
        if let Some(path) = [&certificate, &key].into_iter().find(|path| path.symlink_metadata().is_ok()) {
            return Err(TrustError::Exists { path: path.clone() }).context("name another folder by --out");
        }
        write_private(&key, issued.key_pem.as_bytes(), Existing::Keep)?;
        write_public(&certificate, issued.certificate_pem.as_bytes(), Existing::Keep)?;
        let (certificate, key) = (std::path::absolute(certificate)?, std::path::absolute(key)?);
        let not_after = issued.validity.not_after;
        if self.form.is_json() {
            let not_after = not_after.format(&Rfc3339)?;
            return json(&Renewed { certificate: &certificate, key: &key, names: &names, not_after });
        }
        say!("wrote {}, valid until {}", certificate.display(), not_after.date())?;
        say!("wrote {} (0600, the only copy)", key.display())?;
        say_settings(&certificate, &key)
    }
}
