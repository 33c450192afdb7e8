//! The log lines of a worker's turn, written together.
//!
//! A key leaves when its record is written (R21), and writing is a system call. So what a worker's thread logs in a turn
//! that delivers a burst is gathered, and written with one call before the first of the burst's frames goes to the seal.
//! Whoever logs by another writer has each line written by itself, as everywhere outside of such a turn.

use std::{
    cell::RefCell,
    io::{self, Write, stderr},
};

use tracing_subscriber::fmt::MakeWriter;

/// What is gathered at most, in bytes: more is written at once.
const MOST: usize = 256 * 1024;

thread_local! {
    static LINES: RefCell<Lines> =
        const { RefCell::new(Lines { is_turn: false, bytes: Vec::new(), out: |lines| stderr().write_all(lines) }) };
}

struct Lines {
    is_turn: bool,
    bytes: Vec<u8>,
    out: fn(&[u8]) -> io::Result<()>,
}

impl Lines {
    fn write_out(&mut self) {
        // As with a line that is written by itself: there is nobody to tell.
        let _ = (self.out)(&self.bytes);
        self.bytes.clear();
    }
}

/// Standard error, as the writer of logs: lines of a worker's turn go there together.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogWriter;

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let gathered = LINES.try_with(|lines| {
            let Ok(mut lines) = lines.try_borrow_mut() else { return false };
            if lines.is_turn {
                lines.bytes.extend_from_slice(line);
                if lines.bytes.len() >= MOST {
                    lines.write_out();
                }
            }
            lines.is_turn
        });
        match gathered {
            Ok(true) => Ok(line.len()),
            _ => stderr().write(line),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// While this lives, lines of its thread are gathered. Its end writes them, by a panic too.
pub(super) struct Turn(());

impl Turn {
    /// The turn begins.
    pub(super) fn begin() -> Self {
        LINES.with_borrow_mut(|lines| lines.is_turn = true);
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        write_out();
        let _ = LINES.try_with(|lines| lines.try_borrow_mut().map(|mut lines| lines.is_turn = false));
    }
}

/// Writes what is gathered: called before anything that was recorded goes to the seal.
pub(super) fn write_out() {
    let _ = LINES.try_with(|lines| {
        if let Ok(mut lines) = lines.try_borrow_mut()
            && !lines.bytes.is_empty()
        {
            lines.write_out();
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpStream as Peer};

    use bytes::Bytes;
    use tokio::net::{TcpListener, TcpStream};

    use super::{
        super::socket::{Connection, Socket, tests::pair},
        *,
    };

    thread_local! {
        static WRITTEN: RefCell<(Option<Peer>, Vec<String>)> = const { RefCell::new((None, Vec::new())) };
    }

    /// Instead of standard error. It is too late when something has reached the app already.
    fn keep(lines: &[u8]) -> io::Result<()> {
        WRITTEN.with_borrow_mut(|(peer, written)| {
            if peer.as_ref().is_some_and(|peer| peer.peek(&mut [0]).is_ok()) {
                written.push("too late".into());
            }
            written.push(String::from_utf8(lines.to_vec()).unwrap());
        });
        Ok(())
    }

    fn written() -> Vec<String> {
        WRITTEN.with_borrow_mut(|(_, written)| std::mem::take(written))
    }

    #[tokio::test]
    async fn r21_the_lines_of_a_turn_are_written_together_and_before_any_of_its_frames() {
        LINES.with_borrow_mut(|lines| lines.out = keep);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let clear = (Socket::new(tcp, None, 1024), listener.accept().await.unwrap().0);
        let (socket, app) = pair().await;
        for (socket, peer) in [clear, (socket, app.into_inner().0)] {
            lines_come_before_frames(socket, &peer.into_std().unwrap());
        }
    }

    fn lines_come_before_frames(mut socket: Socket, mut peer: &Peer) {
        let read_all = |mut peer: &Peer| {
            peer.set_nonblocking(false).unwrap();
            assert!(peer.read(&mut [0; 1000]).unwrap() > 0, "what was sent has arrived");
            peer.set_nonblocking(true).unwrap();
            assert!(peer.peek(&mut [0]).is_err(), "all of it");
        };
        assert!(peer.read(&mut [0]).is_err(), "nothing was sent");
        WRITTEN.with_borrow_mut(|(it, _)| *it = Some(peer.try_clone().unwrap()));

        let turn = Turn::begin();
        for line in ["one\n", "two\n"] {
            LogWriter.write_all(line.as_bytes()).unwrap();
            socket.hold(Bytes::from_static(b"frame"), None).unwrap();
        }
        assert!(written().is_empty(), "nothing is written while the turn gathers");
        socket.flush().unwrap();
        assert_eq!(written(), ["one\ntwo\n"]);
        read_all(peer);

        // An answer in the same turn, that doesn't wait.
        LogWriter.write_all(b"three\n").unwrap();
        socket.send(Bytes::from_static(b"answer"), None).unwrap();
        assert_eq!(written(), ["three\n"]);
        read_all(peer);
        LogWriter.write_all(b"four\n").unwrap();
        drop(turn);
        assert_eq!(written(), ["four\n"], "the end of the turn writes what is left");
        WRITTEN.with_borrow_mut(|(it, _)| *it = None);
    }

    #[test]
    fn a_turn_that_ends_by_a_panic_writes_its_lines_and_one_that_is_long_writes_before() {
        LINES.with_borrow_mut(|lines| lines.out = keep);
        let panicked = std::panic::catch_unwind(|| {
            let _turn = Turn::begin();
            LogWriter.write_all(b"last words\n").unwrap();
            panic!("on purpose");
        });
        assert!(panicked.is_err());
        assert_eq!(written(), ["last words\n"]);
        assert!(LINES.with_borrow(|lines| !lines.is_turn));

        let _turn = Turn::begin();
        let line = vec![b'x'; MOST / 2];
        LogWriter.write_all(&line).unwrap();
        assert!(written().is_empty());
        LogWriter.write_all(&line).unwrap();
        assert_eq!(written().concat().len(), MOST);
    }
}
