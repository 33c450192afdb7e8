//! `callgate device`

use std::str::FromStr;

use anyhow::Result;
use callgate::{
    admin::api::{self, Changed, Gone},
    client::admin::{Admin, Path},
    directory::Line,
    model::{Address, DeviceName, LineNumber},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Ask, Form,
    said::{self, cascading, joined, listed, nothing},
};
use crate::cli::{
    out::Unwritten,
    table::{Cell, Mood, Table, fields},
};

const ADD_EXAMPLES: &str = "\
Examples:
  callgate device add 1001 --address udp:192.0.2.7:5060 --description Reception
  callgate device add 1002 --address tcp:192.0.2.8:5060 --line 1=Office --line 2=Door

docs/CONFIGURATION.md, \"Which addresses a phone has\", says which address to write.";

const LIST_EXAMPLES: &str = "\
Examples:
  callgate device list
  callgate device list --json";

const SHOW_EXAMPLES: &str = "\
Example:
  callgate device show 1001";

const SET_EXAMPLES: &str = "\
Examples:
  callgate device set 1001 --add-address udp:192.0.2.9:5060 --remove-address udp:192.0.2.7:5060
  callgate device set 1001 --description 'Reception, left'

Addresses count for calls that begin from then on.";

const RESTRICT_EXAMPLES: &str = "\
Examples:
  callgate device restrict 1001                  # no app sees it any more
  callgate device restrict 1001 --line 1         # only this line of it

When the command ends nothing of it leaves any more, in open sessions either (R15).";

const UNRESTRICT_EXAMPLES: &str = "\
Examples:
  callgate device unrestrict 1001
  callgate device unrestrict 1001 --line 1";

const REMOVE_EXAMPLES: &str = "\
Examples:
  callgate device remove 1002
  callgate device remove 1001 --cascade          # users and groups don't name it any more either

With a device its restriction ends. If a switch sees calls of it after that, who sees all devices sees it again (R13): one
that nobody shall see stays, and stays restricted.";

/// Devices and their lines
#[derive(clap::Subcommand)]
pub(in crate::cli) enum Device {
    /// Make a device
    #[command(after_help = ADD_EXAMPLES)]
    Add(Add),

    /// Every device
    #[command(after_help = LIST_EXAMPLES)]
    List,

    /// One device
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name
        name: DeviceName,
    },

    /// Change a device: what isn't named stays as it is
    #[command(after_help = SET_EXAMPLES)]
    Set(Set),

    /// Hide a device, or a line of it, from all apps
    #[command(after_help = RESTRICT_EXAMPLES)]
    Restrict(Which),

    /// Let apps see a device, or a line of it, again
    #[command(after_help = UNRESTRICT_EXAMPLES)]
    Unrestrict(Which),

    /// Remove a device: its users lose it
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its name
        name: DeviceName,

        /// Users and groups that name it do so no more, and its restriction ends; without this such a device is not removed
        #[arg(long)]
        cascade: bool,
    },
}

#[derive(clap::Args)]
pub(in crate::cli) struct Add {
    /// Its name
    name: DeviceName,

    /// Where its SIP comes from and goes to
    #[arg(long = "address", value_name = "ADDRESS")]
    addresses: Vec<Address>,

    /// A line of it, with what people call it; without any it has line 1
    #[arg(long = "line", value_name = "NUMBER[=LABEL]")]
    lines: Vec<NewLine>,

    /// For people
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// No app sees it
    #[arg(long)]
    restricted: bool,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Set {
    /// Its name
    name: DeviceName,

    /// Where its SIP comes from and goes to from now on, too
    #[arg(long, value_name = "ADDRESS")]
    add_address: Vec<Address>,

    /// An address that is its no more
    #[arg(long, value_name = "ADDRESS")]
    remove_address: Vec<Address>,

    /// A line that it gets, or another label of one that it has
    #[arg(long, value_name = "NUMBER[=LABEL]")]
    add_line: Vec<NewLine>,

    /// A line that it loses
    #[arg(long, value_name = "NUMBER")]
    remove_line: Vec<u32>,

    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(clap::Args)]
pub(in crate::cli) struct Which {
    /// Its name
    name: DeviceName,

    /// Only this line of it
    #[arg(long, value_name = "NUMBER")]
    line: Option<u32>,
}

/// A line as an argument: `2=Office`.
#[derive(Debug, Clone)]
struct NewLine {
    number: LineNumber,
    label: Option<String>,
}

/// What of a device is written.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    description: String,
    addresses: Vec<Address>,
    lines: Vec<Line>,
    restricted: bool,
}

impl Ask for Device {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::Add(command) => command.ask(admin, form).await,
            Self::List => form.list(admin, &Path::of(&["devices"]), "there is no device yet", table).await,
            Self::Show { name } => form.show(admin, &path(&name), show).await,
            Self::Set(command) => command.ask(admin, form).await,
            Self::Restrict(which) => which.ask(admin, form, true).await,
            Self::Unrestrict(which) => which.ask(admin, form, false).await,
            Self::Remove { name, cascade } => {
                let gone: Gone = admin.remove(&cascading(path(&name), cascade)).await?;
                form.gone(&gone, format_args!("the device {name:?} is gone"))
            }
        }
    }
}

impl Add {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let Self { name, addresses, lines, description, restricted } = self;
        let lines: Vec<Line> = lines.into_iter().map(Line::from).collect();
        let device = json!({
            "name": name, "addresses": addresses, "lines": lines, "description": description, "restricted": restricted,
        });
        let device: Changed<api::Device> = admin.post(&Path::of(&["devices"]), &device).await?;
        form.changed(&device, format_args!("the device {name:?} is added"))
    }
}

impl Set {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        let lines = self.add_line.is_empty() && self.remove_line.is_empty();
        if lines && self.add_address.is_empty() && self.remove_address.is_empty() && self.description.is_none() {
            return Err(nothing().into());
        }
        let path = path(&self.name);
        let change = |device: &mut Settings| self.change(device);
        let device: Changed<api::Device> = admin.change(&path, &path, change).await?;
        form.changed(&device, format_args!("the device {:?} is changed", self.name))
    }

    fn change(&self, device: &mut Settings) -> Result<()> {
        let whose = format!("the device {:?}", self.name);
        let added = self.add_address.iter().filter(|address| !device.addresses.contains(address)).copied();
        let added: Vec<Address> = added.collect();
        device.addresses.extend(added);
        said::are_there(&device.addresses, &self.remove_address, &whose, "address")?;
        device.addresses.retain(|address| !self.remove_address.contains(address));
        for new in &self.add_line {
            match device.lines.iter_mut().find(|line| line.number == new.number) {
                Some(line) => line.label = new.label.clone().unwrap_or_default(),
                None => device.lines.push(new.clone().into()),
            }
        }
        let numbers: Vec<u32> = device.lines.iter().map(|line| line.number.0).collect();
        said::are_there(&numbers, &self.remove_line, &whose, "line")?;
        device.lines.retain(|line| !self.remove_line.contains(&line.number.0));
        if let Some(description) = &self.description {
            device.description.clone_from(description);
        }
        Ok(())
    }
}

impl Which {
    async fn ask(self, admin: &mut Admin, form: Form, restricted: bool) -> Result<()> {
        let path = path(&self.name);
        let change = |device: &mut Settings| {
            let Some(number) = self.line else {
                device.restricted = restricted;
                return anyhow::Ok(());
            };
            // A line that nobody described can be restricted, and so is made; one that isn't there has nothing to lift.
            if let Some(line) = device.lines.iter_mut().find(|line| line.number.0 == number) {
                line.restricted = restricted;
            } else if restricted {
                device.lines.push(Line { number: LineNumber(number), label: String::new(), restricted });
            } else {
                let numbers = device.lines.iter().map(|line| line.number);
                return Err(said::not_there(&format!("the device {:?}", self.name), "line", number, numbers).into());
            }
            Ok(())
        };
        let device: Changed<api::Device> = admin.change(&path, &path, change).await?;
        let what = match self.line {
            None => format!("the device {:?}", self.name),
            Some(line) => format!("line {line} of the device {:?}", self.name),
        };
        form.changed(&device, format_args!("{what} is {}", if restricted { "restricted" } else { "not restricted" }))
    }
}

impl FromStr for NewLine {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, label) = text.split_once('=').map_or((text, None), |(number, label)| (number, Some(label)));
        let number = number.parse().map(LineNumber).map_err(|_| format!("{number:?} is no number of a line"))?;
        Ok(Self { number, label: label.map(Into::into) })
    }
}

impl From<NewLine> for Line {
    fn from(NewLine { number, label }: NewLine) -> Self {
        Self { number, label: label.unwrap_or_default(), restricted: false }
    }
}

fn path(name: &DeviceName) -> Path {
    Path::of(&["devices", name.as_str()])
}

fn table(devices: &[api::Device]) -> Table {
    let mut table = Table::new(&["DEVICE", "STATUS", "LINES", "ADDRESSES", "DESCRIPTION"]);
    for device in devices {
        let status = match (device.restricted, device.lines.iter().any(|line| line.restricted)) {
            (true, _) => Cell::from("restricted").is(Mood::Bad),
            (false, true) => Cell::from("line restricted").is(Mood::Bad),
            (false, false) => "".into(),
        };
        let (lines, addresses) = (device.lines.len().to_string(), listed(&device.addresses));
        let description = device.description.as_str();
        table.row([device.name.as_str().into(), status, lines.into(), addresses.into(), description.into()]);
    }
    table
}

fn show(device: &api::Device) -> Result<(), Unwritten> {
    let status = if device.restricted { "restricted: no app sees it" } else { "not restricted" };
    let lines = device.lines.iter().map(|line| {
        let label = if line.label.is_empty() { String::new() } else { format!(" ({})", line.label) };
        format!("{}{label}{}", line.number, if line.restricted { " restricted" } else { "" })
    });
    fields([
        ("device", device.name.as_str().into()),
        ("description", device.description.as_str().into()),
        ("status", status.into()),
        ("addresses", joined(&device.addresses).into()),
        ("lines", joined(lines).into()),
    ])
}
