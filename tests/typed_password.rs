//! A password that is typed on a terminal doesn't show, and the terminal is as it was before, however the command ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    process::{Child, ChildStderr, Command, Stdio},
};

use rustix::{
    fs::OFlags,
    io::ioctl_fionread,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

/// A terminal with `callgate passwd` at it.
struct Terminal {
    /// The side of who types and looks.
    person: File,
    /// Kept open: a terminal that nobody has open any more forgets what it was set to.
    other: File,
    command: Child,
    said: ChildStderr,
}

impl Terminal {
    fn open() -> Self {
        let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
        let noctty = i32::try_from(OFlags::NOCTTY.bits()).unwrap();
        let other = std::os::unix::fs::OpenOptionsExt::custom_flags(OpenOptions::new().read(true).write(true), noctty)
            .open(name)
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(["passwd", "--iterations", "4096"])
            .env_remove("CALLGATE_LOG")
            .stdin(other.try_clone().unwrap())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = command.stderr.take().unwrap();
        Self { person: person.into(), other, command, said }
    }

    /// Waits until this is asked for: nothing shows from then on.
    fn wait_for(&mut self, prompt: &str) {
        let mut said = Vec::new();
        while !said.ends_with(prompt.as_bytes()) {
            let mut byte = [0];
            assert_eq!(self.said.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
            said.extend(byte);
        }
    }

    fn type_in(&mut self, keys: &str) {
        self.person.write_all(keys.as_bytes()).unwrap();
    }

    /// The exit code, if the command wasn't killed, and what it said.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut said) = (String::new(), String::new());
        self.command.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        self.said.read_to_string(&mut said).unwrap();
        let status = self.command.wait().unwrap();
        assert_eq!(ioctl_fionread(&self.person).unwrap(), 0, "the terminal shows what is typed");
        let modes = tcgetattr(&self.other).unwrap().local_modes;
        assert!(modes.contains(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG), "it is as it was");
        (status.code(), out, said)
    }
}

#[test]
fn r14_a_password_is_typed_twice_and_never_shows() {
    for (second, is_taken) in [("a pencil\n", true), ("another\n", false)] {
        let mut terminal = Terminal::open();
        terminal.wait_for("password (not shown): ");
        terminal.type_in("a pencil\n");
        terminal.wait_for("the same again: ");
        terminal.type_in(second);
        let (code, out, said) = terminal.end();
        assert_eq!(out.starts_with("SCRAM-SHA-256$4096:"), is_taken, "{out}");
        assert_eq!((code == Some(0), said.contains("are different")), (is_taken, !is_taken), "{said}");
    }
}

#[test]
fn r14_who_gives_up_has_a_terminal_that_shows_what_is_typed() {
    let mut terminal = Terminal::open();
    terminal.wait_for("password (not shown): ");
    terminal.type_in("a pen\u{3}");
    let (code, out, _) = terminal.end();
    assert_ne!(code, Some(0));
    assert_eq!(out, "");
}
