//! Statuses: core's table of error kinds as numbers of C.

use std::ffi::{CStr, c_char};
use std::ptr;

use hypeman_core::Kind;

/// What a call answers. The numbers never change and are never reused; newer libraries may answer others.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It was done.
    Ok = 0,
    /// The arguments break a rule of the API; nothing was touched.
    InvalidRequest = 1,
    /// There is no such instance or snapshot.
    NotFound = 2,
    /// A name is taken, or an id prefix is ambiguous.
    Conflict = 3,
    /// The instance or snapshot is in a state that does not allow this.
    InvalidState = 4,
    /// The hypervisor, file system or platform cannot do this.
    NotSupported = 5,
    /// A file of the store is damaged or hostile.
    Corrupt = 6,
    /// The snapshot does not fit this VMM or host.
    Incompatible = 7,
    /// The disk or a quota is full.
    NoSpace = 8,
    /// The operating system refused access, or the file system is read-only.
    Permission = 9,
    /// Someone else is using it; try again later.
    Busy = 10,
    /// The VMM refused or failed; the message has its own words.
    Hypervisor = 11,
    /// The time limit of the call, or of the VMM, was passed.
    Timeout = 12,
    /// The call was cancelled by its token or callback.
    Cancelled = 13,
    /// Any other error of the operating system.
    Io = 14,
    /// The handle was shut down, or belongs to the process that forked this one.
    Closed = 15,
    /// A defect of this library.
    Internal = 16,
}

/// A kind's row: its status and its code. Does not build where core's table has another number.
macro_rules! row {
    ($kind:ident) => {{
        const CODE: &str = Kind::$kind.fact().code;
        const BYTES: [u8; CODE.len() + 1] = terminated(CODE);
        const TEXT: &CStr = match CStr::from_bytes_with_nul(&BYTES) {
            Ok(text) => text,
            Err(_) => panic!("a code has no NUL in it"),
        };
        const { assert!(Status::$kind as i32 == Kind::$kind.fact().number) };
        (Status::$kind, TEXT)
    }};
}

const fn terminated<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let (kept, _) = bytes.split_at_mut(text.len());
    kept.copy_from_slice(text.as_bytes());
    bytes
}

const fn row(kind: Kind) -> (Status, &'static CStr) {
    match kind {
        Kind::InvalidRequest => row!(InvalidRequest),
        Kind::NotFound => row!(NotFound),
        Kind::Conflict => row!(Conflict),
        Kind::InvalidState => row!(InvalidState),
        Kind::NotSupported => row!(NotSupported),
        Kind::Corrupt => row!(Corrupt),
        Kind::Incompatible => row!(Incompatible),
        Kind::NoSpace => row!(NoSpace),
        Kind::Permission => row!(Permission),
        Kind::Busy => row!(Busy),
        Kind::Hypervisor => row!(Hypervisor),
        Kind::Timeout => row!(Timeout),
        Kind::Cancelled => row!(Cancelled),
        Kind::Io => row!(Io),
        Kind::Closed => row!(Closed),
        Kind::Internal => row!(Internal),
    }
}

impl Status {
    pub(crate) const fn of(kind: Kind) -> Self {
        row(kind).0
    }

    /// The code string of a number, where this version knows it.
    pub(crate) fn code(number: i32) -> Option<&'static CStr> {
        if number == Self::Ok as i32 {
            return Some(c"ok");
        }
        Kind::ALL.into_iter().find(|kind| kind.fact().number == number).map(|kind| row(kind).1)
    }
}

/// Returns the stable code string of a status, such as "not_found" for HYPEMAN_STATUS_NOT_FOUND and "ok" for
/// HYPEMAN_STATUS_OK. Static text; NULL for a number that this version does not know.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_status_code(status: i32) -> *const c_char {
    Status::code(status).map_or(ptr::null(), CStr::as_ptr)
}

/// Returns the HTTP status that a server would answer in place of a status, such as 404 for HYPEMAN_STATUS_NOT_FOUND
/// and 200 for HYPEMAN_STATUS_OK; 0 for a number that this version does not know.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_status_http(status: i32) -> i32 {
    if status == Status::Ok as i32 {
        return 200;
    }
    Kind::ALL
        .into_iter()
        .find(|kind| kind.fact().number == status)
        .map_or(0, |kind| kind.fact().http_status.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_cores_table_has_its_number_and_code() {
        for kind in Kind::ALL {
            assert_eq!(Status::of(kind) as i32, kind.fact().number);
            assert_eq!(Status::code(kind.fact().number).unwrap().to_str().unwrap(), kind.fact().code);
        }
        assert_eq!(Status::code(0), Some(c"ok"));
        assert_eq!(Status::code(99), None);
        assert!(hypeman_status_code(-1).is_null());
        assert_eq!((hypeman_status_http(0), hypeman_status_http(2), hypeman_status_http(99)), (200, 404, 0));
    }
}
