//! What the process asks of the system: no core dump, and no end when file descriptors run out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use common::{
    held::{FEED, Held},
    served::{Served, quiet, under},
    skipped::skipped,
};
use rustix::process::geteuid;

/// Who owns nothing.
const NOBODY: u32 = 65_534;
const DOORS: &str = "[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"";

/// Soft and hard, as the system shows them.
fn limit(pid: u32, name: &str) -> (String, String) {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let mut words = line.split_whitespace().map(String::from);
    (words.next().unwrap(), words.next().unwrap())
}

#[test]
fn r20_there_is_no_core_dump_and_r41a_all_files_that_are_allowed_are_taken() {
    let mut served = Served::start_by(DOORS, |serve| under("ulimit -c unlimited; ulimit -S -n 256", &serve));
    served.log_line("door=\"tls\" address=");
    let pid = served.child.id();
    assert_eq!(limit(pid, "Max core file size"), ("0".into(), "0".into()));
    let (soft, hard) = limit(pid, "Max open files");
    assert_eq!(soft, hard);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// Who owns what the system has of a process: whoever runs it, or root if it may not be dumped. What root runs is root's in any
/// case, so it is run as somebody else then.
#[test]
fn r20_the_system_may_not_dump_the_process() {
    let owner = |child: &Child| fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().uid();
    let runs_as = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
    let mut any = Command::new("sleep");
    any.arg("60");
    let mut any = match run_as(runs_as, any).spawn() {
        Ok(any) => any,
        Err(error) => return skipped("dumpable", &format!("root can't run anything as somebody else here: {error}")),
    };
    let owns_any = owner(&any);
    any.kill().unwrap();
    any.wait().unwrap();
    assert_eq!(owns_any, runs_as, "a process that may be dumped");

    let mut served = Served::start_by(DOORS, |serve| give_to(runs_as, serve));
    served.log_line("door=\"tls\" address=");
    assert_eq!(owner(&served.child), 0);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// The command as run by this user, who gets the folder, and a program there that it may read.
fn give_to(user: u32, serve: Command) -> Command {
    if user == geteuid().as_raw() {
        return serve;
    }
    let folder = serve.get_current_dir().unwrap();
    let program = folder.join("callgate");
    fs::copy(serve.get_program(), &program).unwrap();
    let mut given = vec![folder.to_owned()];
    while let Some(path) = given.pop() {
        chown(&path, Some(user), Some(user)).unwrap();
        if path.is_dir() {
            given.extend(fs::read_dir(&path).unwrap().map(|file| file.unwrap().path()));
        }
    }
    let mut given = Command::new(program);
    given.args(serve.get_args()).current_dir(folder).stdin(Stdio::null());
    given.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    run_as(user, given)
}

fn run_as(user: u32, mut command: Command) -> Command {
    if user != geteuid().as_raw() {
        command.uid(user).gid(user);
    }
    command
}

#[tokio::test]
async fn r41a_more_connections_than_files_end_neither_it_nor_a_session_and_an_app_opens_when_they_are_gone() {
    let mut served = Served::start_with(DOORS, FEED, |serve| under("ulimit -n 40", &quiet(&serve)));
    served.log_line("fewer files may be open than the limits of sessions need");
    let feed = served.log_line("listens for HEP switch=pbx address=");
    let metrics = served.log_line("listening for HTTP service=\"metrics\" address=");
    let clear = served.log_line("door=\"clear\" address=");
    let tls = served.log_line("door=\"tls\" address=");
    let mut page = TcpStream::connect(metrics).unwrap();
    assert!((5.0..36.0).contains(&open_files(&mut page)));
    let mut held = Held::open(&served, &feed, &tls).await;
    let strangers: Vec<_> = (0..60).map(|_| TcpStream::connect(&clear).unwrap()).collect();
    served.log_line("a connection could not be accepted");
    held.gets_keys().await;
    assert!(open_files(&mut page) >= 36.0, "nobody is told that files are free when none is left to look with");
    drop(strangers);

    let opened = served.instance("2", tls).await;
    held.gets_the_end().await;
    drop(opened);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

/// What the page of metrics, over a connection that is kept, says of open files.
fn open_files(page: &mut TcpStream) -> f64 {
    page.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut reader = BufReader::new(page);
    let (mut length, mut line) = (0, String::new());
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        length = line.to_lowercase().strip_prefix("content-length:").map_or(length, |it| it.trim().parse().unwrap());
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    body.lines().find_map(|line| line.strip_prefix("callgate_open_files ")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn r41a_a_crowd_that_waits_for_the_doors_doesn_t_keep_a_gateway_with_few_files_from_its_start() {
    // Nobody else of this machine is at such an address, so that the port stays free.
    let clear = TcpListener::bind("127.41.0.1:0").unwrap().local_addr().unwrap();
    let crowd = thread::spawn(move || {
        let began = Instant::now();
        let mut crowd = Vec::new();
        while crowd.len() < 100 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} could connect", crowd.len());
            crowd.extend(TcpStream::connect(clear));
        }
        crowd
    });
    let doors = format!("[doors]\nclear = \"{clear}\"\ntls = \"127.0.0.1:0\"");
    let mut served = Served::start_by(&doors, |serve| under("ulimit -n 40", &quiet(&serve)));
    let tls = served.log_line("door=\"tls\" address=");
    served.log_line("a connection could not be accepted");
    drop(crowd.join().unwrap());

    drop(served.recorder(tls).await);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let at = |text: &str| log.find(text).unwrap();
    assert!(at("listening for HTTP service=\"metrics\"") < at("listening door=\"clear\""), "{log}");
}
