//! The committed messages are what the .proto makes today. To renew them: `UPDATE=1 cargo test -p callgate-wire`.

use std::{env, fs, path::Path};

#[test]
fn committed_code_equals_what_the_proto_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let files = protox::Compiler::new([root.join("../../proto")])
        .unwrap()
        .include_source_info(true)
        .open_files(["callgate/cti/v1/cti.proto"])
        .unwrap()
        .file_descriptor_set();
    prost_build::Config::new()
        .bytes(["."])
        .skip_debug([
            ".callgate.cti.v1.SrtpKey",
            ".callgate.cti.v1.ScramAuth",
            ".callgate.cti.v1.AuthChallenge",
            ".callgate.cti.v1.AuthResponse",
        ])
        .out_dir(out)
        .compile_fds(files)
        .unwrap();
    let made = fs::read_to_string(out.join("callgate.cti.v1.rs")).unwrap();

    let committed = root.join("src/generated/callgate.cti.v1.rs");
    if env::var_os("UPDATE").is_some() {
        fs::write(&committed, &made).unwrap();
    }
    assert!(
        fs::read_to_string(&committed).unwrap() == made,
        "cti.proto and the committed code differ: run `UPDATE=1 cargo test -p callgate-wire`"
    );
}
