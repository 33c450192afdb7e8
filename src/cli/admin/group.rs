//! `callgate group`

use std::collections::BTreeSet;

use anyhow::Result;
use callgate::{
    admin::api::{self, Changed, Gone},
    client::admin::{Admin, Path},
    directory::DevicePattern,
    model::{DeviceName, GroupName},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Ask, Form,
    said::{cascading, joined, listed, nothing, warn_of_patterns},
    user::DeviceChanges,
};
use crate::cli::{
    out::Unwritten,
    table::{Cell, Mood, Table, fields},
};

const ADD_EXAMPLES: &str = "\
Examples:
  callgate group add 'floor 2' --pattern '2*' --description 'All phones of the second floor'
  callgate group add reception --device 1001";

const LIST_EXAMPLES: &str = "\
Examples:
  callgate group list
  callgate group list --own --json";

const SHOW_EXAMPLES: &str = "\
Example:
  callgate group show reception";

const SET_EXAMPLES: &str = "\
Examples:
  callgate group set reception --add-device 1002
  callgate group set 'floor 2' --remove-pattern '2*' --add-pattern '2???'

When the command ends the change is in effect for all members, in open sessions, too (R15).";

const REMOVE_EXAMPLES: &str = "\
Examples:
  callgate group remove reception
  callgate group remove 'floor 2' --cascade      # takes its members out of it first";

/// Groups of your own: devices that all members see
///
/// Standard groups, which say what a user may do, are there from the start: `callgate user` puts users into them.
#[derive(clap::Subcommand)]
pub(in crate::cli) enum Group {
    /// Make a group
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),

    /// Every group, the standard ones, too
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only groups of your own
        #[arg(long)]
        own: bool,
    },

    /// One group
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name
        name: GroupName,
    },

    /// Change a group: what isn't named stays as it is
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),

    /// Remove a group: its members lose the devices that they have by it
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its name
        name: GroupName,

        /// Its members leave it; without this a group that has any is not removed
        #[arg(long)]
        cascade: bool,
    },
}

#[derive(clap::Args)]
pub(in crate::cli) struct Add {
    /// Its name; one that begins with the word "Standard", in whatever case, is refused
    name: GroupName,

    /// A device that its members may see; may be given more than once
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<DeviceName>,

    /// Devices that its members may see, also those that come later: a pattern of their names, with * and ?
    #[arg(long = "pattern", value_name = "PATTERN")]
    patterns: Vec<DevicePattern>,

    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Set {
    /// Its name
    name: GroupName,

    #[command(flatten)]
    devices: DeviceChanges,

    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// What of a group is written.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    description: String,
    devices: BTreeSet<DeviceName>,
    patterns: BTreeSet<DevicePattern>,
}

impl Ask for Group {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add(Add { name, devices, patterns, description }) => {
                warn_of_patterns(&patterns);
                let group =
                    json!({ "name": name, "devices": devices, "patterns": patterns, "description": description });
                let group: Changed<api::Group> = admin.post(&Path::of(&["groups"]), &group).await?;
                form.changed(&group, format_args!("the group {name:?} is added"))
            }
            Self::List { own } => {
                let path = Path::of(&["groups"]).with_any("standard", own.then_some("false"));
                form.list(admin, &path, "there is no group of your own yet", table).await
            }
            Self::Show { name } => form.show(admin, &path(&name), show).await,
            Self::Set(Set { name, devices, description }) => {
                if !devices.are_any() && description.is_none() {
                    return Err(nothing().into());
                }
                let change = |group: &mut Settings| {
                    if let Some(description) = &description {
                        group.description.clone_from(description);
                    }
                    devices.change(&mut group.devices, &mut group.patterns, &format!("the group {name:?}"))
                };
                let group: Changed<api::Group> = admin.change(&path(&name), &path(&name), change).await?;
                form.changed(&group, format_args!("the group {name:?} is changed"))
            }
            Self::Remove { name, cascade } => {
                let gone: Gone = admin.remove(&cascading(path(&name), cascade)).await?;
                form.gone(&gone, format_args!("the group {name:?} is gone"))
            }
        }
    }
}

fn path(name: &GroupName) -> Path {
    Path::of(&["groups", name.as_str()])
}

fn table(groups: &[api::Group]) -> Table {
    let mut table = Table::new(&["GROUP", "KIND", "MEMBERS", "DEVICES", "DESCRIPTION"]);
    for group in groups {
        let kind = if group.standard { Cell::from("standard").is(Mood::Past) } else { "own".into() };
        let devices = listed(group.devices.iter().chain(&group.patterns));
        let (members, description) = (group.members.to_string(), group.description.as_str());
        table.row([group.name.as_str().into(), kind, members.into(), devices.into(), description.into()]);
    }
    table
}

fn show(group: &api::Group) -> Result<(), Unwritten> {
    fields([
        ("group", group.name.as_str().into()),
        ("kind", if group.standard { "standard" } else { "own" }.into()),
        ("description", group.description.as_str().into()),
        ("devices", joined(&group.devices).into()),
        ("patterns", joined(&group.patterns).into()),
        ("members", group.members.to_string().into()),
    ])
}
