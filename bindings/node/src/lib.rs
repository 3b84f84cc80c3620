//! The native half of the Node package: core's calls on threads of our own, their results as plain objects.
//!
//! `index.js` is its only caller. It has checked the types of what it passes, and it turns the outcomes of failed
//! calls into exceptions; no call in here throws for a reason that a user could have.

mod arguments;
mod handle;
mod memory;
mod outcome;
mod pager;
mod promise;
mod results;
mod threads;

use hypeman_core::{Kind, Phase, VERSION, panic};
use napi_derive::napi;

use crate::outcome::Outcome;

#[napi(module_exports)]
fn load() {
    panic::quiet();
}

/// The version of the library.
#[napi]
pub fn version() -> &'static str {
    VERSION
}

/// A code that errors may have, and the HTTP status that the vendor's client would see.
#[napi(object, object_from_js = false)]
pub struct Code {
    /// The code string.
    pub code: &'static str,
    /// The HTTP status.
    pub status: u32,
}

/// Every code that errors may have.
#[napi]
pub fn codes() -> Vec<Code> {
    Kind::ALL
        .iter()
        .map(|kind| kind.fact())
        .map(|fact| Code { code: fact.code, status: fact.http_status.into() })
        .collect()
}

/// Every phase that progress may name.
#[napi]
pub fn phases() -> Vec<&'static str> {
    Phase::ALL.iter().map(|phase| phase.as_str()).collect()
}

/// Panics on purpose: the outcome shows that this build keeps panics inside.
#[napi]
pub fn selftest_panic() -> Outcome<()> {
    Outcome(panic::selftest())
}
