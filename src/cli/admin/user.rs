//! `callgate user`

use std::collections::BTreeSet;

use anyhow::Result;
use callgate::{
    admin::api::{self, Changed, Gone, UserKind},
    client::admin::{Admin, Path},
    directory::DevicePattern,
    model::{DeviceName, Group, GroupName, Groups, UserName},
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};
use zeroize::Zeroizing;

use super::{
    Ask, Form,
    said::{self, cascading, joined, listed, nothing, warn_of_patterns},
    standard_group::{StandardGroup, word},
};
use crate::cli::{
    out::{Unwritten, counted, remark},
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
  callgate user set dashboard --add-device 1002 --remove-device 1001
  callgate user set recorder --remove-group srtp-keys       # its sessions go on, and get no key any more
  callgate user set recorder --remove-group secure --cascade   # the SRTP group goes with it (R8)
  printf '%s\\n' 'another password' | callgate user set dashboard --password
  printf '%s\\n' 'a long password' | callgate user set recorder --password-on-tls --password   # its certificate alone opens nothing

When the command ends the change is in effect: no key leaves by the old rights any more (R15).";

const REMOVE_EXAMPLES: &str = "\
Examples:
  callgate user remove dashboard
  callgate user remove recorder --cascade      # its certificates are revoked first";

const LOCK_EXAMPLES: &str = "\
Examples:
  callgate user lock recorder
  callgate user unlock recorder

Its certificates, password and groups stay as they are. What it is told is the same as for a wrong password; records and
`callgate explain --user` say the true reason.";

const LIST_EXAMPLES: &str = "\
Examples:
  callgate user list
  callgate user list --group srtp-keys --json";

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
    List {
        /// Only members of this group: a standard one by its word or its whole name, or one of your own
        #[arg(long, value_name = "NAME")]
        group: Option<String>,
    },

    /// One user
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name
        name: UserName,
    },

    /// Change a user: what isn't named stays as it is
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),

    /// Lock a user: its sessions are closed, and none opens until it is unlocked
    #[command(after_help = LOCK_EXAMPLES)]
    Lock {
        /// Its name
        name: UserName,
    },

    /// Unlock a user
    #[command(after_help = LOCK_EXAMPLES)]
    Unlock {
        /// Its name
        name: UserName,
    },

    /// Remove a user: its sessions are closed
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its name
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

    /// A device that it may see; may be given more than once
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<DeviceName>,

    /// Devices that it may see, also those that come later: a pattern of their names, with * and ?
    #[arg(long = "pattern", value_name = "PATTERN")]
    patterns: Vec<DevicePattern>,

    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Read its password from standard input: one line of 8 to 256 characters
    #[arg(long)]
    password: bool,

    /// Ask for its password on the TLS door, too, besides its certificate
    #[arg(long)]
    password_on_tls: bool,

    #[arg(skip)]
    typed: Option<Zeroizing<String>>,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Set {
    /// Its name
    name: UserName,

    /// Whether it stands for an application or a person (R6)
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,

    /// A standard group that it enters; several with commas between them
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    add_group: Vec<StandardGroup>,

    /// A standard group that it leaves; several with commas between them
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

    /// Read a new password from standard input: one line of 8 to 256 characters
    #[arg(long, conflicts_with = "no_password")]
    password: bool,

    #[arg(skip)]
    typed: Option<Zeroizing<String>>,

    /// It has no password any more, so that none is right
    #[arg(long)]
    no_password: bool,

    /// Ask for its password on the TLS door, too, besides its certificate: sessions without it are closed
    #[arg(long, conflicts_with = "no_password_on_tls")]
    password_on_tls: bool,

    /// On the TLS door its certificate is enough again
    #[arg(long)]
    no_password_on_tls: bool,

    /// What needs a group that it leaves goes with it: the SRTP group needs Enabled and Secure Connection (R8)
    #[arg(long)]
    cascade: bool,
}

/// Devices that come to a user or a group, and go from it.
#[derive(clap::Args)]
pub(super) struct DeviceChanges {
    /// A device that is seen from now on; may be given more than once
    #[arg(long, value_name = "NAME")]
    add_device: Vec<DeviceName>,

    /// A device that is not seen any more; may be given more than once
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

/// What of a user is written. Its password is in the same change, so that all of it is made or nothing.
#[derive(Serialize, Deserialize)]
struct Settings {
    kind: UserKind,
    description: String,
    groups: Groups,
    own_groups: BTreeSet<GroupName>,
    devices: BTreeSet<DeviceName>,
    patterns: BTreeSet<DevicePattern>,
    locked: bool,
    password_on_tls: bool,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    password: Option<Typed>,
    #[serde(skip_deserializing, skip_serializing_if = "is_false")]
    no_password: bool,
}

/// A password, which is told to nobody but who is asked to set it.
struct Typed(Zeroizing<String>);

impl Serialize for Typed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_false(is: &bool) -> bool {
    !is
}

/// A user that is to be made. It is written at once: nothing but what is sent has the password.
#[derive(Serialize)]
struct New<'a> {
    name: &'a UserName,
    #[serde(flatten)]
    settings: Settings,
}

impl Ask for User {
    fn prepare(&mut self) -> Result<()> {
        if let Self::Add(Add { password: true, typed, .. }) | Self::Set(Set { password: true, typed, .. }) = self {
            *typed = Some(password::read()?);
        }
        Ok(())
    }

    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add(command) => command.ask(admin, form).await,
            Self::List { group: None } => {
                form.list(admin, &Path::of(&["users"]), "there is no user yet: callgate user add", table).await
            }
            Self::List { group: Some(group) } => {
                let standard = StandardGroup::from_str(&group, false);
                let name = standard.map_or(group, |standard| standard.group().name().into());
                form.list(admin, &Path::of(&["users"]).with("group", &name), "no user is in it", table).await
            }
            Self::Show { name } => form.show(admin, &path(&name), show).await,
            Self::Set(command) => command.ask(admin, form).await,
            Self::Lock { name } => lock(admin, form, &name, true).await,
            Self::Unlock { name } => lock(admin, form, &name, false).await,
            Self::Remove { name, cascade } => {
                let gone: Gone = admin.remove(&cascading(path(&name), cascade)).await?;
                form.gone(&gone, format_args!("the user {name:?} is gone"))
            }
        }
    }
}

impl Add {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let settings = Settings {
            kind: self.kind.into(),
            description: self.description,
            groups: self.groups.iter().map(|group| group.group()).collect(),
            own_groups: self.own_groups.into_iter().collect(),
            devices: self.devices.into_iter().collect(),
            patterns: self.patterns.into_iter().collect(),
            locked: false,
            password_on_tls: self.password_on_tls,
            password: self.typed.map(Typed),
            no_password: false,
        };
        let new = New { name: &self.name, settings };
        warn_of_patterns(&new.settings.patterns);
        let changed: Changed<api::User> = admin.post(&Path::of(&["users"]), &new).await?;
        warn_of_password(&changed.item);
        form.changed(&changed, format_args!("the user {:?} is added", self.name))
    }
}

impl Set {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        if !self.has_settings() && self.typed.is_none() && !self.no_password {
            return Err(nothing().into());
        }
        let read = path(&self.name);
        let write = cascading(read.clone(), self.cascade);
        let changed: Changed<api::User> = admin.change(&read, &write, |user: &mut Settings| self.change(user)).await?;
        warn_of_password(&changed.item);
        form.changed(&changed, format_args!("the user {:?} is changed", self.name))
    }

    /// Whether anything but the password is to be changed.
    fn has_settings(&self) -> bool {
        let groups = [&self.add_group, &self.remove_group].iter().any(|groups| !groups.is_empty());
        let own_groups = [&self.add_own_group, &self.remove_own_group].iter().any(|groups| !groups.is_empty());
        let on_tls = self.password_on_tls || self.no_password_on_tls;
        groups || own_groups || on_tls || self.devices.are_any() || self.kind.is_some() || self.description.is_some()
    }

    fn change(&self, user: &mut Settings) -> Result<()> {
        let whose = format!("the user {:?}", self.name);
        if let Some(kind) = self.kind {
            user.kind = kind.into();
        }
        if let Some(description) = &self.description {
            user.description.clone_from(description);
        }
        user.groups = self.add_group.iter().fold(user.groups, |groups, group| groups.with(group.group()));
        if let Some(group) = self.remove_group.iter().find(|group| !user.groups.contains(group.group())) {
            return Err(said::not_there(&whose, "group", word(group.group()), user.groups.iter().map(word)).into());
        }
        user.groups = self.remove_group.iter().fold(user.groups, |groups, group| groups.without(group.group()));
        said::change(&mut user.own_groups, &self.add_own_group, &self.remove_own_group, &whose, "own group")?;
        user.password = self.typed.clone().map(Typed);
        user.no_password = self.no_password;
        user.password_on_tls = (user.password_on_tls || self.password_on_tls) && !self.no_password_on_tls;
        self.devices.change(&mut user.devices, &mut user.patterns, &whose)
    }
}

impl DeviceChanges {
    /// Whether there are any.
    pub(super) fn are_any(&self) -> bool {
        let Self { add_device, remove_device, add_pattern, remove_pattern } = self;
        let devices = [add_device, remove_device].iter().any(|devices| !devices.is_empty());
        devices || [add_pattern, remove_pattern].iter().any(|patterns| !patterns.is_empty())
    }

    /// Makes them, for whom `whose` names.
    pub(super) fn change(
        &self,
        devices: &mut BTreeSet<DeviceName>,
        patterns: &mut BTreeSet<DevicePattern>,
        whose: &str,
    ) -> Result<()> {
        warn_of_patterns(&self.add_pattern);
        said::change(devices, &self.add_device, &self.remove_device, whose, "device")?;
        said::change(patterns, &self.add_pattern, &self.remove_pattern, whose, "pattern")
    }
}

impl From<Kind> for UserKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Application => Self::Application,
            Kind::EndUser => Self::EndUser,
        }
    }
}

async fn lock(admin: &mut Admin, form: Form, name: &UserName, locked: bool) -> Result<()> {
    let path = path(name);
    let set = |user: &mut Settings| -> Result<()> {
        user.locked = locked;
        Ok(())
    };
    let changed: Changed<api::User> = admin.change(&path, &path, set).await?;
    form.changed(&changed, format_args!("the user {name:?} is {}locked", if locked { "" } else { "un" }))
}

/// What it needs, and doesn't have.
fn warn_of_password(user: &api::User) {
    if user.password_on_tls && !user.has_password {
        let name = &user.name;
        remark!(
            "warning: {name:?} needs a password on the TLS door, and has none, so that it opens nothing there: callgate user set {name} --password"
        );
    }
}

fn path(name: &UserName) -> Path {
    Path::of(&["users", name.as_str()])
}

fn table(users: &[api::User]) -> Table {
    let mut table = Table::new(&["USER", "KIND", "GROUPS", "DEVICES", "PASSWORD", "LOCKED", "DESCRIPTION"]);
    for user in users {
        let groups: Vec<String> = user.groups.iter().map(word).collect();
        let groups = match groups.as_slice() {
            [] => Cell::from("none").is(Mood::Bad),
            groups => groups.join(" ").into(),
        };
        let password = match (user.has_password, user.password_on_tls) {
            (true, true) => "on both doors".into(),
            (true, false) => "yes".into(),
            (false, true) => Cell::from("missing").is(Mood::Bad),
            (false, false) => "".into(),
        };
        let locked = if user.locked { Cell::from("locked").is(Mood::Bad) } else { "".into() };
        table.row([
            user.name.as_str().into(),
            kind(user.kind).into(),
            groups,
            devices(user).into(),
            password,
            locked,
            user.description.as_str().into(),
        ]);
    }
    table
}

fn show(user: &api::User) -> Result<(), Unwritten> {
    let password = match (user.has_password, user.password_on_tls) {
        (false, _) => "none: no password is right",
        (true, false) => "it has one",
        (true, true) => "it has one, and needs it on the TLS door, too",
    };
    let locked = if user.locked { "yes: no session opens" } else { "no" };
    fields([
        ("user", user.name.as_str().into()),
        ("kind", kind(user.kind).into()),
        ("description", user.description.as_str().into()),
        ("groups", joined(user.groups.iter().map(Group::name)).into()),
        ("own groups", joined(&user.own_groups).into()),
        ("devices", joined(&user.devices).into()),
        ("patterns", joined(&user.patterns).into()),
        ("in all", counted(user.associated, "device", "devices").into()),
        ("password", password.into()),
        ("locked", locked.into()),
    ])
}

/// By which names a user sees devices.
fn devices(user: &api::User) -> String {
    if user.groups.contains(Group::ControlOfAllDevices) {
        return "all".into();
    }
    let own_groups = user.own_groups.iter().map(|group| format!("those of {group}"));
    listed(user.devices.iter().chain(&user.patterns).cloned().chain(own_groups))
}

fn kind(kind: UserKind) -> &'static str {
    match kind {
        UserKind::Application => "application",
        UserKind::EndUser => "end user",
    }
}
