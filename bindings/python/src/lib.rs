//! `libhypeman._native`: the native half of the Python package. Private: people import `libhypeman`, whose Python
//! half has the signatures, the result types and the exceptions.
//!
//! It converts and hands over; every rule is core's. No call holds the GIL while core works, and no panic leaves.

mod arguments;
mod errors;
mod gate;
mod handle;
mod results;

use pyo3::prelude::*;

/// The native half of libhypeman.
#[pymodule(gil_used = false)]
mod _native {
    use hypeman_core::{
        CompressionState, Durability, HypervisorKind, InstanceState, Kind, Origin, Phase, SnapshotKind, panic,
    };
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    #[pymodule_export]
    use crate::gate::CancelToken;
    #[pymodule_export]
    use crate::handle::Handle;

    #[pymodule_export]
    const VERSION: &str = hypeman_core::VERSION;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        panic::quiet();
        let errors = Kind::ALL.map(|kind| {
            let fact = kind.fact();
            (fact.class, fact.code, fact.number, fact.http_status)
        });
        module.add("ERRORS", errors.to_vec())?;
        module.add("NAMES", names(module.py())?)
    }

    /// The names that core knows, by the enumeration of `_types.py` that must have them.
    fn names(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
        let names = PyDict::new(py);
        names.set_item("SnapshotKind", texts(&SnapshotKind::KNOWN, SnapshotKind::as_str))?;
        names.set_item("CompressionState", texts(&CompressionState::KNOWN, CompressionState::as_str))?;
        names.set_item("HypervisorKind", texts(&HypervisorKind::KNOWN, HypervisorKind::as_str))?;
        names.set_item("InstanceState", texts(&InstanceState::ALL, |state| state.as_str()))?;
        names.set_item("Origin", texts(&[Origin::Registered, Origin::Server], |origin| origin.as_str()))?;
        names.set_item("Durability", texts(&[Durability::Full, Durability::Relaxed], |kept| kept.as_str()))?;
        names.set_item("Phase", texts(&Phase::ALL, |phase| phase.as_str()))?;
        Ok(names)
    }

    fn texts<T>(all: &[T], name: impl Fn(&T) -> &str) -> Vec<&str> {
        all.iter().map(name).collect()
    }

    /// Panics inside the library, so that a test sees that it becomes `InternalError`.
    #[pyfunction]
    fn selftest_panic(py: Python<'_>) -> PyResult<()> {
        crate::gate::short(py, panic::selftest)
    }
}
