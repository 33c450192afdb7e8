//! `callgate session`

use anyhow::Result;
use callgate::{
    admin::api::{Door, Gone, OpenSession},
    client::admin::{Admin, Path},
    model::{InstanceId, UserName},
};

use super::{Ask, Form};
use crate::cli::{
    door_name::DoorName,
    out::{Unwritten, counted},
    table::{Cell, Mood, Table, fields},
};

const LIST_EXAMPLES: &str = "\
Examples:
  callgate session list
  callgate session list --door clear
  callgate session list --user recorder --instance 1 --json";

const SHOW_EXAMPLES: &str = "\
Example:
  callgate session show s0660ea429d7e0";

const CLOSE_EXAMPLES: &str = "\
Examples:
  callgate session close s0660ea429d7e0
  callgate session close --user recorder                 # all of a user
  callgate session close --user recorder --instance 2

When the command ends nothing leaves to them any more, also what waited. They may open again: to keep one out, revoke its
certificate or take its user out of Enabled.";

/// Sessions that are open now
#[derive(clap::Subcommand)]
pub(in crate::cli) enum Session {
    /// Every session that is open
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Only those of this user
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,

        /// Only those of this instance
        #[arg(long, value_name = "ID")]
        instance: Option<InstanceId>,

        /// Only those on this door
        #[arg(long, value_name = "DOOR")]
        door: Option<DoorName>,
    },

    /// One session
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its name, as `callgate session list`, logs and records have it
        session: String,
    },

    /// Close sessions
    #[command(after_help = CLOSE_EXAMPLES)]
    Close {
        /// The name of one
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        session: Option<String>,

        /// Instead of one, those of this user
        #[arg(long, value_name = "NAME")]
        user: Option<UserName>,

        /// Of the user's only the one of this instance
        #[arg(long, value_name = "ID", requires = "user")]
        instance: Option<InstanceId>,
    },
}

impl Ask for Session {
    async fn ask(self, admin: &mut Admin, form: Form) -> Result<()> {
        match self {
            Self::List { user, instance, door } => {
                let path = Path::of(&["sessions"])
                    .with_any("user", user.as_ref().map(UserName::as_str))
                    .with_any("instance", instance.as_ref().map(InstanceId::as_str))
                    .with_any("door", door.map(DoorName::word));
                form.list(admin, &path, "no session is open", table).await
            }
            Self::Show { session } => form.show(admin, &path(&session), show).await,
            Self::Close { session: Some(session), .. } => {
                let gone: Gone = admin.remove(&path(&session)).await?;
                form.told(&gone, format_args!("the session {session} is closed"))
            }
            Self::Close { user, instance, .. } => {
                let mut whose = user.as_ref().map_or_else(String::new, ToString::to_string);
                if let Some(instance) = &instance {
                    whose = format!("{whose}/{instance}");
                }
                let instance = instance.as_ref().map(InstanceId::as_str);
                let path = Path::of(&["sessions"]).with_any("user", user.as_ref().map(UserName::as_str));
                let gone: Gone = admin.remove(&path.with_any("instance", instance)).await?;
                match gone.done.effect.closed {
                    0 => form.told(&gone, format_args!("no session of {whose} was open")),
                    closed => form.told(&gone, format_args!("{} closed", counted(closed, "session", "sessions"))),
                }
            }
        }
    }
}

fn path(session: &str) -> Path {
    Path::of(&["sessions", session])
}

fn table(sessions: &[OpenSession]) -> Table {
    let mut table =
        Table::new(&["SESSION", "APP", "DOOR", "FROM", "OPENED", "DEVICES", "EVENTS", "REFUSED", "WAITING"]);
    for session in sessions {
        let waiting = match session.queued_bytes {
            0 => Cell::from(""),
            bytes => Cell::from(format!("{bytes} bytes")).is(Mood::Bad),
        };
        table.row([
            session.session.as_str().into(),
            format!("{}/{}", session.user, session.instance).into(),
            door(session.door).into(),
            session.peer.to_string().into(),
            session.opened_at.as_str().into(),
            session.monitored_devices.to_string().into(),
            session.deliveries.to_string().into(),
            session.denials.to_string().into(),
            waiting,
        ]);
    }
    table
}

fn show(session: &OpenSession) -> Result<(), Unwritten> {
    let certificate = session.certificate_expires.as_deref().unwrap_or("none: it came by password");
    fields([
        ("session", session.session.as_str().into()),
        ("user", session.user.as_str().into()),
        ("instance", session.instance.as_str().into()),
        ("door", door(session.door).into()),
        ("from", session.peer.to_string().into()),
        ("software", session.software.as_str().into()),
        ("opened", session.opened_at.as_str().into()),
        ("certificate until", certificate.into()),
        ("monitored devices", session.monitored_devices.to_string().into()),
        ("events", session.deliveries.to_string().into()),
        ("keys refused", session.denials.to_string().into()),
        ("waiting", format!("{} bytes", session.queued_bytes).into()),
    ])
}

fn door(door: Door) -> &'static str {
    match door {
        Door::Clear => "clear",
        Door::Tls => "TLS",
    }
}
