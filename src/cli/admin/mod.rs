//! The commands that administer: each asks the API, and says what came of it.

mod account;
mod device;
mod group;
mod said;
mod session;
mod standard_group;
mod user;

use std::path::PathBuf;

use anyhow::{Context, Result};
use callgate::{
    client::admin::{Admin, Reached},
    config::Config,
    trust::CONFIG,
};

pub(super) use self::{account::Account, device::Device, group::Group, said::json, session::Session, user::User};
use super::{FOLDER, exit::Unusable, out::remark, runtime};

/// What says which gateway is meant goes below what is each command's own.
const GATEWAY: &str = "Gateway";

/// A command that asks the API.
pub(super) trait Ask {
    /// Takes what it needs of whoever typed it, such as a password. People take their time: meanwhile no gateway waits for a request,
    /// and no store is kept from a gateway that starts.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Asks, and says what came of it.
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()>;
}

// The commands about one kind of thing, and what all of them take. What it is about is said where it is listed.
#[derive(clap::Args)]
pub(super) struct About<C: clap::Subcommand> {
    #[command(subcommand)]
    command: C,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    gateway: Gateway,
}

/// The gateway that is administered.
#[derive(clap::Args)]
pub(super) struct Gateway {
    /// The folder that `callgate init` made
    #[arg(long, global = true, value_name = "DIR", default_value = FOLDER, help_heading = GATEWAY)]
    pub(super) folder: PathBuf,

    /// The gateway's config, which says where its socket and its store are [default: callgate.toml in the folder]
    #[arg(long, global = true, value_name = "FILE", help_heading = GATEWAY)]
    config: Option<PathBuf>,
}

/// How an answer is printed.
#[derive(clap::Args, Clone, Copy)]
pub(super) struct Form {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

impl<C: clap::Subcommand + Ask> About<C> {
    pub(super) fn run(self) -> Result<()> {
        let Self { mut command, form, gateway } = self;
        command.prepare()?;
        gateway.reach(async |admin| command.ask(admin, form).await)
    }
}

impl Gateway {
    /// The gateway's settings.
    pub(super) fn config(&self) -> Result<Config> {
        let path = self.config.clone().unwrap_or_else(|| self.folder.join(CONFIG));
        if !path.try_exists().unwrap_or(true) {
            let problem = format!("{}: there is no such file", path.display());
            let mend = "run `callgate init` first, or name the folder with --folder or the config with --config";
            return Err(Unusable(problem)).context(mend);
        }
        Ok(Config::load(path)?)
    }

    /// A file of the folder.
    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Has `work` ask the gateway, or where none runs its store.
    pub(super) fn reach<T>(&self, work: impl AsyncFnOnce(&mut Admin) -> Result<T>) -> Result<T> {
        let config = self.config()?;
        runtime()?.block_on(async {
            let mut admin = Admin::connect(&config).await?;
            if let Reached::Store(store) = admin.reached() {
                remark!("callgate: no gateway runs: this is about its store, {}", store.display());
            }
            work(&mut admin).await
        })
    }
}
