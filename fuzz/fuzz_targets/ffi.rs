#![no_main]

use std::ffi::{CString, c_char};
use std::sync::Once;

// Brings in the functions that the driver calls.
use hypeman as _;

unsafe extern "C" {
    fn calls_prepare(root: *const c_char);
    fn calls_play(data: *const u8, size: usize) -> u64;
}

static PREPARED: Once = Once::new();

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    PREPARED.call_once(|| {
        let root = format!("/dev/shm/hm-calls-{}", std::process::id());
        std::fs::create_dir(&root).unwrap();
        let root = CString::new(root).unwrap();
        // SAFETY: a C string; it is called once.
        unsafe { calls_prepare(root.as_ptr()) };
    });
    // SAFETY: the bytes of the input.
    unsafe { calls_play(input.as_ptr(), input.len()) };
});
