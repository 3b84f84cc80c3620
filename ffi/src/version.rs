//! The version of the library that runs; the macros of the header have that of the header.

use std::ffi::{CStr, c_char};

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => panic!("a version has no NUL in it"),
};

/// Returns the version of the library that runs, such as "0.1.0". Static text; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_version() -> *const c_char {
    VERSION.as_ptr()
}
