//! `callgate init`

use std::path::PathBuf;

use anyhow::Result;
use callgate::trust::{self, CONFIG, InitOptions};
use time::OffsetDateTime;

use super::{FOLDER, out::say};

const EXAMPLES: &str = "\
Examples:
  callgate init
  callgate init /etc/callgate --name gateway.example.org --name 192.0.2.10

Then say in DIR/callgate.toml which switch there is, and:
  callgate serve --config DIR/callgate.toml --check
  callgate device add 1001 --folder DIR --address udp:192.0.2.7:5060
  callgate user add recorder --folder DIR --group enabled,secure,srtp-keys --device 1001
  callgate cert issue --folder DIR --user recorder --instance 1";

/// Make a CA, the gateway's certificate and a first config in a folder
///
/// The folder is made with mode 0700, and private keys, ledger and config with 0600. Nothing that is there is
/// overwritten.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// The folder to set up
    #[arg(default_value = FOLDER)]
    folder: PathBuf,

    /// A DNS name or IP address that apps reach the gateway by; may be given more than once. localhost, 127.0.0.1 and ::1
    /// are always among them
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,

    /// How many days the CA lives
    #[arg(long, value_name = "N", default_value_t = 3650)]
    ca_days: u32,

    /// How many days the gateway's certificate lives
    #[arg(long, value_name = "N", default_value_t = 825)]
    gateway_days: u32,
}

impl Init {
    pub(super) fn run(self) -> Result<()> {
        let options = InitOptions { names: self.names, ca_days: self.ca_days, gateway_days: self.gateway_days };
        let written = trust::init(&self.folder, &options, OffsetDateTime::now_utc())?;
        for path in written {
            say!("wrote {}", path.display())?;
        }
        let folder = self.folder.display();
        say!("Keep ca.key safe: whoever has it can pass for the gateway to its apps.")?;
        say!("Next: say in {folder}/{CONFIG} which switch there is, and then")?;
        say!("  callgate serve --config {folder}/{CONFIG} --check")?;
        say!("  callgate user add recorder --folder {folder} --group enabled,secure,srtp-keys,all-devices")?;
        say!("  callgate cert issue --folder {folder} --user recorder --instance 1")?;
        Ok(())
    }
}
