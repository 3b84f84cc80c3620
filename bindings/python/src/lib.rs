//! `libhypeman._native`: the native half of the Python package. Private: people import `libhypeman`, whose Python
//! half has the signatures, the result types and the exceptions.
//!
//! It converts and hands over; every rule is core's. No call holds the GIL while core works, and no panic leaves.

mod arguments;
mod errors;
mod gate;
mod handle;
mod log;
mod memory;
mod pager;
mod results;

use pyo3::prelude::*;

/// The native half of libhypeman.
#[pymodule(gil_used = false)]
mod _native {
    use std::ffi::OsString;

    use hypeman_core::{Kind, panic};
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::gate::CancelToken;
    #[pymodule_export]
    use crate::handle::Handle;
    #[pymodule_export]
    use crate::memory::{Lender, Memory};
    #[pymodule_export]
    use crate::pager::Pager;

    #[pymodule_export]
    const VERSION: &str = hypeman_core::VERSION;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        panic::quiet();
        let errors = Kind::ALL.map(|kind| {
            let fact = kind.fact();
            (fact.class, fact.code, fact.number, fact.http_status)
        });
        module.add("ERRORS", errors.to_vec())
    }

    /// Runs the `libhypeman` command with its arguments and returns its exit status. For a process that does nothing else:
    /// from then on Ctrl-C is the command's.
    #[pyfunction]
    fn command(py: Python<'_>, arguments: Vec<OsString>) -> PyResult<u8> {
        crate::gate::short(py, || Ok(hypeman_cli::run(arguments)))
    }

    /// Panics inside the library, so that a test sees that it becomes `InternalError`.
    #[pyfunction]
    fn selftest_panic(py: Python<'_>) -> PyResult<()> {
        crate::gate::short(py, panic::selftest)
    }
}
