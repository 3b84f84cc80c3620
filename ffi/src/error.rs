//! The error object of one call.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use serde_json::{Map, Value};

use crate::border::{answer, c_path, c_string, free, json, lend, look};
use crate::status::Status;

/// What went wrong in one call: an object of its own that stays valid, whatever else is called, until
/// hypeman_error_free. Immutable; any thread may read it.
pub struct Error {
    status: Status,
    code: CString,
    message: CString,
    path: Option<CString>,
    id: Option<CString>,
    errno: Option<i32>,
    json: Map<String, Value>,
}

impl From<hypeman_core::Error> for Error {
    fn from(error: hypeman_core::Error) -> Self {
        let status = Status::of(error.kind());
        let mut json = Map::new();
        json.insert("status".into(), (status as i32).into());
        json.insert("code".into(), error.code().into());
        json.insert("message".into(), error.message().into());
        let optional = [
            ("id", error.id().map(Value::from)),
            ("path", error.path().map(|path| path.to_string_lossy().into())),
            ("errno", error.errno().map(Value::from)),
        ];
        json.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Self {
            status,
            code: c_string(error.code()),
            message: c_string(error.message()),
            path: error.path().map(c_path),
            id: error.id().map(c_string),
            errno: error.errno(),
            json,
        }
    }
}

/// Returns the status that the call answered; HYPEMAN_STATUS_OK for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_status(error: Option<&Error>) -> Status {
    look(error, Status::Ok, |error| error.status)
}

/// Returns the stable code string, such as "not_found". Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_code(error: Option<&Error>) -> *const c_char {
    look(error, ptr::null(), |error| error.code.as_ptr())
}

/// Returns what happened and what to do about it, for people; the wording may change. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_message(error: Option<&Error>) -> *const c_char {
    look(error, ptr::null(), |error| error.message.as_ptr())
}

/// Returns the path concerned, as bytes, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_path(error: Option<&Error>) -> *const c_char {
    look(error, ptr::null(), |error| lend(error.path.as_ref()))
}

/// Returns the id of the snapshot or instance concerned, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_id(error: Option<&Error>) -> *const c_char {
    look(error, ptr::null(), |error| lend(error.id.as_ref()))
}

/// Returns the error number of the operating system, or 0 where there is none.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_errno(error: Option<&Error>) -> i32 {
    look(error, 0, |error| error.errno.unwrap_or(0))
}

/// Returns the error as JSON: status, code, message and, where there are such, id, path and errno. A path that is
/// not UTF-8 has U+FFFD in place of the bytes that are not. To be freed with hypeman_string_free; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_to_json(error: Option<&Error>) -> *mut c_char {
    json(error, |error| serde_json::to_string(&error.json))
}

/// Frees an error. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_error_free(error: Option<Box<Error>>) {
    free(error);
}

/// Frees a text that a hypeman_..._to_json function returned. NULL is fine; other texts are borrowed and not to be
/// freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: such a text was made by `CString::into_raw` in this library, and the caller gives it up.
        free(Some(Box::new(unsafe { CString::from_raw(text) })));
    }
}

/// Panics inside the library and answers HYPEMAN_STATUS_INTERNAL: proves that this build keeps its panics inside
/// and off stderr.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_selftest_panic(err: Option<&mut MaybeUninit<Option<Box<Error>>>>) -> Status {
    answer(err, hypeman_core::panic::selftest)
}
