#![no_main]

// A deliberate defect, which the fuzzer must find.
libfuzzer_sys::fuzz_target!(|input: &[u8]| assert!(!input.starts_with(b"bug"), "on purpose"));
