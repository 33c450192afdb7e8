//! `callgate account`

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use callgate::{
    admin::{
        accounts::Role,
        api::{self, AccountToken, Changed, Gone, MadeToken, NewSetupToken},
    },
    client::admin::{Admin, Path},
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Ask, Form,
    said::{self, joined, nothing},
};
use crate::cli::{
    out::Unwritten,
    password,
    table::{Cell, Mood, Table, fields},
};

const ADD_EXAMPLES: &str = "\
Examples:
  printf '%s\\n' 'a long password' | callgate account add eva --role administrator --password
  callgate account add prometheus --role reader --description 'by a token only'";

const LIST_EXAMPLES: &str = "\
Examples:
  callgate account list
  callgate account list --json";

const SHOW_EXAMPLES: &str = "\
Example:
  callgate account show eva";

const SET_EXAMPLES: &str = "\
Examples:
  callgate account set prometheus --role operator
  callgate account set eva --description 'Eva, telephony'
  printf '%s\\n' 'another long password' | callgate account set eva --password

Its logins and tokens end, unless only the description is different. A password is set after the rest: if it is refused, the rest
is changed, and the command says so.";

const LOCK_EXAMPLES: &str = "\
Examples:
  callgate account disable prometheus    # it may not log in any more; its logins and tokens end
  callgate account enable prometheus
  callgate account unlock prometheus     # it failed to log in too often, and needn't wait";

const REMOVE_EXAMPLES: &str = "\
Example:
  callgate account remove prometheus     # its logins and tokens end";

const SETUP_TOKEN_EXAMPLES: &str = "\
Example:
  callgate account setup-token > token

Standard output has the token and nothing else. It counts once, for `POST /v1/setup`, and takes the place of the one before.
Once there is an administrator none is made: `callgate account add` makes further ones.";

const TOKEN_EXAMPLES: &str = "\
Examples:
  callgate account token add prometheus scrape --role reader --days 90
  callgate account token list prometheus
  callgate account token remove prometheus scrape";

const TOKEN_ADD_EXAMPLES: &str = "\
Example:
  callgate account token add prometheus scrape --role reader --days 90 > token

Standard output has the token and nothing else, and it is told nowhere else.";

const TOKEN_LIST_EXAMPLES: &str = "\
Example:
  callgate account token list prometheus";

const TOKEN_REMOVE_EXAMPLES: &str = "\
Example:
  callgate account token remove prometheus scrape";

/// What is said where only the second of two changes is refused.
const PASSWORD_STAYS: &str = "all is changed but the password, which is the old one: set it by another command";

/// Accounts of the administration over HTTPS, and their tokens
///
/// They have nothing to do with users, who are apps. On this machine root and the gateway's own user administer without an
/// account.
#[derive(clap::Subcommand)]
pub(in crate::cli) enum Account {
    /// Make an account
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),

    /// Every account
    #[command(after_help = LIST_EXAMPLES)]
    List,

    /// One account
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name
        name: String,
    },

    /// Change an account: what isn't named stays as it is
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),

    /// Keep an account from logging in
    #[command(after_help = LOCK_EXAMPLES)]
    Disable {
        /// Its name
        name: String,
    },

    /// Let an account log in again
    #[command(after_help = LOCK_EXAMPLES)]
    Enable {
        /// Its name
        name: String,
    },

    /// Let an account try again that failed to log in too often
    #[command(after_help = LOCK_EXAMPLES)]
    Unlock {
        /// Its name
        name: String,
    },

    /// Remove an account
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its name
        name: String,
    },

    /// Make a new token for the first administrator, and print it: the one that the first start printed counts no more
    #[command(after_help = SETUP_TOKEN_EXAMPLES)]
    SetupToken,

    /// Tokens of an account, for programs
    #[command(subcommand, after_help = TOKEN_EXAMPLES)]
    Token(Token),
}

#[derive(clap::Args)]
pub(in crate::cli) struct Add {
    /// Its name
    name: String,

    /// What it may do
    #[arg(long, value_name = "ROLE")]
    role: RoleWord,

    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// SHA-256 of a client certificate that stands for its password
    #[arg(long = "certificate", value_name = "HEX")]
    certificates: Vec<String>,

    /// Read its password from standard input: one line of 12 to 256 characters; without one it logs in by a certificate, or has tokens
    #[arg(long)]
    password: bool,

    #[arg(skip)]
    typed: Option<Zeroizing<String>>,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Set {
    /// Its name
    name: String,

    /// What it may do
    #[arg(long, value_name = "ROLE")]
    role: Option<RoleWord>,

    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// SHA-256 of a client certificate that stands for its password from now on
    #[arg(long, value_name = "HEX")]
    add_certificate: Vec<String>,

    /// SHA-256 of one that doesn't any more
    #[arg(long, value_name = "HEX")]
    remove_certificate: Vec<String>,

    /// Read a new password from standard input: one line of 12 to 256 characters
    #[arg(long)]
    password: bool,

    #[arg(skip)]
    typed: Option<Zeroizing<String>>,
}

/// Tokens of an account
#[derive(clap::Subcommand)]
pub(in crate::cli) enum Token {
    /// Make a token, and print it
    #[command(after_help = TOKEN_ADD_EXAMPLES)]
    Add {
        /// The account
        account: String,

        /// What the token is called
        name: String,

        /// What one may do by it: no more than the account
        #[arg(long, value_name = "ROLE")]
        role: RoleWord,

        /// For how many days it counts
        #[arg(long, value_name = "N", default_value_t = 90)]
        days: u32,
    },

    /// The tokens of an account, without the tokens themselves
    #[command(after_help = TOKEN_LIST_EXAMPLES)]
    List {
        /// The account
        account: String,
    },

    /// Remove a token: nobody is let in by it from then on
    #[command(after_help = TOKEN_REMOVE_EXAMPLES)]
    Remove {
        /// The account
        account: String,

        /// What the token is called
        name: String,
    },
}

/// What an account may do, as an argument.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum RoleWord {
    /// Everything: accounts, too, and tokens of others
    Administrator,
    /// Users, groups, devices and certificates, and closing sessions
    Operator,
    /// Sees what is shown, and changes nothing
    Reader,
}

/// What of an account is written.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    role: Role,
    description: String,
    certificates: BTreeSet<String>,
}

/// An account that is to be made. It is written at once: nothing but what is sent has the password.
#[derive(Serialize)]
struct New<'a> {
    name: &'a str,
    #[serde(flatten)]
    settings: Settings,
    password: Option<&'a str>,
}

impl Ask for Account {
    fn prepare(&mut self) -> Result<()> {
        if let Self::Add(Add { password: true, typed, .. }) | Self::Set(Set { password: true, typed, .. }) = self {
            *typed = Some(password::read()?);
        }
        Ok(())
    }

    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add(command) => command.ask(admin, form).await,
            Self::List => {
                let none = "there is no account yet: callgate account add NAME --role administrator --password";
                form.list(admin, &Path::of(&["accounts"]), none, table).await
            }
            Self::Show { name } => form.show(admin, &path(&name), show).await,
            Self::Set(command) => command.ask(admin, form).await,
            Self::Disable { name } => {
                let changed: Changed<api::Account> = admin.act(&Path::of(&["accounts", &name, "disable"])).await?;
                form.changed(&changed, format_args!("the account {name:?} is disabled"))
            }
            Self::Enable { name } => {
                let changed: Changed<api::Account> = admin.act(&Path::of(&["accounts", &name, "enable"])).await?;
                form.changed(&changed, format_args!("the account {name:?} is enabled"))
            }
            Self::Unlock { name } => {
                let account: api::Account = admin.act(&Path::of(&["accounts", &name, "unlock"])).await?;
                form.told(&account, format_args!("the account {name:?} can try again"))
            }
            Self::Remove { name } => {
                let gone: Gone = admin.remove(&path(&name)).await?;
                form.gone(&gone, format_args!("the account {name:?} is gone"))
            }
            Self::SetupToken => {
                let made: Changed<NewSetupToken> = admin.act(&Path::of(&["setup-token"])).await?;
                form.changed(&made, format_args!("{}", made.item.token.tell()))
            }
            Self::Token(command) => command.ask(admin, form).await,
        }
    }
}

impl Add {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let Self { name, role, description, certificates, typed, .. } = self;
        let certificates = certificates.into_iter().collect();
        let password = typed.as_ref().map(|typed| typed.as_str());
        let new = New { name: &name, settings: Settings { role: role.into(), description, certificates }, password };
        let changed: Changed<api::Account> = admin.post(&Path::of(&["accounts"]), &new).await?;
        form.changed(&changed, format_args!("the account {name:?} is added"))
    }
}

impl Set {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let mut changed: Option<Changed<api::Account>> = None;
        if self.has_settings() {
            let path = path(&self.name);
            changed = Some(admin.change(&path, &path, |account: &mut Settings| self.change(account)).await?);
        }
        if let Some(password) = &self.typed {
            let path = Path::of(&["accounts", &self.name, "password"]);
            let set = admin.put(&path, &password::Set { password }).await;
            changed = Some(if changed.is_some() { set.context(PASSWORD_STAYS)? } else { set? });
        }
        let changed = changed.ok_or_else(nothing)?;
        form.changed(&changed, format_args!("the account {:?} is changed", self.name))
    }

    /// Whether anything but the password is to be changed.
    fn has_settings(&self) -> bool {
        let certificates = [&self.add_certificate, &self.remove_certificate].iter().any(|them| !them.is_empty());
        certificates || self.role.is_some() || self.description.is_some()
    }

    fn change(&self, account: &mut Settings) -> Result<()> {
        if let Some(role) = self.role {
            account.role = role.into();
        }
        if let Some(description) = &self.description {
            account.description.clone_from(description);
        }
        let lower = |all: &[String]| all.iter().map(|sha256| sha256.to_lowercase()).collect::<Vec<_>>();
        let (add, remove) = (lower(&self.add_certificate), lower(&self.remove_certificate));
        said::change(&mut account.certificates, &add, &remove, &format!("the account {:?}", self.name), "certificate")
    }
}

impl Ask for Token {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add { account, name, role, days } => {
                let new = json!({ "name": name, "role": Role::from(role), "days": days });
                let made: Changed<MadeToken> = admin.post(&tokens(&account), &new).await?;
                form.changed(&made, format_args!("{}", made.item.token.tell()))
            }
            Self::List { account } => {
                form.list(admin, &tokens(&account), "the account has no token", tokens_table).await
            }
            Self::Remove { account, name } => {
                let path = Path::of(&["accounts", &account, "tokens", &name]);
                let gone: Gone = admin.remove(&path).await?;
                form.gone(&gone, format_args!("the token {name:?} of {account:?} is gone"))
            }
        }
    }
}

fn path(name: &str) -> Path {
    Path::of(&["accounts", name])
}

fn tokens(account: &str) -> Path {
    Path::of(&["accounts", account, "tokens"])
}

fn table(accounts: &[api::Account]) -> Table {
    let mut table = Table::new(&["ACCOUNT", "ROLE", "STATUS", "PASSWORD", "TOKENS", "DESCRIPTION"]);
    for account in accounts {
        let password = if account.has_password { "yes" } else { "" };
        table.row([
            account.name.as_str().into(),
            account.role.name().into(),
            status(account),
            password.into(),
            account.tokens.to_string().into(),
            account.description.as_str().into(),
        ]);
    }
    table
}

fn show(account: &api::Account) -> Result<(), Unwritten> {
    let password = if account.has_password { "it has one" } else { "none" };
    fields([
        ("account", account.name.as_str().into()),
        ("role", account.role.name().into()),
        ("status", status(account)),
        ("description", account.description.as_str().into()),
        ("password", password.into()),
        ("certificates", joined(&account.certificates).into()),
        ("tokens", account.tokens.to_string().into()),
        ("made", account.created_at.as_str().into()),
    ])
}

fn tokens_table(tokens: &[AccountToken]) -> Table {
    let mut table = Table::new(&["TOKEN", "ROLE", "STATUS", "MADE", "UNTIL"]);
    for token in tokens {
        let status = if token.counts { Cell::from("counts").is(Mood::Good) } else { Cell::from("over").is(Mood::Past) };
        let (made, until) = (token.created_at.as_str().into(), token.not_after.as_str().into());
        table.row([token.name.as_str().into(), token.role.name().into(), status, made, until]);
    }
    table
}

fn status(account: &api::Account) -> Cell {
    let has_a_way = account.has_password || !account.certificates.is_empty() || account.tokens > 0;
    match (account.disabled, account.locked) {
        (true, _) => Cell::from("disabled").is(Mood::Bad),
        (false, true) => Cell::from("locked").is(Mood::Bad),
        (false, false) if !has_a_way => Cell::from("has no way in").is(Mood::Bad),
        (false, false) => Cell::from("may log in").is(Mood::Good),
    }
}

impl From<RoleWord> for Role {
    fn from(role: RoleWord) -> Self {
        match role {
            RoleWord::Administrator => Self::Administrator,
            RoleWord::Operator => Self::Operator,
            RoleWord::Reader => Self::Reader,
        }
    }
}
