//! What a served gateway tells who watches it: the metrics page and health.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use callgate::gateway::METRICS;
use common::{
    leaks,
    served::{Served, callgate, quiet, under},
};

const DOORS: &str = "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"";

fn connect(address: &str) -> TcpStream {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    tcp
}

/// Status and body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut tcp = connect(address);
    write!(tcp, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    leaks::assert_no_key(path, answer.as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.into())
}

fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test]
async fn a_call_of_an_app_is_seen_on_the_page() {
    let mut served = Served::start_by(DOORS, |serve| quiet(&serve));
    let metrics = served.log_line("listening for HTTP service=\"metrics\" address=");
    let tls = served.log_line("door=\"tls\" address=");
    let (session, mut events) = served.recorder(tls).await;
    session.monitor("1001", &[]).await.unwrap();
    // Until the first key has come.
    loop {
        let event = events.next().await.expect("the call comes");
        if format!("{event:?}").contains("KeysAvailable") {
            break;
        }
    }
    let (status, page) = get(&metrics, "/metrics");
    assert_eq!(status, 200);
    for (sample, at_least) in [
        ("callgate_sessions_open{door=\"tls\"}", 1.0),
        ("callgate_sessions_opened_total{door=\"tls\"}", 1.0),
        ("callgate_handshakes_total{result=\"OK\"}", 1.0),
        ("callgate_handshake_seconds_count", 1.0),
        ("callgate_deliveries_total", 2.0),
        ("callgate_delivery_seconds_count", 2.0),
        ("callgate_events_total{class=\"media\"}", 1.0),
        ("callgate_disclosures_total{indicator=\"KEYS_AVAILABLE\",reason=\"\"}", 1.0),
        ("callgate_open_files", 5.0),
        ("callgate_part_up{part=\"doors\"}", 1.0),
        ("callgate_switch_events_refused_total", 0.0),
        ("callgate_http_connections{service=\"metrics\"}", 1.0),
    ] {
        assert!(value(&page, sample).is_some_and(|is| is >= at_least), "{sample}:\n{page}");
    }
    assert!(value(&page, "callgate_delivery_seconds_bucket{le=\"+Inf\"}").is_some(), "{page}");
    for line in page.lines().filter(|line| line.starts_with("# HELP ")) {
        let (name, help) = line["# HELP ".len()..].split_once(' ').unwrap();
        assert!(METRICS.iter().any(|metric| metric.name == name && metric.help == help), "{line}");
    }
    // Prometheus' own tool, where there is one, has nothing against names, kinds and help.
    if let Ok(mut promtool) = Command::new("promtool").args(["check", "metrics"]).stdin(Stdio::piped()).spawn() {
        promtool.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
        assert!(promtool.wait().unwrap().success(), "{page}");
    }

    let (status, body) = get(&metrics, "/readyz");
    assert!(status == 200 && body.contains("\"ready\":true"), "{status} {body}");
    for part in ["\"doors\":{\"detail\":\"clear closed, TLS 127.0.0.1:", "\"hub\":", "\"worker 0\":", "\"switch pbx\":"]
    {
        assert!(body.contains(part), "{body}");
    }
    let (status, body) = get(&metrics, "/healthz");
    assert!(status == 200 && body.contains("\"alive\":true") && !body.contains("doors"), "{status} {body}");
    assert_eq!(get(&metrics, "/other").0, 404);
    drop((session, events));
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn r5_sighup_changes_who_may_read_the_page() {
    let mut served = Served::start_by(DOORS, |serve| quiet(&serve));
    let metrics = served.log_line("listening for HTTP service=\"metrics\" address=");
    served.log_line("door=\"tls\" address=");
    assert_eq!(get(&metrics, "/healthz").0, 200);
    let path = served.folder.path().join("callgate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("{config}\n[metrics]\nnetworks = [\"192.0.2.0/24\"]\n")).unwrap();
    let pid = served.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    served.log_line("rights in effect");
    // Whoever has said something already may see no more than an end.
    let mut answer = String::new();
    connect(&metrics).read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("NETWORK_NOT_ALLOWED"), "{answer}");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn r11_a_crl_that_the_config_no_longer_names_has_no_end_any_more() {
    let with_crl = format!("{DOORS}\n[tls]\nclient_crl = [\"ca.crl\"]");
    let mut served = Served::start_by(&with_crl, |serve| {
        let folder = serve.get_current_dir().unwrap();
        assert!(callgate(folder, &["cert", "crl", "--folder", "."]).output().unwrap().status.success());
        quiet(&serve)
    });
    let metrics = served.log_line("listening for HTTP service=\"metrics\" address=");
    served.log_line("door=\"tls\" address=");
    let page = || get(&metrics, "/metrics").1;
    let sample = "callgate_client_crl_next_update_timestamp_seconds{file=\"./ca.crl\"}";
    // The door looks around every ten seconds.
    let wait_for = |what: &str, is_so: &dyn Fn(Option<f64>) -> bool| {
        let began = Instant::now();
        while !is_so(value(&page(), sample)) {
            assert!(began.elapsed() < Duration::from_secs(20), "{what}: {}", page());
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    wait_for("nobody tells", &|seconds| seconds.is_some_and(|seconds| seconds > 1.7e9 && seconds.is_finite()));
    let path = served.folder.path().join("callgate.toml");
    let config = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, config.replace("client_crl", "# client_crl")).unwrap();
    let pid = served.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    wait_for("its end is still waited for", &|seconds| seconds == Some(f64::INFINITY));
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn who_started_it_is_told_that_it_is_ready_reads_its_config_is_alive_and_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let hear = || {
        let mut bytes = [0; 256];
        let len = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    // What is heard but for the pulse of the watchdog.
    let news = || (0..).map(|_| hear()).find(|said| said != "WATCHDOG=1").unwrap();
    let served = Served::start_by(DOORS, |serve| {
        let mut serve = quiet(&serve);
        serve.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        serve
    });
    assert!(news().starts_with("READY=1\n"));
    assert_eq!(hear(), "WATCHDOG=1");
    let pid = served.child.id().to_string();
    for mend in [false, true] {
        if !mend {
            std::fs::write(served.folder.path().join("callgate.toml"), "mode = 1").unwrap();
        }
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        assert!(news().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert!(news().starts_with("READY=1\n"), "whatever came of it");
        std::fs::write(served.folder.path().join("callgate.toml"), "").unwrap();
    }
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("not taken") && log.contains("rights in effect"), "{log}");
    assert!(news().starts_with("STOPPING=1\n"));
}

#[tokio::test]
async fn r41a_without_files_the_page_is_not_there_and_comes_back() {
    let mut served = Served::start_by(DOORS, |serve| under("ulimit -n 48", &quiet(&serve)));
    let metrics = served.log_line("listening for HTTP service=\"metrics\" address=");
    let tls = served.log_line("door=\"tls\" address=");
    // Each is counted under its own name.
    let counted =
        ["callgate_accept_errors_total{door=\"tls\"}", "callgate_http_accept_errors_total{service=\"metrics\"}"];
    let begun = Instant::now();
    // The door sends the longest silent ones away, so that what it holds is now and then free for the page at once.
    for round in 0.. {
        // Those at the door hold what there is.
        let strangers: Vec<_> = (0..60).map(|_| TcpStream::connect(&tls).unwrap()).collect();
        if round == 0 {
            served.log_line("a connection could not be accepted");
        }
        let mut waiting: Vec<_> = (0..10).map(|_| connect(&metrics)).collect();
        for tcp in &mut waiting {
            tcp.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        }
        drop(strangers);
        for mut tcp in waiting {
            let mut answer = String::new();
            tcp.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        let (_, page) = get(&metrics, "/metrics");
        if counted.iter().all(|name| value(&page, name).is_some_and(|count| count >= 1.0)) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{page}");
    }
    // The door is open again, too.
    drop(served.recorder(tls).await);
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}
