//! What the kernel tells by name.

use std::ffi::{CStr, CString};

/// The text called `name`; `None` where there is none.
pub(super) fn text(name: &CStr) -> Option<String> {
    let mut bytes = vec![0_u8; 4096];
    let mut len = bytes.len();
    // SAFETY: the name ends with a zero; the kernel writes at most `len` bytes to `bytes`, and how many to `len`.
    let done = unsafe {
        libc::sysctlbyname(name.as_ptr(), bytes.as_mut_ptr().cast(), &raw mut len, std::ptr::null_mut(), 0)
    };
    if done != 0 {
        return None;
    }
    bytes.truncate(len);
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(len));
    CString::new(bytes).ok()?.into_string().ok()
}
