//! What the audit log on the disk has of it all, also as `callgate audit` tells it.

use std::{
    collections::HashMap,
    fmt, fs,
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use callgate::audit::{Entry, Folder, Lines};
use serde_json::Value;

use crate::{
    operator::{DEVICES, USERS},
    seen::{All, Key, Place},
    soak::{CONFIG, Ended, callgate},
};

/// What the log has.
#[derive(Default)]
pub struct OnRecord {
    pub records: u64,
    pub segments: usize,
    keys: usize,
    exact: usize,
    /// Where each disclosure ends.
    disclosed: HashMap<Key, Vec<Place>>,
    /// How often sessions were opened, less how often they were closed.
    open: HashMap<String, i64>,
    /// Changes that are done.
    done: u64,
}

/// Every key that an app saw was on record before, and by whoever asks exactly these are found; the log is as it was written,
/// and with the checkpoint that was exported it is found if its end is cut off.
pub fn assert_all_is_on_record(folder: &Path, ended: &Ended) -> OnRecord {
    let log = folder.join("audit");
    let mut on_record = OnRecord::read(&log);
    assert!(on_record.segments > 2, "{} segments", on_record.segments);
    let open: Vec<_> = on_record.open.iter().filter(|(_, open)| **open != 0).collect();
    assert!(open.is_empty(), "opened and not closed on record, or the other way round: {open:?}");
    assert_eq!(on_record.done, ended.acknowledged, "changes that are done on record, and acknowledged");

    let seen = &ended.seen;
    for (key, places) in &seen.keys {
        let disclosed = on_record.disclosed.get(key).map_or(&[][..], Vec::as_slice);
        assert!(places.len() <= disclosed.len(), "seen {places:?}, on record {disclosed:?}: {key:?}");
        for (seen, disclosed) in places.iter().zip(disclosed) {
            assert!(disclosed <= seen, "seen when the log ended at {seen:?}, on record at {disclosed:?}: {key:?}");
        }
        on_record.keys += places.len();
    }
    for user in USERS {
        on_record.exact += assert_found(folder, seen, &["--user", user], |key| key.user == user);
    }
    for (device, _) in DEVICES {
        assert_found(folder, seen, &["--device", device], |key| key.device == device);
    }
    let calls: Vec<_> = seen.keys.keys().map(|key| &*key.call).collect();
    for call in [calls.iter().min(), calls.iter().max()].into_iter().flatten() {
        assert_found(folder, seen, &["--call", call], |key| key.call == *call);
    }

    let (code, told) = verify(folder, &["--config", CONFIG]);
    assert_eq!((code, &told["sound"], &told["found"]), (0, &true.into(), &0.into()), "{told}");
    assert_eq!((&told["last"], &told["signed"]), (&on_record.records.into(), &on_record.records.into()), "{told}");
    assert_a_cut_tail_is_found(folder, &log, &ended.exported);
    on_record
}

impl OnRecord {
    fn read(folder: &Path) -> Self {
        let mut all = Self::default();
        for segment in Folder::read(folder).unwrap().segments() {
            all.segments += 1;
            let (mut lines, mut end) = (Lines::open(&segment.path).unwrap(), 0);
            while let Some(line) = lines.next().unwrap() {
                end += line.bytes.len() as u64 + 1;
                if let Some(entry) = Entry::read(line.bytes) {
                    all.records += 1;
                    all.take(&entry, line.bytes, (segment.number, end));
                }
            }
        }
        all
    }

    fn take(&mut self, entry: &Entry<'_>, line: &[u8], place: Place) {
        let session = || entry.session.as_deref().unwrap().to_owned();
        match &*entry.record {
            "disclosed" => {
                for receiver in &entry.receivers {
                    let [session, user, instance, _] = receiver.split(':').collect::<Vec<_>>()[..] else { panic!() };
                    let text = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().unwrap().to_owned();
                    let key = Key {
                        session: session.into(),
                        user: user.into(),
                        instance: instance.into(),
                        device: text(&entry.device),
                        call: text(&entry.call),
                        stream: text(&entry.stream),
                        generation: entry.generation.unwrap(),
                        fingerprint: text(&entry.fingerprint),
                    };
                    self.disclosed.entry(key).or_default().push(place);
                }
            }
            "opened" => *self.open.entry(session()).or_default() += 1,
            "closed" => *self.open.entry(session()).or_default() -= 1,
            "administration" => {
                let line: Value = serde_json::from_slice(line).unwrap();
                // Those of many certificates that went with their user belong to the user's removal.
                let is_besides = line["verb"] == "revoke" && line["detail"] == "the user was removed";
                // What the gateway does by itself at its start.
                let is_start = line["verb"] == "seed" || line["verb"] == "start";
                self.done += u64::from(line["outcome"] == "done" && !is_besides && !is_start);
            }
            _ => {}
        }
    }
}

impl fmt::Display for OnRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, segments, keys, exact, .. } = self;
        write!(
            f,
            "each of the {keys} keys was on record before, {exact} of them are found exactly so, \
             {records} records in {segments} segments verify"
        )
    }
}

/// What `callgate audit find` answers is what those saw who are asked for. Of a session that was lost without a word some may
/// not have arrived. How many keys those have seen that were told of their end.
fn assert_found(folder: &Path, seen: &All, asked: &[&str], is_asked: impl Fn(&Key) -> bool) -> usize {
    let mut find = callgate(folder, &["audit", "find", "--config", CONFIG, "--json"]);
    let mut find = find.args(asked).stdout(Stdio::piped()).spawn().unwrap();
    let mut found: HashMap<Key, usize> = HashMap::new();
    for line in BufReader::new(find.stdout.take().unwrap()).lines() {
        *found.entry(serde_json::from_str(&line.unwrap()).unwrap()).or_default() += 1;
    }
    assert!(find.wait().unwrap().success(), "{asked:?}");
    let mut exact = 0;
    for (key, places) in seen.keys.iter().filter(|(key, _)| is_asked(key)) {
        let found = found.get(key).copied().unwrap_or(0);
        assert!(places.len() <= found, "{asked:?}: seen {} times and found {found}: {key:?}", places.len());
    }
    for (key, found) in found {
        assert!(is_asked(&key), "{asked:?} was not asked for: {key:?}");
        if seen.ends.get(&key.session) == Some(&true) {
            let seen = seen.keys.get(&key).map_or(0, Vec::len);
            assert_eq!(found, seen, "{asked:?}: found and seen: {key:?}");
            exact += seen;
        }
    }
    exact
}

/// Of a copy the end is cut off: in front of the record that was signed when the checkpoint was exported, and a line only.
fn assert_a_cut_tail_is_found(folder: &Path, log: &Path, exported: &str) {
    fs::write(folder.join("exported.jsonl"), exported).unwrap();
    let signed = serde_json::from_str::<Value>(exported).unwrap()["checkpoint"].as_u64().unwrap();
    let whole = verify(folder, &["--log", "audit", "--key", "audit.key"]).1["last"].as_u64().unwrap();
    for (checkpoint, from) in [("exported.jsonl", signed), ("audit-checkpoints.jsonl", whole)] {
        let copy = folder.join(format!("cut-from-{from}"));
        copy_without(log, &copy, from);
        let copy = copy.to_str().unwrap();
        let of_copy = ["--log", copy, "--key", "audit.key"];
        let (code, told) = verify(folder, &of_copy);
        assert_eq!((code, &told["last"]), (0, &(from - 1).into()), "nothing else is wrong with it: {told}");
        let (code, told) = verify(folder, &[&of_copy[..], &["--checkpoint", checkpoint]].concat());
        let text = told["findings"][0]["text"].as_str().unwrap();
        assert!(code == 1 && text.contains(&format!("the log ends with record {}", from - 1)), "{code}: {told}");
    }
}

/// A copy of the log without its records from this one on.
fn copy_without(log: &Path, copy: &Path, from: u64) {
    fs::create_dir(copy).unwrap();
    for segment in Folder::read(log).unwrap().segments() {
        let mut kept = Vec::new();
        let mut lines = Lines::open(&segment.path).unwrap();
        while let Some(line) = lines.next().unwrap() {
            if Entry::read(line.bytes).is_some_and(|entry| entry.n >= from) {
                break;
            }
            kept.extend_from_slice(line.bytes);
            kept.push(b'\n');
        }
        if segment.header.is_some_and(|header| header.after.n < from) {
            fs::write(copy.join(segment.path.file_name().unwrap()), kept).unwrap();
        }
    }
}

/// The exit code of `callgate audit verify`, and what it says.
fn verify(folder: &Path, arguments: &[&str]) -> (i32, Value) {
    let output = callgate(folder, &["audit", "verify", "--json"]).args(arguments).output().unwrap();
    let told = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().unwrap(), told)
}
