#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| hypeman_tests::fuzz::run("migration", input));
