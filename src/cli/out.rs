//! What a command says. Not by `println!`, which panics when the reader is gone or the disk is full.

use std::{
    fmt,
    io::{self, Write},
};

/// Standard output takes nothing more.
#[derive(Debug, thiserror::Error)]
#[error("the answer can't be written to standard output")]
pub(super) struct Unwritten(#[from] io::Error);

impl Unwritten {
    /// Whether the reader has gone, as `head` does when it has enough. Nobody wants to hear of that.
    pub(super) fn is_unheard(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// One line of the answer, at once.
pub(super) fn line(text: fmt::Arguments<'_>) -> Result<(), Unwritten> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// One line beside the answer. Where nobody hears it, nothing is lost that the exit code doesn't say.
pub(super) fn aside(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// [`line`], as `println!` is written.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::line(format_args!($($text)*)) };
}

/// [`aside`], as `eprintln!` is written.
macro_rules! remark {
    ($($text:tt)*) => { $crate::cli::out::aside(format_args!($($text)*)) };
}

pub(super) use callgate::model::counted;
pub(super) use {remark, say};
