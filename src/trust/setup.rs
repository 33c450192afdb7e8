//! A first start: everything that a gateway needs, in one folder.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use time::OffsetDateTime;

use super::{Ca, Existing, TrustError, Validity, make_folder, write_private, write_public};

/// The CA's certificate, in the folder.
pub const CA_CERTIFICATE: &str = "ca.pem";
/// The CA's private key, in the folder.
pub const CA_KEY: &str = "ca.key";
/// The CA's list of revoked certificates, in the folder, once it was made.
pub const CRL: &str = "ca.crl";
/// The config file, in the folder.
pub const CONFIG: &str = "callgate.toml";

const GATEWAY_CERTIFICATE: &str = "gateway.pem";
const GATEWAY_KEY: &str = "gateway.key";
pub(super) const LEDGER: &str = "ledger.jsonl";

/// What a first start is told.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// DNS names and IP addresses of the gateway, besides the local ones.
    pub names: Vec<String>,
    /// How long the CA lives.
    pub ca_days: u32,
    /// How long the gateway's certificate lives.
    pub gateway_days: u32,
}

impl Default for InitOptions {
    fn default() -> Self {
        Self { names: Vec::new(), ca_days: 3650, gateway_days: 825 }
    }
}

/// Makes the folder (0700) if need be, and in it a CA, the gateway's certificate, an empty ledger and a first config.
/// Returns what was written.
///
/// # Errors
/// One of the files is there already, or others may write into the folder: then nothing is written. Or a file can't be
/// written.
pub fn init(folder: &Path, options: &InitOptions, now: OffsetDateTime) -> Result<Vec<PathBuf>, TrustError> {
    fill(folder, options, FIRST_CONFIG, now)
}

/// [`init`] with this config.
pub(super) fn fill(
    folder: &Path,
    options: &InitOptions,
    config: &str,
    now: OffsetDateTime,
) -> Result<Vec<PathBuf>, TrustError> {
    let names: Vec<&'static str> = [CA_CERTIFICATE, CA_KEY, GATEWAY_CERTIFICATE, GATEWAY_KEY, LEDGER, CONFIG]
        .into_iter()
        .filter(|name| folder.join(name).symlink_metadata().is_ok())
        .collect();
    if !names.is_empty() {
        return Err(TrustError::SetUp { folder: folder.into(), names });
    }
    let ca = Ca::make(&ca_name()?, Validity::days(now, options.ca_days)?)?;
    let gateway = ca.issue_gateway(&options.names, Validity::days(now, options.gateway_days)?)?;

    make_folder(folder)?;
    let mut written = Vec::new();
    let mut private = |name: &str, text: &str| {
        written.push(folder.join(name));
        write_private(&folder.join(name), text.as_bytes(), Existing::Keep)
    };
    private(CA_KEY, &ca.key_pem())?;
    private(GATEWAY_KEY, &gateway.key_pem)?;
    private(LEDGER, "")?;
    private(CONFIG, config)?;
    for (name, text) in [(CA_CERTIFICATE, ca.certificate_pem()), (GATEWAY_CERTIFICATE, &gateway.certificate_pem)] {
        write_public(&folder.join(name), text.as_bytes(), Existing::Keep)?;
        written.push(folder.join(name));
    }
    written.sort();
    Ok(written)
}

/// Two CAs of one name look like one with a wrong signature: an app at another gateway would be told the wrong thing.
fn ca_name() -> Result<String, TrustError> {
    let mut random = [0; 4];
    rand::fill(&mut random).map_err(|_| TrustError::Randomness)?;
    Ok(format!("Callgate CA {:08x}", u32::from_be_bytes(random)))
}

const FIRST_CONFIG: &str = include_str!("first.toml");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_first_config_is_a_good_one() {
        let config = Config::parse(FIRST_CONFIG, CONFIG, Path::new("."), std::iter::empty()).unwrap();
        assert_eq!(config.directory.users().count(), 0, "users are administered");
        // What stands there as a comment is good, too.
        let uncommented: String = FIRST_CONFIG
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .filter(|line| !line.starts_with("password"))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = Config::parse(&uncommented, CONFIG, Path::new("."), std::iter::empty()).unwrap();
        assert_eq!(config.switches.len(), 3);
        assert!(config.directory.user("recorder").unwrap().groups.allow_keys());
        assert_eq!(config.directory.devices().count(), 101);
    }
}
