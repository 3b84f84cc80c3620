//! The border: what every call does with what comes in, with what goes out, and with a panic.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};

use hypeman_core::{Error, Kind, Result, panic};

use crate::error;
use crate::status::Status;

/// Whether panics of this copy of the library are silent yet. A flag and not a `Once`: a child that is forked in
/// the middle of the first call would wait for a `Once` for ever; here the worst is one line on stderr.
static QUIET: AtomicBool = AtomicBool::new(false);

fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    if !QUIET.swap(true, Ordering::AcqRel) {
        panic::quiet();
    }
    panic::guard(call)
}

/// Runs `call` and answers its status; what went wrong goes to `err`, which is NULL after a success.
pub(crate) fn answer(
    err: Option<&mut MaybeUninit<Option<Box<error::Error>>>>,
    call: impl FnOnce() -> Result<()>,
) -> Status {
    let outcome = guarded(call);
    let status = outcome.as_ref().map_or_else(|error| Status::of(error.kind()), |()| Status::Ok);
    if let Some(err) = err {
        err.write(outcome.err().map(|error| Box::new(error.into())));
    }
    status
}

/// Runs `call` and puts what it makes into `out`, which is NULL after a failure. Nothing runs without an `out`.
pub(crate) fn hand_out<T>(
    out: Option<&mut MaybeUninit<Option<Box<T>>>>,
    err: Option<&mut MaybeUninit<Option<Box<error::Error>>>>,
    call: impl FnOnce() -> Result<T>,
) -> Status {
    answer(err, || {
        let out = required(out, "the output parameter")?.write(None);
        *out = Some(Box::new(call()?));
        Ok(())
    })
}

/// Reads something of an object, or answers `otherwise` for NULL.
pub(crate) fn look<T: ?Sized, R: Copy>(object: Option<&T>, otherwise: R, read: impl FnOnce(&T) -> R) -> R {
    guarded(|| Ok(object.map_or(otherwise, read))).unwrap_or(otherwise)
}

/// Lends a text to C, NULL where there is none. It lives as long as its object.
pub(crate) fn lend(text: Option<&CString>) -> *const c_char {
    text.map_or(ptr::null(), |text| text.as_ptr())
}

/// Puts an optional number into `out`, 0 where it is absent, and tells whether it is there.
pub(crate) fn present<V: Copy + Default>(out: Option<&mut MaybeUninit<V>>, value: Option<V>) -> i32 {
    if let Some(out) = out {
        out.write(value.unwrap_or_default());
    }
    i32::from(value.is_some())
}

/// Gives a new JSON text to C, NULL where it cannot be written.
pub(crate) fn json<T>(
    object: Option<&T>,
    write: impl FnOnce(&T) -> serde_json::Result<String>,
) -> *mut c_char {
    look(object, ptr::null_mut(), |object| {
        write(object).map_or(ptr::null_mut(), |text| c_string(text).into_raw())
    })
}

/// Drops an object. A destructor that panics has no one to tell.
pub(crate) fn free<T>(object: Option<Box<T>>) {
    let _ = guarded(|| {
        drop(object);
        Ok(())
    });
}

/// Refuses NULL.
pub(crate) fn required<T>(given: Option<T>, what: &str) -> Result<T> {
    given.ok_or_else(|| invalid(format!("{what} must not be NULL")))
}

/// An `invalid_request`.
pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidRequest, message)
}

/// Reads a text from C, `None` for NULL.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that nobody changes for the time of `'t`.
pub(crate) unsafe fn text<'t>(text: *const c_char, what: &str) -> Result<Option<&'t str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL; the rest is what the caller promises.
    let bytes = unsafe { CStr::from_ptr(text) };
    bytes.to_str().map(Some).map_err(|_| invalid(format!("{what} is not UTF-8, got {bytes:?}")))
}

/// Reads a path from C, any bytes, `None` for NULL.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path(path: *const c_char) -> Option<PathBuf> {
    if path.is_null() {
        return None;
    }
    // SAFETY: not NULL; the rest is what the caller promises.
    let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

/// Reads an array from C; `None` when it is NULL and `count` is 0.
///
/// # Safety
/// `first` is NULL or points to `count` initialised values that nobody changes for the time of `'a`.
pub(crate) unsafe fn array<'a, T: Copy>(
    first: *const T,
    count: usize,
    what: &str,
) -> Result<Option<&'a [T]>> {
    if first.is_null() {
        return if count == 0 {
            Ok(None)
        } else {
            Err(invalid(format!("{what} is NULL, but its count is {count}")))
        };
    }
    let bytes = count.checked_mul(size_of::<T>()).and_then(|bytes| isize::try_from(bytes).ok());
    if bytes.is_none() || !first.is_aligned() {
        return Err(invalid(format!("{what} cannot be an array of {count}")));
    }
    // SAFETY: not NULL, aligned, and no larger than memory can hold; the rest is what the caller promises.
    Ok(Some(unsafe { std::slice::from_raw_parts(first, count) }))
}

/// Makes a text for C. A NUL within, which C cannot carry, becomes U+FFFD; the JSON of the object has it as it is.
pub(crate) fn c_string(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap_or_else(|error| {
        let bytes = error.into_vec();
        let parts: Vec<_> = bytes.split(|byte| *byte == 0).collect();
        CString::new(parts.join("\u{fffd}".as_bytes())).unwrap_or_default()
    })
}

/// Makes a path for C: its bytes as they are.
pub(crate) fn c_path(path: impl Into<PathBuf>) -> CString {
    c_string(path.into().into_os_string().into_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_not_utf_8_is_refused_and_a_path_is_not() {
        let bytes = c"/data/\xff".as_ptr();
        // SAFETY: a C literal.
        let refused = unsafe { text(bytes, "name") }.unwrap_err();
        assert_eq!(refused.kind(), Kind::InvalidRequest);
        // SAFETY: a C literal.
        assert_eq!(unsafe { path(bytes) }.unwrap().as_os_str().as_bytes(), b"/data/\xff");
    }

    #[test]
    fn an_array_that_cannot_exist_is_refused() {
        let one = 7_u64;
        // SAFETY: the first is one value; the others are refused before they are read.
        unsafe {
            assert_eq!(array(&raw const one, 1, "tags").unwrap(), Some(&[7][..]));
            assert_eq!(array::<u64>(ptr::null(), 0, "tags").unwrap(), None);
            assert!(array::<u64>(ptr::null(), 1, "tags").is_err());
            assert!(array(&raw const one, usize::MAX, "tags").is_err());
        }
    }

    #[test]
    fn a_nul_inside_a_text_is_shown_and_hides_nothing_behind_it() {
        assert_eq!(c_string("a\0b").to_str().unwrap(), "a\u{fffd}b");
    }

    #[test]
    fn a_panic_is_an_answer() {
        assert_eq!(answer(None, || panic!("on purpose")), Status::Internal);
        assert_eq!(look(Some(&1), 5, |_| panic!("on purpose")), 5);
    }
}
