//! `callgate user`

use std::collections::BTreeSet;

use anyhow::Result;
use callgate::{
    admin::api::{Changed, Gone},
    client::admin::{Admin, Path},
    directory::{DevicePattern, UserKind},
    model::{DeviceName, Group, GroupName, Groups, UserName},
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Ask, Form,
    said::{cascading, joined, listed},
    standard_group::{StandardGroup, word},
};
use crate::cli::{
    out::Unwritten,
    password,
    table::{Cell, Mood, Table, fields},
};

const ADD_EXAMPLES: &str = "\
Examples:
  callgate user add recorder --group enabled,secure,srtp-keys --pattern '*'
  printf '%s\\n' 'a long password' | callgate user add dashboard --group enabled --device 1001 --password
  callgate user add ann --kind end-user --own-group 'floor 2' --description 'Ann, reception'

A standard group is named by its word or by its whole name. Groups of your own are made by `callgate group`.";

const SET_EXAMPLES: &str = "\
Examples:
  callgate user set recorder --add-device 1002 --remove-device 1001
  callgate user set recorder --remove-group srtp-keys       # its sessions go on, and get no key any more
  callgate user set recorder --remove-group secure --cascade   # the SRTP group goes with it (R8)
  printf '%s\\n' 'another password' | callgate user set dashboard --password

When the command ends the change is in effect: no key leaves by the old rights any more (R15).";

const REMOVE_EXAMPLES: &str = "\
Examples:
  callgate user remove dashboard
  callgate user remove recorder --cascade      # its certificates are revoked first";

const LIST_EXAMPLES: &str = "\
Examples:
  callgate user list
  callgate user list --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  callgate user show recorder
  callgate user show recorder --json";

/// Application and end users: who they are, and what they may see
#[derive(clap::Subcommand)]
pub(in crate::cli) enum User {
    /// Make a user
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),

    /// Every user
    #[command(after_help = LIST_EXAMPLES)]
    List,

    /// One user
    #[command(after_help = SHOW_EXAMPLES)]
    Show { name: UserName },

    /// Change a user: what isn't named stays as it is
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),

    /// Remove a user: its sessions are closed
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        name: UserName,

        /// Its certificates are revoked with it; without it a user whose certificates count is not removed
        #[arg(long)]
        cascade: bool,
    },
}

#[derive(clap::Args)]
pub(in crate::cli) struct Add {
    /// Its name, which no other user of either kind has
    name: UserName,

    /// Whether it stands for an application or a person (R6)
    #[arg(long, value_name = "KIND", default_value = "application")]
    kind: Kind,

    /// A standard group that it is in; several with commas between them
    #[arg(long = "group", value_name = "GROUP", value_delimiter = ',')]
    groups: Vec<StandardGroup>,

    /// A group of your own that it is in
    #[arg(long = "own-group", value_name = "NAME")]
    own_groups: Vec<GroupName>,

    /// A device that it may see
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<DeviceName>,

    /// Devices that it may see, also those that come later: a pattern of their names, with * and ?
    #[arg(long = "pattern", value_name = "PATTERN")]
    patterns: Vec<DevicePattern>,

    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Read its password for the clear door from standard input, one line
    #[arg(long)]
    password: bool,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Set {
    name: UserName,

    /// Whether it stands for an application or a person (R6)
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,

    /// A standard group that it enters; several with commas between them
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    add_group: Vec<StandardGroup>,

    /// A standard group that it leaves
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    remove_group: Vec<StandardGroup>,

    /// A group of your own that it enters
    #[arg(long, value_name = "NAME")]
    add_own_group: Vec<GroupName>,

    /// A group of your own that it leaves
    #[arg(long, value_name = "NAME")]
    remove_own_group: Vec<GroupName>,

    #[command(flatten)]
    devices: DeviceChanges,

    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// Read a new password for the clear door from standard input, one line
    #[arg(long, conflicts_with = "no_password")]
    password: bool,

    /// It has no password any more, so that none is right
    #[arg(long)]
    no_password: bool,

    /// What needs a group that it leaves goes with it: the SRTP group needs Enabled and Secure Connection (R8)
    #[arg(long)]
    cascade: bool,
}

/// Devices that come to a user or a group, and go from it.
#[derive(clap::Args)]
pub(super) struct DeviceChanges {
    /// A device that is seen from now on
    #[arg(long, value_name = "NAME")]
    add_device: Vec<DeviceName>,

    /// A device that is not seen any more
    #[arg(long, value_name = "NAME")]
    remove_device: Vec<DeviceName>,

    /// A pattern of devices' names that is added
    #[arg(long, value_name = "PATTERN")]
    add_pattern: Vec<DevicePattern>,

    /// A pattern that is removed, as it is shown
    #[arg(long, value_name = "PATTERN")]
    remove_pattern: Vec<DevicePattern>,
}

/// The kind of a user, as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Application,
    EndUser,
}

/// What of a user is written.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    kind: UserKind,
    description: String,
    groups: Groups,
    own_groups: BTreeSet<GroupName>,
    devices: BTreeSet<DeviceName>,
    patterns: BTreeSet<DevicePattern>,
}

#[derive(Serialize)]
struct SetPassword<'a> {
    password: &'a str,
}

/// A user as it is shown.
#[derive(Debug, Serialize, Deserialize)]
struct Shown {
    name: UserName,
    #[serde(flatten)]
    settings: Settings,
    has_password: bool,
}

impl Ask for User {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add(command) => command.ask(admin, form).await,
            Self::List => form.list(admin, &Path::of(&["users"]), "there is no user yet: callgate user add", table).await,
            Self::Show { name } => form.show(admin, &path(&name), show).await,
            Self::Set(command) => command.ask(admin, form).await,
            Self::Remove { name, cascade } => {
                let gone: Gone = admin.remove(&cascading(path(&name), cascade)).await?;
                form.gone(&gone, format_args!("the user {name:?} is gone"))
            }
        }
    }
}

impl Add {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let password = if self.password { Some(password::read()?) } else { None };
        let user = json!({
            "name": self.name,
            "kind": UserKind::from(self.kind),
            "description": self.description,
            "groups": self.groups.iter().map(|group| group.group()).collect::<Groups>(),
            "own_groups": self.own_groups,
            "devices": self.devices,
            "patterns": self.patterns,
        });
        let user: Changed<Value> = admin.post(&Path::of(&["users"]), &user).await?;
        if let Some(password) = password {
            set_password(admin, &self.name, &password).await?;
        }
        form.changed(&user, format_args!("the user {:?} is there", self.name))
    }
}

impl Set {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let password = if self.password { Some(password::read()?) } else { None };
        let path = path(&self.name);
        let write = cascading(path.clone(), self.cascade);
        let changed: Changed<Value> = admin.change(&path, &write, |user: &mut Settings| self.change(user)).await?;
        match password {
            Some(password) => set_password(admin, &self.name, &password).await?,
            None if self.no_password => drop(admin.remove::<Gone>(&password_path(&self.name)).await?),
            None => {}
        }
        form.changed(&changed, format_args!("the user {:?} is changed", self.name))
    }

    fn change(&self, user: &mut Settings) {
        if let Some(kind) = self.kind {
            user.kind = kind.into();
        }
        if let Some(description) = &self.description {
            user.description.clone_from(description);
        }
        user.groups = self.add_group.iter().fold(user.groups, |groups, group| groups.with(group.group()));
        user.groups = self.remove_group.iter().fold(user.groups, |groups, group| groups.without(group.group()));
        change(&mut user.own_groups, &self.add_own_group, &self.remove_own_group);
        self.devices.change(&mut user.devices, &mut user.patterns);
    }
}

impl DeviceChanges {
    pub(super) fn change(&self, devices: &mut BTreeSet<DeviceName>, patterns: &mut BTreeSet<DevicePattern>) {
        change(devices, &self.add_device, &self.remove_device);
        change(patterns, &self.add_pattern, &self.remove_pattern);
    }
}

fn change<T: Ord + Clone>(set: &mut BTreeSet<T>, add: &[T], remove: &[T]) {
    set.extend(add.iter().cloned());
    set.retain(|one| !remove.contains(one));
}

impl From<Kind> for UserKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Application => Self::Application,
            Kind::EndUser => Self::EndUser,
        }
    }
}

async fn set_password(admin: &mut Admin, user: &UserName, password: &str) -> Result<()> {
    admin.put::<Changed<Value>>(&password_path(user), &SetPassword { password }).await?;
    Ok(())
}

fn password_path(user: &UserName) -> Path {
    Path::of(&["users", user.as_str(), "password"])
}

fn path(name: &UserName) -> Path {
    Path::of(&["users", name.as_str()])
}

fn table(users: &[Shown]) -> Table {
    let mut table = Table::new(&["USER", "KIND", "GROUPS", "DEVICES", "PASSWORD", "DESCRIPTION"]);
    for Shown { name, settings, has_password } in users {
        let groups: Vec<String> = settings.groups.iter().map(word).collect();
        let groups = match groups.as_slice() {
            [] => Cell::from("none").is(Mood::Bad),
            groups => groups.join(" ").into(),
        };
        let password = if *has_password { "yes" } else { "" };
        let (kind, devices) = (kind_words(settings.kind), devices(settings));
        table.row([
            name.as_str().into(),
            kind.into(),
            groups,
            devices.into(),
            password.into(),
            settings.description.as_str().into(),
        ]);
    }
    table
}

fn show(Shown { name, settings, has_password }: &Shown) -> Result<(), Unwritten> {
    let password = if *has_password { "it has one" } else { "none: no password is right" };
    fields([
        ("user", name.as_str().into()),
        ("kind", kind_words(settings.kind).into()),
        ("description", settings.description.as_str().into()),
        ("groups", joined(settings.groups.iter().map(Group::name)).into()),
        ("own groups", joined(&settings.own_groups).into()),
        ("devices", joined(&settings.devices).into()),
        ("patterns", joined(&settings.patterns).into()),
        ("password", password.into()),
    ])
}

/// By which names a user sees devices.
fn devices(Settings { groups, own_groups, devices, patterns, .. }: &Settings) -> String {
    if groups.contains(Group::ControlOfAllDevices) {
        return "all".into();
    }
    let own_groups = own_groups.iter().map(|group| format!("those of {group}"));
    let names = devices.iter().map(ToString::to_string).chain(patterns.iter().map(ToString::to_string));
    listed(names.chain(own_groups))
}

fn kind_words(kind: UserKind) -> &'static str {
    match kind {
        UserKind::Application => "application",
        UserKind::EndUser => "end user",
    }
}
