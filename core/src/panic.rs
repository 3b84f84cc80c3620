//! The firewall: no panic crosses from this library into its host.
//!
//! Every entry of every binding runs inside [`guard`]. `panic = "abort"` would turn it off; the tests of each
//! binding panic on purpose, in the release profile.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Kind, Result};

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call` and turns a panic in it into an `internal` error.
pub fn guard<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| Err(caught(payload.as_ref())))
}

/// Makes panics silent: what they said goes into the error that [`guard`] returns, not to the host's stderr.
///
/// For bindings, whose shared object has a Rust runtime of its own, so that no one else's hook is replaced. A Rust
/// host keeps the hook that it has.
pub fn quiet() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        PLACE.with(|slot| slot.replace(place));
    }));
}

/// Panics inside [`guard`]: lets a host prove that its build of the library keeps panics inside.
///
/// # Errors
/// Always `internal`.
pub fn selftest() -> Result<()> {
    guard(|| panic!("this panic was asked for by a self-test"))
}

fn caught(payload: &(dyn Any + Send)) -> Error {
    let what = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned());
    let place = PLACE.with(RefCell::take).map(|place| format!(" at {place}")).unwrap_or_default();
    Error::new(Kind::Internal, format!("libhypeman met a defect of its own{place}: {what}; please report it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error_that_says_what_it_was() {
        let error = guard::<()>(|| panic!("number {}", 7)).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert!(error.message().contains("number 7"), "{error}");
        assert_eq!(selftest().unwrap_err().kind(), Kind::Internal);
    }
}
