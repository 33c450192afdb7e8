//! What it costs to put the disclosure of a key on record, beside a bare `write(2)` of the same bytes into the same folder.
//!
//! Whoever gets the event is named in the record: 64 sessions in a line, as many lines as it takes, one write. Each time is
//! wall time on one thread, with the log's keeper flushing beside it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a benchmark")]

use std::{fs::File, io::Write, time::Duration};

use callgate::audit::{AuditLog, Flush, Kind, Options, Receiver, Record, Trail};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    targets = disclosures
}
criterion_main!(benches);

/// So much is in a file at most: it isn't the disk that is measured.
const MOST: u64 = 64 * 1024 * 1024;

fn disclosures(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut group = c.benchmark_group("disclosure");
    for count in [1_usize, 10, 64, 1000] {
        let place = folder.path().join(count.to_string());
        let log = AuditLog::open(options(&place)).unwrap();
        let sessions: Vec<_> = (0..count).map(|session| format!("s{:013x}", 0x0660_ea42_9d7e + session)).collect();
        let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
            for session in &sessions {
                tell(Receiver { session, user: "recorder", instance: "1", door: "tls" });
            }
        };
        let fields = [
            ("device", "1001".into()),
            ("call", "c660ea429d7e10".into()),
            ("stream", "m660ea429d7e11".into()),
            ("generation", 1_u32.into()),
            ("suite", "AES_CM_128_HMAC_SHA1_80".into()),
            ("indicator", "KEYS_AVAILABLE".into()),
            ("reason", "".into()),
            ("rule", "R16".into()),
            ("fingerprint", "4be1c07a95d2f386".into()),
        ];
        let record = Record::new(Kind::Disclosed, &fields).to(&receivers);
        let segment = place.join("log/audit-0000000001.jsonl");
        let before = segment.metadata().unwrap().len();
        log.write(&record).unwrap();
        let bytes = vec![b'x'; usize::try_from(segment.metadata().unwrap().len() - before).unwrap()];

        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(format!("record/{count}"), |b| {
            b.iter(|| {
                // When the disk has to catch up, that isn't the record's cost.
                while log.write(&record).is_err() {
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
        });
        let mut file = File::options().append(true).create(true).open(place.join("bare")).unwrap();
        let mut written = 0;
        group.bench_function(format!("write/{count}"), |b| {
            b.iter(|| {
                file.write_all(&bytes).unwrap();
                written += bytes.len() as u64;
                if written > MOST {
                    file.set_len(0).unwrap();
                    written = 0;
                }
            });
        });
    }
    group.finish();
}

fn options(place: &std::path::Path) -> Options {
    Options {
        flush: Flush::Every(Duration::from_millis(100)),
        segment_bytes: MOST,
        keep_segments: Some(2),
        reserve_bytes: 0,
        unflushed_bytes: 1024 * 1024 * 1024,
        ..Options::new(place.join("log"), place.join("audit.key"), place.join("checkpoints.jsonl"))
    }
}
