//! From core's errors to the exceptions of `_errors.py`: the class is the one that core's table names.

use hypeman_core::{Error, Kind};
use pyo3::prelude::*;
use pyo3::types::PyDict;

// A kind that is new needs its class there; until then nothing is built.
const _: () = assert!(Kind::ALL.len() == 16, "a kind of error has no class in _errors.py");

/// Makes the exception for `error`.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    // What stands in the way of making it (no memory, an interpreter that shuts down) is an exception, too.
    exception(py, error).map_or_else(|trouble| trouble, PyErr::from_value)
}

fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    let facts = PyDict::new(py);
    facts.set_item("path", error.path())?;
    facts.set_item("id", error.id())?;
    facts.set_item("errno", error.errno())?;
    let class = py.import("libhypeman._errors")?.getattr(error.kind().fact().class)?;
    class.call((error.message(),), Some(&facts))
}
