//! `callgate cert csr` and `callgate cert import`: a gateway's certificate from another CA.

use std::path::{Path, PathBuf};

use anyhow::Result;
use callgate::trust::{Existing, check_gateway, make_folder, request_gateway, write_private, write_public};
use rustls::pki_types::UnixTime;
use serde::Serialize;

use crate::cli::{
    admin::{Form, json},
    out::say,
};

/// The private key that a request was made with.
pub(super) const KEY: &str = "gateway.key";
/// The request.
const REQUEST: &str = "gateway.csr";
/// The certificate that came for it.
pub(super) const CERTIFICATE: &str = "gateway.pem";

const CSR_EXAMPLES: &str = "\
Example:
  callgate cert csr --out other-ca --name gateway.example.org
  # send other-ca/gateway.csr to the CA, and when its answer is there:
  callgate cert import --out other-ca --certificate answer.pem --ca other-ca.pem";

const IMPORT_EXAMPLES: &str = "\
Example:
  callgate cert import --out other-ca --certificate answer.pem --ca other-ca.pem

Nothing that a running gateway uses is touched: the command prints what to write into the config.";

/// Ask another CA for the gateway's certificate: make a key and a request
#[derive(clap::Args)]
#[command(after_help = CSR_EXAMPLES)]
pub(in crate::cli) struct Csr {
    /// Where gateway.key (0600) and gateway.csr go; a folder that has none yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// A DNS name or IP address that apps reach the gateway by; may be given more than once. localhost, 127.0.0.1 and ::1
    /// are always among them
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    #[command(flatten)]
    form: Form,
}

/// Take the certificate that came for a request of `cert csr`
///
/// It must belong to that request's key, be valid now and for TLS servers, and come from the CA if one is given.
#[derive(clap::Args)]
#[command(after_help = IMPORT_EXAMPLES)]
pub(in crate::cli) struct Import {
    /// The folder that was given to `cert csr`; gateway.pem goes there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// The certificate, followed by those between it and its CA (PEM)
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,

    /// The CA's certificate (PEM); without it the chain is not checked
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

/// What `cert csr` has made.
#[derive(Serialize)]
struct Requested<'a> {
    key: &'a Path,
    request: &'a Path,
}

/// What `cert import` has taken, as the config is to name it.
#[derive(Serialize)]
struct Imported<'a> {
    certificate: &'a Path,
    key: &'a Path,
    chain_checked: bool,
}

impl Csr {
    pub(super) fn run(self) -> Result<()> {
        let request = request_gateway(&self.names)?;
        make_folder(&self.out)?;
        let (key, csr) = (self.out.join(KEY), self.out.join(REQUEST));
        write_private(&key, request.key_pem.as_bytes(), Existing::Keep)?;
        write_public(&csr, request.request_pem.as_bytes(), Existing::Keep)?;
        if self.form.is_json() {
            return json(&Requested { key: &key, request: &csr });
        }
        say!("wrote {} (0600, the only copy)", key.display())?;
        say!("wrote {}: send it to the CA", csr.display())?;
        Ok(())
    }
}

impl Import {
    pub(super) fn run(self) -> Result<()> {
        let (key, target) = (self.out.join(KEY), self.out.join(CERTIFICATE));
        let chain = check_gateway(&self.certificate, &key, self.ca.as_deref(), UnixTime::now())?;
        write_public(&target, chain.as_bytes(), Existing::Keep)?;
        let (absolute, absolute_key) = (std::path::absolute(&target)?, std::path::absolute(&key)?);
        if self.form.is_json() {
            let chain_checked = self.ca.is_some();
            return json(&Imported { certificate: &absolute, key: &absolute_key, chain_checked });
        }
        say!("wrote {}", target.display())?;
        if self.ca.is_none() {
            say!("The chain was not checked: give --ca to do so.")?;
        }
        say_settings(&absolute, &absolute_key)
    }
}

/// What to write into the config, so that the gateway shows this certificate.
pub(super) fn say_settings(certificate: &Path, key: &Path) -> Result<()> {
    say!("Write into the config, and let the gateway read it again (SIGHUP):")?;
    say!("[tls]")?;
    say!("certificate = {:?}", certificate.display().to_string())?;
    say!("key = {:?}", key.display().to_string())?;
    Ok(())
}
