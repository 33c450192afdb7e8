#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| callgate::cti::fuzzing::session(data));
