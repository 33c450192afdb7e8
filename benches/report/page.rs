//! The page: every figure with what it means, and the command that makes it.

use std::fmt::Write as _;

use super::{
    plot::{self, Line},
    results::{
        AdministrationResults, AdministrationRow, FanoutResults, FanoutRow, HandshakeResults, Machine, MemoryResults,
        Peer, Quantiles, Shape, StepsResults, least, median,
    },
};

/// All that was measured.
pub struct Results {
    pub fanout: FanoutResults,
    /// With and without metrics.
    pub metrics: FanoutResults,
    pub handshake: HandshakeResults,
    pub memory: MemoryResults,
    pub administration: AdministrationResults,
    pub steps: StepsResults,
    /// Written by hand: where the time goes. It ends the page.
    pub profile: String,
}

const PEERS: [Peer; 5] =
    [Peer::BareBatch, Peer::BareShard, Peer::Callgate, Peer::CallgateKeys, Peer::CallgateKeysUnrecorded];

const HEAD: &str = "\
# Performance

What Callgate costs, beside the least that a server can do who knows neither users nor rights nor a protocol. This page is
made of the results in `docs/performance/` by `benches/report/`; a test checks that. To measure anew:

```sh
cargo bench --bench pipeline
cargo bench --bench paired -- steps --out docs/performance/steps.json
cargo bench --bench paired -- fanout --out docs/performance/fanout.json
cargo bench --bench paired -- fanout --rounds 9 --seconds 0.5 \
  --peers callgate,callgate-measured,callgate-keys,callgate-keys-measured --out docs/performance/metrics.json
cargo bench --bench paired -- handshake --out docs/performance/handshake.json
cargo bench --bench paired -- memory --out docs/performance/memory.json
cargo bench --bench paired -- administration --out docs/performance/administration.json
UPDATE=1 cargo test --test performance_docs
```

## How it is measured

- The server is a process of its own on one core; the load, raw TLS clients, is on another one. All servers are measured in
  the same run, by turns, with the same certificates, the same frames of about 200 bytes and the same load.
- What counts is the **CPU time of the server's process**, all its threads, system calls included. Other work on the machine
  changes wall-clock figures more than this one. On the loopback the sender also pays for the receiver's half of TCP.
- TLS 1.3, AES-256-GCM, X25519, P-256 certificates on both sides, no resumption.
- Each session checks the number of each event: a run in which one is lost, doubled or out of order fails.
- *One in flight*: the next event comes when all sessions have the last one. *Flat out*: up to 8,192 deliveries are on their
  way (8 to 512 events).
- Tables show the median of all rounds, and the least in brackets. Ratios are of medians.

| Server | What it is |
| --- | --- |
| `bare-batch` | tokio-rustls, a task and a queue for each session; all frames of a wake-up in one record and one write. **The goals are ratios to it.** |
| `bare-shard` | rustls alone: no queue, no task is woken, the publisher seals into one buffer and writes at once |
| `callgate` | the gateway, one worker; events of call states |
| `callgate-keys` | the same; media events with SRTP keys, and the record of each disclosure written to the audit log before the key leaves |
| `callgate-keys-unrecorded` | the same without a log: what the records cost is the difference |
| `callgate-measured`, `callgate-keys-measured` | those without this word, and metrics are recorded, as `callgate serve` does: what they cost is the difference |

";

/// The page's text.
pub fn page(results: &Results) -> String {
    let mut out = HEAD.to_owned();
    machine(&mut out, &results.fanout.machine);
    goals(&mut out, results);
    deliveries(&mut out, &results.fanout);
    metrics(&mut out, &results.metrics);
    handshakes(&mut out, &results.handshake);
    memory(&mut out, &results.memory);
    administration(&mut out, &results.administration);
    steps(&mut out, &results.steps);
    out.push_str(&results.profile);
    out
}

/// The plot of one shape of load.
pub fn fanout_plot(results: &FanoutResults, shape: Shape) -> String {
    let line = |peer: Peer, colour, dashed| {
        let rows = results.rows.iter().filter(|row| row.peer == peer && row.shape == shape);
        let points = rows.map(|row| (row.sessions as f64, median(&row.cpu_micros))).collect();
        Line { name: peer.name(), colour, dashed, points }
    };
    let lines = [
        line(Peer::BareBatch, "#555555", true),
        line(Peer::BareShard, "#999999", true),
        line(Peer::Callgate, "#0b6e4f", false),
        line(Peer::CallgateKeys, "#b5179e", false),
        line(Peer::CallgateKeysUnrecorded, "#3a0ca3", false),
    ];
    let title = match shape {
        Shape::OneInFlight => "One event in flight: CPU time per delivery",
        Shape::FlatOut => "Flat out: CPU time per delivery",
    };
    plot::svg(title, "sessions", "microseconds", &lines)
}

fn machine(out: &mut String, machine: &Machine) {
    let Machine { processor, cores, system } = machine;
    let _ = writeln!(out, "Measured on {cores} cores of {processor}, virtual, {system}.\n");
}

fn goals(out: &mut String, results: &Results) {
    out.push_str("## Goals\n\n| What | Goal | Measured | |\n| --- | --- | --- | --- |\n");
    let mut goal = |what: &str, goal: String, measured: String, met: bool| {
        let _ = writeln!(out, "| {what} | {goal} | {measured} | {} |", if met { "met" } else { "**missed**" });
    };
    let fanout = &results.fanout;
    let mut ratios = |what: &str, peer, shape, sessions: std::ops::RangeInclusive<usize>, most: f64| {
        let rows: Vec<&FanoutRow> = of(fanout, peer, shape).filter(|row| sessions.contains(&row.sessions)).collect();
        let ratio = |row: &&FanoutRow| ratio(fanout, row).unwrap_or(f64::NAN);
        let shown: Vec<String> = rows.iter().map(|row| format!("{:.2} at {}", ratio(row), row.sessions)).collect();
        goal(what, format!("<= {most}"), shown.join(", "), rows.iter().all(|row| ratio(row) <= most));
    };
    for (peer, about) in [(Peer::Callgate, "call states"), (Peer::CallgateKeys, "keys, recorded")] {
        let what = |shape: &str| format!("CPU per delivery over `bare-batch`, {shape}, {about}");
        ratios(&what("one in flight"), peer, Shape::OneInFlight, 10..=1000, 1.15);
        ratios(&what("flat out"), peer, Shape::FlatOut, 10..=100, 2.0);
    }
    let handshake = handshake_ratio(&results.handshake);
    goal(
        "CPU per TLS handshake with open over the bare handshake",
        "<= 1.35".into(),
        format!("{handshake:.2}"),
        handshake <= 1.35,
    );
    let row = results.memory.rows.iter().find(|row| row.peer == Peer::Callgate);
    let kib = row.map_or(f64::NAN, |row| median(&row.kib_per_session));
    goal("memory per idle session on the TLS door", "<= 14 KiB".into(), format!("{kib:.1} KiB"), kib <= 14.0);
    goal(
        "allocations, and copies of the frame, per delivery, besides the seal",
        "0, 0".into(),
        "0, 0 (`tests/allocations.rs`)".into(),
        true,
    );
    administration_goals(&mut goal, &results.administration);
    let slowest = results.steps.rows.iter().filter(|row| row.name.starts_with("hep_to_events/"));
    let slowest = slowest.map(|row| row.elements as f64 * 1e9 / row.nanos).min_by(f64::total_cmp).unwrap_or(f64::NAN);
    goal(
        "HEP datagrams to events, one core",
        ">= 200,000 per second".into(),
        format!("{} per second", thousands(slowest)),
        slowest >= 200_000.0,
    );
    out.push_str(
        "\nThe goals begin at ten sessions: with one, all that an event costs falls on a single delivery, and the ratios are\n\
         larger, as the tables show.\n\n",
    );
    sizing(out, fanout);
}

/// What the figures mean for who plans a gateway.
fn sizing(out: &mut String, results: &FanoutResults) {
    // The recorded call between two phones: 16 events, 4 of them with keys.
    const EVENTS: f64 = 16.0;
    let calls = |sessions: usize| {
        let row = of(results, Peer::CallgateKeys, Shape::OneInFlight).find(|row| row.sessions == sessions);
        let micros = row.map_or(f64::NAN, |row| median(&row.cpu_micros));
        thousands(1e6 / (micros * EVENTS * sessions as f64))
    };
    let _ = writeln!(
        out,
        "For planning: a call between two phones is some 16 events. If each leaves by itself, as when calls come one by one,\n\
         with keys and records, a core of this machine carries {} calls per second for 10 apps that monitor both phones, and {}\n\
         for 100; in bursts it carries more. Plan with half of it.\n",
        calls(10),
        calls(100)
    );
}

fn deliveries(out: &mut String, results: &FanoutResults) {
    let rounds = results.rows.first().map_or(0, |row| row.cpu_micros.len());
    let _ = writeln!(out, "## Deliveries\n\n{rounds} rounds of {} s each.\n", results.seconds);
    for (shape, title, file) in
        [(Shape::OneInFlight, "One event in flight", "one-in-flight.svg"), (Shape::FlatOut, "Flat out", "flat-out.svg")]
    {
        let _ = writeln!(out, "### {title}\n\n![{title}](performance/{file})\n");
        out.push_str("CPU time of the server per delivery, microseconds:\n\n");
        table(out, results, shape, |row| {
            format!("{} ({})", digits(median(&row.cpu_micros)), digits(least(&row.cpu_micros)))
        });
        out.push_str("As a ratio to `bare-batch`:\n\n");
        table(out, results, shape, |row| ratio(results, row).map_or("-".into(), |ratio| format!("{ratio:.2}")));
        out.push_str("Deliveries per second, as far as the load could take them:\n\n");
        table(out, results, shape, |row| thousands(median(&row.deliveries_per_second)));
        out.push_str(
            "From the permission to publish to the app, p50 / p99, microseconds (wall clock: worth little here):\n\n",
        );
        table(out, results, shape, |row| {
            format!("{} / {}", thousands(median(&row.p50_micros)), thousands(median(&row.p99_micros)))
        });
    }
}

/// One row per number of sessions, one column per server.
fn table(out: &mut String, results: &FanoutResults, shape: Shape, cell: impl Fn(&FanoutRow) -> String) {
    let mut sessions: Vec<usize> = results.rows.iter().map(|row| row.sessions).collect();
    sessions.sort_unstable();
    sessions.dedup();
    let names: Vec<&str> = PEERS.iter().map(|peer| peer.name()).collect();
    let _ = writeln!(out, "| sessions | {} |\n|{}", names.join(" | "), " --- |".repeat(PEERS.len() + 1));
    for count in sessions {
        let cells =
            PEERS.map(|peer| of(results, peer, shape).find(|row| row.sessions == count).map_or("-".into(), &cell));
        let _ = writeln!(out, "| {count} | {} |", cells.join(" | "));
    }
    out.push('\n');
}

/// What it costs to measure, in a run of its own.
fn metrics(out: &mut String, results: &FanoutResults) {
    let rounds = results.rows.first().map_or(0, |row| row.cpu_micros.len());
    let _ = writeln!(
        out,
        "## Metrics\n\nWhat the metrics cost that `callgate serve` records: counters, and the histogram of the time from the hub to the\n\
         sockets, for which a clock is read twice for each batch. CPU time of the server per delivery, microseconds, without and\n\
         with them, in a run of its own; {rounds} rounds of {} s each, on {} cores of {}, virtual, {}.\n\n\
         | load | sessions | call states | measured | ratio | keys | measured | ratio |\n|{}",
        results.seconds,
        results.machine.cores,
        results.machine.processor,
        results.machine.system,
        " --- |".repeat(8),
    );
    for (shape, name) in [(Shape::OneInFlight, "one in flight"), (Shape::FlatOut, "flat out")] {
        for row in of(results, Peer::Callgate, shape) {
            let cpu = |peer| {
                let same = of(results, peer, shape).find(|other| other.sessions == row.sessions);
                same.map_or((f64::NAN, f64::NAN), |row| (median(&row.cpu_micros), least(&row.cpu_micros)))
            };
            let _ = write!(out, "| {name} | {} |", row.sessions);
            for (without, with) in
                [(Peer::Callgate, Peer::CallgateMeasured), (Peer::CallgateKeys, Peer::CallgateKeysMeasured)]
            {
                let (without, with) = (cpu(without), cpu(with));
                for (median, least) in [without, with] {
                    let _ = write!(out, " {} ({}) |", digits(median), digits(least));
                }
                let _ = write!(out, " {:.2} |", with.0 / without.0);
            }
            out.push('\n');
        }
    }
    out.push('\n');
}

fn handshakes(out: &mut String, results: &HandshakeResults) {
    let _ = writeln!(
        out,
        "## Handshakes\n\nFull mutual handshakes, {} at once; with Callgate also Hello and Open, each answered, with a bare\n\
         server one request and its answer. {} connections in each of {} rounds.\n\n\
         | server | CPU, microseconds | per second |\n| --- | --- | --- |",
        results.at_once,
        thousands(results.handshakes as f64),
        results.rows.first().map_or(0, |row| row.cpu_micros.len()),
    );
    for row in &results.rows {
        let cpu = format!("{:.0} ({:.0})", median(&row.cpu_micros), least(&row.cpu_micros));
        let _ = writeln!(out, "| {} | {cpu} | {} |", row.peer.name(), thousands(median(&row.per_second)));
    }
    out.push('\n');
}

fn memory(out: &mut String, results: &MemoryResults) {
    let _ = writeln!(
        out,
        "## Memory\n\nGrowth of the server's resident memory by {} sessions that monitor one device and have nothing to do, and\n\
         what the server does in that time. Buffers of the kernel are not in it.\n\n\
         | server | KiB per session | CPU, per mille of a core |\n| --- | --- | --- |",
        thousands(results.sessions as f64),
    );
    for row in &results.rows {
        let kib = format!("{:.1} ({:.1})", median(&row.kib_per_session), least(&row.kib_per_session));
        let _ = writeln!(out, "| {} | {kib} | {:.2} |", row.peer.name(), median(&row.idle_cpu_per_mille));
    }
    out.push('\n');
}

fn administration_goals(
    goal: &mut impl FnMut(&str, String, String, bool),
    AdministrationResults { rows, sessions, .. }: &AdministrationResults,
) {
    const MOST_MILLIS: f64 = 5.0;
    let mut p99 = |what: &str, of: fn(&AdministrationRow) -> &Quantiles| {
        let shown =
            rows.iter().map(|row| format!("{} at {}", millis(of(row).p99), thousands(row.deliveries_per_second)));
        let shown: Vec<String> = shown.collect();
        let met = rows.iter().all(|row| of(row).p99 <= MOST_MILLIS * 1000.0);
        goal(what, format!("p99 <= {MOST_MILLIS} ms"), format!("{} deliveries per second", shown.join(", ")), met);
    };
    p99(&format!("a change of rights, from durable to its acknowledgement, {sessions} sessions"), |row| {
        &row.acknowledged
    });
    p99("from the acknowledgement until a session has the message about its rights", |row| &row.told);
    p99("from the acknowledgement until a session whose certificate was revoked has its last message", |row| {
        &row.closed
    });
    let after: usize = rows.iter().map(|row| row.keys_after_acknowledgement).sum();
    goal("keys that leave after the acknowledgement", "0".into(), after.to_string(), after == 0);
}

fn administration(out: &mut String, results: &AdministrationResults) {
    let AdministrationResults { users, sessions, seconds, rows, machine } = results;
    let Machine { processor, cores, system } = machine;
    let _ = writeln!(
        out,
        "## Administration\n\nWhile {sessions} sessions of {users} users get events with keys, an administrator changes one thing after\n\
         the other: a user loses its SRTP group and gets it back, all users get a device and lose it, a certificate is revoked.\n\
         {seconds} s for each load, on {cores} cores of {processor}, virtual, {system}, the gateway on one of them; milliseconds,\n\
         p50 / p99 / most. The store's flush is apart: a change waits for it, and so does a\n\
         bare write of one value, which is done by turns with the changes. What is told and closed is counted from the\n\
         acknowledgement on, as whoever asked for the change hears it; 0 is before it. An event's way from the switch to the app is the floor for what goes through the same\n\
         queues.\n"
    );
    let heads: Vec<String> =
        rows.iter().map(|row| format!("{} deliveries per second", thousands(row.deliveries_per_second))).collect();
    let _ = writeln!(out, "| | {} |\n|{}", heads.join(" | "), " --- |".repeat(rows.len() + 1));
    let mut line = |what: &str, cell: &dyn Fn(&AdministrationRow) -> String| {
        let cells: Vec<String> = rows.iter().map(cell).collect();
        let _ = writeln!(out, "| {what} | {} |", cells.join(" | "));
    };
    let shown = |times: &Quantiles| format!("{} / {} / {}", millis(times.p50), millis(times.p99), millis(times.most));
    line("changes", &|row| row.changes.to_string());
    line("a bare write to the store", &|row| shown(&row.bare_commit));
    line("a change, until it is durable", &|row| shown(&row.commit));
    line("from there until the acknowledgement", &|row| shown(&row.acknowledged));
    line("from the acknowledgement until a session is told", &|row| shown(&row.told));
    line("from the acknowledgement until a session is closed", &|row| shown(&row.closed));
    line("an event, from the switch to the app", &|row| shown(&row.delivery));
    line("keys that waited and did not leave", &|row| row.withheld.to_string());
    line("keys that left after the acknowledgement", &|row| row.keys_after_acknowledgement.to_string());
    out.push('\n');
}

/// Microseconds as milliseconds.
fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1000.0)
}

fn steps(out: &mut String, results: &StepsResults) {
    out.push_str(
        "## Single steps\n\nCPU time, by `benches/pipeline.rs`; the hand-over is between two threads, and both are counted.\n\n\
         | step | nanoseconds each | per second of one core |\n| --- | --- | --- |\n",
    );
    for row in &results.rows {
        let nanos = row.nanos / row.elements as f64;
        let _ = writeln!(out, "| {} | {} | {} |", row.name, digits(nanos), thousands(1e9 / nanos));
    }
    out.push('\n');
}

fn of(results: &FanoutResults, peer: Peer, shape: Shape) -> impl Iterator<Item = &FanoutRow> {
    results.rows.iter().filter(move |row| row.peer == peer && row.shape == shape)
}

fn ratio(results: &FanoutResults, row: &FanoutRow) -> Option<f64> {
    let bare = of(results, Peer::BareBatch, row.shape).find(|bare| bare.sessions == row.sessions)?;
    Some(median(&row.cpu_micros) / median(&bare.cpu_micros))
}

fn handshake_ratio(results: &HandshakeResults) -> f64 {
    let cpu = |peer| results.rows.iter().find(|row| row.peer == peer).map_or(f64::NAN, |row| median(&row.cpu_micros));
    cpu(Peer::Callgate) / cpu(Peer::BareBatch)
}

/// Three digits that mean something.
fn digits(value: f64) -> String {
    match value {
        value if value >= 100.0 => thousands(value),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        value => format!("{value:.3}"),
    }
}

/// A whole number with its thousands apart.
fn thousands(value: f64) -> String {
    let text = format!("{value:.0}");
    let mut out = String::new();
    for (at, digit) in text.char_indices() {
        if at > 0 && (text.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
