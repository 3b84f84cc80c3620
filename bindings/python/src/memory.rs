//! An open memory image. `_memory.py` is its only caller.

use std::ffi::c_int;
use std::path::PathBuf;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use hypeman_core::{Error, Kind, MemoryImage};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice, PyTuple};
use pyo3::{PyErr, ffi};

use crate::errors::raised;
use crate::gate;
use crate::results;

/// Between two pieces of a read signals are looked for: a large one answers Ctrl-C.
const PIECE_BYTES: usize = 4 << 20;

/// The guest memory of a snapshot, open for reading.
#[pyclass(frozen, module = "libhypeman._native")]
pub(crate) struct Memory {
    /// `None` once it was closed. A read that runs then goes on with its own share.
    image: Mutex<Option<Arc<MemoryImage>>>,
}

impl Memory {
    pub(crate) fn new(image: MemoryImage) -> Self {
        Self { image: Mutex::new(Some(Arc::new(image))) }
    }

    fn image(&self, py: Python<'_>) -> PyResult<Arc<MemoryImage>> {
        // Nothing that could panic runs under this lock.
        let image = self.image.lock().unwrap_or_else(PoisonError::into_inner).clone();
        image.ok_or_else(|| {
            raised(py, &Error::new(Kind::Closed, "this memory image was closed; open the memory again"))
        })
    }
}

#[pymethods]
impl Memory {
    fn snapshot_id(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.image(py)?.snapshot_id().to_owned())
    }

    fn path(&self, py: Python<'_>) -> PyResult<PathBuf> {
        Ok(self.image(py)?.path().to_owned())
    }

    fn size_bytes(&self, py: Python<'_>) -> PyResult<u64> {
        Ok(self.image(py)?.size_bytes())
    }

    /// Reads at most `length` bytes from `offset` on, fewer only at the end of the image.
    fn read_at<'py>(&self, py: Python<'py>, offset: u64, length: u64) -> PyResult<Bound<'py, PyBytes>> {
        let image = self.image(py)?;
        let left = image.size_bytes().saturating_sub(offset);
        let length = usize::try_from(length.min(left))?;
        PyBytes::new_with(py, length, |buffer| read(py, &image, offset, buffer))
    }

    fn extents<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let image = self.image(py)?;
        let extents = gate::short(py, || image.extents())?;
        extents.into_iter().map(|extent| results::memory_extent(py, extent)).collect()
    }

    fn ranges<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let image = self.image(py)?;
        let ranges = gate::short(py, || image.ranges())?;
        ranges.into_iter().map(|range| results::memory_range(py, range)).collect()
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        gate::short(py, || {
            let image = self.image.lock().unwrap_or_else(PoisonError::into_inner).take();
            drop(image);
            Ok(())
        })
    }
}

/// What a class in Python inherits to lend its bytes: before Python 3.12 it cannot do that by itself.
#[pyclass(subclass, frozen, module = "libhypeman._native")]
pub(crate) struct Lender;

#[pymethods]
impl Lender {
    #[new]
    #[pyo3(signature = (*_arguments))]
    fn new(_arguments: &Bound<'_, PyTuple>) -> Self {
        Self
    }

    /// Lends what `self[:]` is: the bytes object, whose buffer this is, lives as long as the view.
    // Unsafe by its slot: the interpreter calls it, with a view that is to be filled.
    unsafe fn __getbuffer__(slf: &Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        match slf.as_any().get_item(PySlice::full(slf.py())) {
            Ok(bytes) => {
                // SAFETY: the interpreter gave us `view` to fill, and `bytes` is alive. It fills the view with a
                // reference to itself, or raises and clears it.
                let filled = unsafe { ffi::PyObject_GetBuffer(bytes.as_ptr(), view, flags) };
                if filled == 0 { Ok(()) } else { Err(PyErr::fetch(slf.py())) }
            }
            Err(error) => {
                // SAFETY: as above; whoever fails leaves no object in it.
                unsafe { (*view).obj = ptr::null_mut() };
                Err(error)
            }
        }
    }
}

/// Fills `buffer`, all of which the image has.
fn read(py: Python<'_>, image: &MemoryImage, offset: u64, buffer: &mut [u8]) -> PyResult<()> {
    let mut at = offset;
    for piece in buffer.chunks_mut(PIECE_BYTES) {
        py.check_signals()?;
        at += gate::short(py, || image.read_at(at, piece))? as u64;
    }
    Ok(())
}
