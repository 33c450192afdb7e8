//! One frame of each kind, byte by byte, for whoever writes a client in another language.
//!
//! To renew the files after a change of the protocol: `UPDATE=1 cargo test -p callgate-wire --test golden`. Version 1 only
//! adds, so a change of a file that is there already is a change of the protocol that breaks apps.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "golden/to_app.rs"]
mod to_app;
#[path = "golden/to_gateway.rs"]
mod to_gateway;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

use callgate_wire::{
    FrameDecoder, MAX_FRAME_BEFORE_OPEN, encode_frame,
    v1::{ToApp, ToGateway},
};
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, ReflectMessage, Value, text_format::FormatOptions};

const PACKAGE: &str = "callgate.cti.v1";

/// A message and the file that holds its frame.
struct Vector<M> {
    name: &'static str,
    about: &'static str,
    message: M,
}

#[test]
fn frames_to_the_gateway_are_the_committed_bytes() {
    to_gateway::vectors().iter().for_each(check::<ToGateway>);
}

#[test]
fn frames_to_the_app_are_the_committed_bytes() {
    to_app::vectors().iter().for_each(check::<ToApp>);
}

#[test]
fn every_field_of_every_message_is_in_a_vector() {
    let mut seen = BTreeSet::new();
    for vector in to_gateway::vectors() {
        note_fields(&dynamic("ToGateway", &vector.message.encode_to_vec()), &mut seen);
    }
    for vector in to_app::vectors() {
        note_fields(&dynamic("ToApp", &vector.message.encode_to_vec()), &mut seen);
    }
    let missing: Vec<_> = pool()
        .all_messages()
        .flat_map(|message| {
            // A message without fields is there if its name is.
            let fields = message.fields().map(|field| field.full_name().to_owned()).collect::<Vec<_>>();
            std::iter::once(message.full_name().to_owned()).chain(fields)
        })
        .filter(|name| !seen.contains(name))
        .collect();
    assert!(missing.is_empty(), "no vector has {missing:#?}");
}

#[test]
fn every_file_belongs_to_a_vector() {
    if env::var_os("UPDATE").is_some() {
        return;
    }
    let names = to_gateway::vectors().into_iter().map(|vector| vector.name);
    let names: BTreeSet<_> = names.chain(to_app::vectors().into_iter().map(|vector| vector.name)).map(file).collect();
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<_> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    assert_eq!(files, names);
}

fn check<M: Message + Default + PartialEq + std::fmt::Debug>(vector: &Vector<M>) {
    let Vector { name, about, message } = vector;
    let kind = if name.starts_with("to_app") { "ToApp" } else { "ToGateway" };
    let mut frame = Vec::new();
    encode_frame(message, &mut frame);
    if env::var_os("UPDATE").is_some() {
        fs::write(file(name), render(kind, about, &frame)).unwrap();
    }

    let committed = fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (bytes, text) = parse(&committed);
    assert_eq!(frame, bytes, "{name}: the message encodes to other bytes");
    let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
    decoder.extend(&bytes);
    assert_eq!(decoder.next_message::<M>().unwrap().as_ref(), Some(message), "{name}");
    assert_eq!(decoder.buffered(), 0, "{name}");
    let descriptor = pool().get_message_by_name(&format!("{PACKAGE}.{kind}")).unwrap();
    let read = DynamicMessage::parse_text_format(descriptor, &text).unwrap();
    assert_eq!(read.encode_to_vec(), bytes[4..], "{name}: the text and the bytes differ");
    assert_eq!(committed, render(kind, about, &frame), "{name}");
}

/// The file of a frame: what it is, its bytes, and the message in protobuf's text format.
fn render(kind: &str, about: &str, frame: &[u8]) -> String {
    let hex = frame.chunks(16).map(|row| row.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "));
    let hex = hex.collect::<Vec<_>>().join("\n");
    let pretty = FormatOptions::new().pretty(true);
    let text = dynamic(kind, &frame[4..]).to_text_format_with_options(&pretty);
    format!("# {kind}: {about}\n\n{hex}\n\n{}\n", text.trim_end()).replace("\n\n\n", "\n\n")
}

fn parse(file: &str) -> (Vec<u8>, String) {
    let mut parts = file.splitn(3, "\n\n");
    let (_about, hex, text) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
    let bytes = hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    (bytes, text.to_owned())
}

/// Notes the names of all messages and fields that are set in `message`.
fn note_fields(message: &DynamicMessage, seen: &mut BTreeSet<String>) {
    seen.insert(message.descriptor().full_name().to_owned());
    for (field, value) in message.fields() {
        seen.insert(field.full_name().to_owned());
        if let Kind::Enum(values) = field.kind() {
            let numbers = value.as_list().map_or_else(|| vec![value.clone()], <[Value]>::to_vec);
            for number in numbers {
                assert!(values.get_value(number.as_enum_number().unwrap()).is_some(), "{field:?} is {number:?}");
            }
        }
        let values = value.as_list().unwrap_or(std::slice::from_ref(value));
        values.iter().filter_map(Value::as_message).for_each(|inner| note_fields(inner, seen));
    }
}

fn dynamic(kind: &str, bytes: &[u8]) -> DynamicMessage {
    let descriptor = pool().get_message_by_name(&format!("{PACKAGE}.{kind}")).unwrap();
    DynamicMessage::decode(descriptor, bytes).unwrap()
}

fn pool() -> DescriptorPool {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    protox::Compiler::new([proto]).unwrap().open_files(["callgate/cti/v1/cti.proto"]).unwrap().descriptor_pool()
}

fn file(name: &str) -> PathBuf {
    folder().join(format!("{name}.txt"))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}
