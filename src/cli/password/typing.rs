//! A line that is typed on a terminal and doesn't show. The keys that edit it and that end the command are read here, so
//! that the terminal shows again what is typed before a signal ends the process.

use std::io::{self, stdin};

use rustix::{
    io::{read, retry_on_intr},
    process::{Signal, getpid, kill_process},
    termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr},
};
use zeroize::{Zeroize, Zeroizing};

use super::MAX_LEN;

const CTRL_C: u8 = 0x03;
const CTRL_D: u8 = 0x04;
const BACKSPACE: u8 = 0x08;
const CTRL_U: u8 = 0x15;
const ESCAPE: u8 = 0x1b;
const DELETE: u8 = 0x7f;

/// The terminal of standard input, which shows nothing of what is typed until this is dropped.
pub(super) struct Keyboard {
    before: Termios,
}

/// A line of which some is typed. There is room for more than a password has, and it doesn't grow.
struct Typed {
    bytes: Zeroizing<Vec<u8>>,
    sequence: Sequence,
}

/// How much came of a key that sends several bytes, such as an arrow (ECMA-48).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sequence {
    /// Nothing.
    None,
    /// The escape.
    Begun,
    /// What says that one more byte comes.
    One,
    /// What says that parameters come, up to a byte that ends them.
    Parameters,
}

/// What a key does.
#[derive(Debug, PartialEq, Eq)]
enum Key {
    /// Something of the line.
    Edits,
    /// It is whole.
    Ends,
    /// Nobody wants it any more.
    Interrupts,
}

impl Keyboard {
    pub(super) fn quiet() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        // Each key by itself, at once.
        quiet.special_codes[SpecialCodeIndex::VMIN] = 1;
        quiet.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self { before })
    }

    /// The next line, without its end.
    pub(super) fn line(&mut self) -> io::Result<Zeroizing<String>> {
        let mut typed = Typed::new();
        let mut key = Zeroizing::new([0]);
        loop {
            let count = retry_on_intr(|| read(stdin(), &mut *key))?;
            let [pressed] = *key;
            let pressed = if count == 0 { Key::Ends } else { typed.press(pressed) };
            match pressed {
                Key::Edits => {}
                Key::Ends => return typed.text(),
                Key::Interrupts => {
                    self.show();
                    // As if the terminal had sent it. Where it is ignored, the command fails.
                    kill_process(getpid(), Signal::INT)?;
                    return Err(io::ErrorKind::Interrupted.into());
                }
            }
        }
    }

    fn show(&self) {
        // It may be gone, and then there is nothing to mend.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        self.show();
    }
}

impl Typed {
    fn new() -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(MAX_LEN + 1)), sequence: Sequence::None }
    }

    fn press(&mut self, key: u8) -> Key {
        if self.is_of_sequence(key) {
            return Key::Edits;
        }
        match key {
            b'\n' | b'\r' | CTRL_D => return Key::Ends,
            CTRL_C => return Key::Interrupts,
            BACKSPACE | DELETE => self.take_back(),
            CTRL_U => self.bytes.zeroize(),
            // A terminal without `ISIG` hands on keys such as Ctrl-Z: nobody means them to be of a password.
            0..=0x1f => {}
            // One too many is kept, by which it is seen to be too long.
            _ if self.bytes.len() <= MAX_LEN => self.bytes.push(key),
            _ => {}
        }
        Key::Edits
    }

    /// Whether it is of a key that sends several bytes, none of which is of the line. Another control character breaks that off.
    fn is_of_sequence(&mut self, key: u8) -> bool {
        let next = match (self.sequence, key) {
            (_, ESCAPE) => Sequence::Begun,
            (Sequence::Begun, b'[') => Sequence::Parameters,
            (Sequence::Begun, b'O') => Sequence::One,
            (Sequence::Parameters, b' '..=b'?') => Sequence::Parameters,
            (Sequence::Begun | Sequence::One | Sequence::Parameters, b' '..=b'~') => {
                self.sequence = Sequence::None;
                return true;
            }
            _ => Sequence::None,
        };
        self.sequence = next;
        next != Sequence::None
    }

    /// Takes back a character, which may have several bytes.
    fn take_back(&mut self) {
        while let Some(byte) = self.bytes.pop() {
            if !is_continued(byte) {
                return;
            }
        }
    }

    fn text(self) -> io::Result<Zeroizing<String>> {
        let unusable = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        if self.bytes.len() > MAX_LEN {
            return Err(unusable(format!("it has more than {MAX_LEN} bytes")));
        }
        match std::str::from_utf8(&self.bytes) {
            Ok(text) => Ok(Zeroizing::new(text.into())),
            Err(_) => Err(unusable("it is not UTF-8".into())),
        }
    }
}

/// Whether a byte of UTF-8 belongs to the character that began before it.
fn is_continued(byte: u8) -> bool {
    byte & 0b1100_0000 == 0b1000_0000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is typed by these keys, and what the last of them did.
    fn typed(keys: &[u8]) -> (String, Key) {
        let mut typed = Typed::new();
        let last = keys.iter().map(|key| typed.press(*key)).last().unwrap();
        (typed.text().unwrap().to_string(), last)
    }

    #[test]
    fn keys_edit_a_line_and_end_it() {
        for (keys, text, last) in [
            ("pencil\n", "pencil", Key::Ends),
            ("pencil\r", "pencil", Key::Ends),
            ("pencil\u{4}", "pencil", Key::Ends),
            ("pencilö\u{7f}s", "pencils", Key::Edits),
            ("\u{7f}\u{8}a", "a", Key::Edits),
            ("wrong\u{15}right", "right", Key::Edits),
            ("pen\u{3}", "pen", Key::Interrupts),
            ("pen\u{1a}\u{1c}\t\u{0}cil", "pencil", Key::Edits),
            // Arrows, one with a modifier, Alt and a letter, and F1.
            ("pen\u{1b}[A\u{1b}[1;5D\u{1b}b\u{1b}OPcil", "pencil", Key::Edits),
            ("pen\u{1b}\u{1b}[Acil", "pencil", Key::Edits),
            ("pencil\u{1b}\n", "pencil", Key::Ends),
            ("pencil\u{1b}[\u{3}", "pencil", Key::Interrupts),
            ("pen\u{1b}[1\u{7f}n", "pen", Key::Edits),
            ("pen\u{1b}ö", "penö", Key::Edits),
        ] {
            assert_eq!(typed(keys.as_bytes()), (text.into(), last), "{keys:?}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_seen_to_be_so_and_takes_no_more_room() {
        let after = |keys: &[u8]| {
            let mut typed = Typed::new();
            keys.iter().for_each(|key| assert_eq!(typed.press(*key), Key::Edits));
            assert!(typed.bytes.capacity() < MAX_LEN + 64);
            typed.text().map(|text| text.len()).map_err(|error| error.to_string())
        };
        assert_eq!(after(&[b'a'; MAX_LEN]), Ok(MAX_LEN));
        for too_long in [MAX_LEN + 1, 10 * MAX_LEN] {
            assert_eq!(after(&vec![b'a'; too_long]), Err("it has more than 1024 bytes".into()));
        }
        assert_eq!(after(&[0xc3]), Err("it is not UTF-8".into()));
    }
}
