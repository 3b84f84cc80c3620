//! A pager that serves memory. `_pager.py` is its only caller.

use std::path::PathBuf;
use std::sync::Arc;

use hypeman_core::Pager as Served;
use pyo3::prelude::*;

use crate::gate::{self, CancelToken};
use crate::handle::{Handle, watch};
use crate::results;

/// Serves the memory of a snapshot.
#[pyclass(frozen, module = "libhypeman._native")]
pub(crate) struct Pager {
    /// A wait goes on with its own share when it is dropped here.
    pager: Arc<Served>,
    /// Keeps the data directory open: VMs must not lose their memory because the `Hypeman` was forgotten.
    _handle: Py<Handle>,
}

impl Pager {
    pub(crate) fn new(pager: Served, handle: Py<Handle>) -> Self {
        Self { pager: Arc::new(pager), _handle: handle }
    }
}

#[pymethods]
impl Pager {
    fn snapshot_id(&self) -> String {
        self.pager.snapshot_id().to_owned()
    }

    fn socket(&self) -> PathBuf {
        self.pager.socket().to_owned()
    }

    fn metrics<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        results::pager_metrics(py, gate::short(py, || self.pager.metrics())?)
    }

    fn wait(
        &self,
        py: Python<'_>,
        timeout: Option<f64>,
        cancel: Option<PyRef<'_, CancelToken>>,
    ) -> PyResult<()> {
        let pager = Arc::clone(&self.pager);
        gate::long(py, watch(py, timeout, None, cancel)?, move |call| pager.wait(call))
    }

    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        gate::short(py, || self.pager.stop())
    }
}

impl Drop for Pager {
    /// Stops without the GIL: that waits for threads.
    fn drop(&mut self) {
        let _ = Python::try_attach(|py| py.detach(|| self.pager.stop()));
    }
}
