#![no_main]

libfuzzer_sys::fuzz_target!(init: keyloom_fuzz::start(), |bytes: &[u8]| {
    keyloom_fuzz::run(keyloom_common::fuzzing::slice, bytes)
});
