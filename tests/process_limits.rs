//! What the process asks of the system: no core dump, and no end when file descriptors run out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use common::served::{Served, quiet, under};

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

#[tokio::test]
async fn r41a_more_connections_than_files_don_t_end_it_and_an_app_opens_when_they_are_gone() {
    let mut served = Served::start_by(DOORS, |serve| under("ulimit -n 40", &serve));
    served.log_line("fewer files may be open than the limits of sessions need");
    let clear = served.log_line("door=\"clear\" address=");
    let tls = served.log_line("door=\"tls\" address=");
    let strangers: Vec<_> = (0..60).map(|_| TcpStream::connect(&clear).unwrap()).collect();
    served.log_line("a connection could not be accepted");
    drop(strangers);

    let opened = served.recorder(tls).await;
    drop(opened);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
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
