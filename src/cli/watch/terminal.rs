//! The terminal as a screen: taken once, drawn as a whole, and given back however the command ends.

use std::{
    io::{self, Write, stdin, stdout},
    time::{Duration, Instant},
};

use callgate::client::watch::Size;
use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The least time between two pictures.
pub(super) const FRAME: Duration = Duration::from_millis(100);
/// The longest: times go on also when nothing happens.
const OLDEST: Duration = Duration::from_secs(1);

/// Another screen, so that what stood on the terminal comes back; no cursor; lines that are too long are cut.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
/// Terminals that know it show the picture when it is whole. The others ignore it.
const BEGIN: &str = "\x1b[?2026h\x1b[H";
const END: &str = "\x1b[J\x1b[?2026l";
/// The value that switches a special character off.
const DISABLED: u8 = 0;
/// Of a terminal that doesn't say how large it is.
const USUAL: Size = Size { columns: 80, rows: 24 };

/// The terminal, taken.
pub(super) struct Terminal {
    /// How it was, if the keyboard is one.
    before: Option<Termios>,
    drawn: Option<(Instant, Size)>,
}

impl Terminal {
    /// Takes it.
    pub(super) fn enter() -> io::Result<Self> {
        let before = tcgetattr(stdin()).ok();
        if let Some(before) = &before {
            let mut quiet = before.clone();
            // What is typed doesn't show. Ctrl-C stays a signal; Ctrl-Z would leave this screen behind.
            quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON);
            quiet.special_codes[SpecialCodeIndex::VSUSP] = DISABLED;
            tcsetattr(stdin(), OptionalActions::Now, &quiet)?;
        }
        let terminal = Self { before, drawn: None };
        write(ENTER)?;
        Ok(terminal)
    }

    /// How large it is now.
    pub(super) fn size(&self) -> Size {
        match tcgetwinsize(stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
            }
            _ => USUAL,
        }
    }

    /// Whether it is to be drawn: something has changed, or it was long ago.
    pub(super) fn is_due(&self, is_old: bool) -> bool {
        is_old || self.drawn.is_none_or(|(at, size)| at.elapsed() >= OLDEST || size != self.size())
    }

    /// Draws a picture with one write.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let size = self.size();
        let mut picture = String::from(BEGIN);
        for (i, line) in lines.iter().take(size.rows).enumerate() {
            picture.push_str(if i == 0 { "" } else { "\r\n" });
            picture.push_str(line);
            picture.push_str("\x1b[K");
        }
        picture.push_str(END);
        self.drawn = Some((Instant::now(), size));
        write(&picture)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may be gone, and then there is nothing to give back.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
