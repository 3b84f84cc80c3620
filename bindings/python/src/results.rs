//! From core's results to the classes of `_types.py`.
//!
//! Each struct is taken apart without `..`: a new field fails this build until Python has it, too.

use hypeman_core::{
    Capture, CompressionConfig, Defect, Disk, Host, Inspection, Instance, MemoryExtent, MemoryRange,
    PagerMetrics, PayloadFile, Progress, Snapshot, VerifiedFile, VerifyReport,
};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString, PyTuple};
use pyo3::{IntoPyObjectExt, ffi, intern};

type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// Kept: to import a module that is there already takes longer than to make a result.
fn types(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    static TYPES: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let types = TYPES.get_or_try_init(py, || py.import("libhypeman._types").map(Bound::unbind))?;
    Ok(types.bind(py))
}

/// Makes an object of a class of `_types.py` from all of its fields. They go straight into its slots: the `__init__` of
/// a frozen class takes longer than everything else that a short call does.
macro_rules! object {
    ($py:expr, $class:literal { $($field:ident: $value:expr),* $(,)? }) => {{
        let class = types($py)?.getattr(intern!($py, $class))?;
        let object = class.call_method1(intern!($py, "__new__"), (&class,))?;
        $(fill(&object, intern!($py, stringify!($field)), $value)?;)*
        Ok(object)
    }};
}

fn fill<'py>(
    object: &Bound<'py, PyAny>,
    slot: &Bound<'py, PyString>,
    value: impl IntoPyObject<'py>,
) -> PyResult<()> {
    let value = value.into_bound_py_any(object.py())?;
    // SAFETY: three objects that live until this returns, in a thread that is attached to the interpreter, which all of
    // them show.
    let set = unsafe { ffi::PyObject_GenericSetAttr(object.as_ptr(), slot.as_ptr(), value.as_ptr()) };
    if set == 0 { Ok(()) } else { Err(PyErr::fetch(object.py())) }
}

/// A member of an enumeration of `_names.py`, or a plain string for a name that is newer than this version.
macro_rules! named {
    ($py:expr, $enumeration:literal, $name:expr) => {{
        static MEMBERS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
        member($py, MEMBERS.get_or_try_init($py, || members($py, $enumeration))?.bind($py), $name)
    }};
}

/// The members of an enumeration by their values.
fn members(py: Python<'_>, enumeration: &str) -> PyResult<Py<PyDict>> {
    let names = py.import("libhypeman._names")?;
    Ok(names.getattr("members")?.call1((names.getattr(enumeration)?,))?.cast_into::<PyDict>()?.unbind())
}

fn member<'py>(py: Python<'py>, members: &Bound<'py, PyDict>, name: &str) -> Object<'py> {
    let name = PyString::new(py, name);
    Ok(members.get_item(&name)?.unwrap_or_else(|| name.into_any()))
}

fn moment<'py>(py: Python<'py>, text: &str) -> Object<'py> {
    static MOMENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let find = || py.import("libhypeman._record")?.getattr("moment").map(Bound::unbind);
    MOMENT.get_or_try_init(py, find)?.bind(py).call1((text,))
}

fn tuple<'py, T>(py: Python<'py>, items: Vec<T>, convert: fn(Python<'py>, T) -> Object<'py>) -> Object<'py> {
    let items = items.into_iter().map(|item| convert(py, item)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyTuple::new(py, items)?.into_any())
}

pub(crate) fn snapshot(py: Python<'_>, snapshot: Snapshot) -> Object<'_> {
    let Snapshot {
        id,
        created_at,
        kind,
        size_bytes,
        source_hypervisor,
        source_instance_id,
        source_instance_name,
        compressed_size_bytes,
        compression,
        compression_error,
        compression_state,
        name,
        tags,
        uncompressed_size_bytes,
    } = snapshot;
    let created_at = created_at.to_string();
    object!(py, "Snapshot" {
        id: id,
        created_at: moment(py, &created_at)?,
        kind: named!(py, "SnapshotKind", kind.as_str())?,
        size_bytes: size_bytes,
        source_hypervisor: named!(py, "HypervisorKind", source_hypervisor.as_str())?,
        source_instance_id: source_instance_id,
        source_instance_name: source_instance_name,
        compressed_size_bytes: compressed_size_bytes,
        compression: compression.map(|config| compression_config(py, config)).transpose()?,
        compression_error: compression_error,
        compression_state: compression_state.map(|s| named!(py, "CompressionState", s.as_str())).transpose()?,
        name: name,
        tags: tags,
        uncompressed_size_bytes: uncompressed_size_bytes,
        _created_at_text: created_at,
    })
}

pub(crate) fn instance(py: Python<'_>, instance: Instance) -> Object<'_> {
    let Instance {
        id,
        name,
        hypervisor,
        state,
        origin,
        created_at,
        api_socket,
        directory,
        disks,
        compression,
        generation,
        staging_directory,
        staging_directory_in_vmm,
    } = instance;
    let created_at = created_at.to_string();
    object!(py, "Instance" {
        id: id,
        name: name,
        hypervisor: named!(py, "HypervisorKind", hypervisor.as_str())?,
        state: named!(py, "InstanceState", state.as_str())?,
        origin: named!(py, "Origin", origin.as_str())?,
        created_at: moment(py, &created_at)?,
        api_socket: api_socket,
        directory: directory,
        disks: tuple(py, disks, disk)?,
        compression: compression.map(|config| compression_config(py, config)).transpose()?,
        generation: generation,
        staging_directory: staging_directory,
        staging_directory_in_vmm: staging_directory_in_vmm,
        _created_at_text: created_at,
    })
}

pub(crate) fn inspection(py: Python<'_>, inspection: Inspection) -> Object<'_> {
    let Inspection { snapshot: of, files, allocated_bytes, capture: how, generation } = inspection;
    object!(py, "Inspection" {
        snapshot: snapshot(py, of)?,
        files: tuple(py, files, payload_file)?,
        allocated_bytes: allocated_bytes,
        capture: how.map(|how| capture(py, how)).transpose()?,
        generation: generation,
    })
}

pub(crate) fn verify_report(py: Python<'_>, report: VerifyReport) -> Object<'_> {
    let VerifyReport { snapshot_id, files, defects } = report;
    object!(py, "VerifyReport" {
        snapshot_id: snapshot_id,
        files: tuple(py, files, verified_file)?,
        defects: tuple(py, defects, defect)?,
    })
}

pub(crate) fn memory_extent(py: Python<'_>, extent: MemoryExtent) -> Object<'_> {
    let MemoryExtent { offset, size_bytes, kind } = extent;
    object!(py, "MemoryExtent" {
        offset: offset,
        size_bytes: size_bytes,
        kind: named!(py, "ExtentKind", kind.as_str())?,
    })
}

pub(crate) fn memory_range(py: Python<'_>, range: MemoryRange) -> Object<'_> {
    let MemoryRange { guest_address, offset, size_bytes } = range;
    object!(py, "MemoryRange" { guest_address: guest_address, offset: offset, size_bytes: size_bytes })
}

pub(crate) fn pager_metrics(py: Python<'_>, metrics: PagerMetrics) -> Object<'_> {
    let PagerMetrics {
        vms,
        vms_seen,
        vms_whole,
        faults,
        copied_bytes,
        zero_bytes,
        prefetched_bytes,
        filled_bytes,
        fault_us,
        errors,
        last_error,
    } = metrics;
    object!(py, "PagerMetrics" {
        vms: vms,
        vms_seen: vms_seen,
        vms_whole: vms_whole,
        faults: faults,
        copied_bytes: copied_bytes,
        zero_bytes: zero_bytes,
        prefetched_bytes: prefetched_bytes,
        filled_bytes: filled_bytes,
        fault_us: PyTuple::new(py, fault_us)?,
        errors: errors,
        last_error: last_error,
    })
}

pub(crate) fn progress(py: Python<'_>, progress: Progress) -> Object<'_> {
    let Progress { phase, bytes_done, bytes_total } = progress;
    object!(py, "Progress" {
        phase: named!(py, "Phase", phase.as_str())?,
        bytes_done: bytes_done,
        bytes_total: bytes_total,
    })
}

fn compression_config(py: Python<'_>, config: CompressionConfig) -> Object<'_> {
    let CompressionConfig { enabled, algorithm, level } = config;
    object!(py, "CompressionConfig" { enabled: enabled, algorithm: algorithm, level: level })
}

fn disk(py: Python<'_>, disk: Disk) -> Object<'_> {
    let Disk { path, readonly } = disk;
    object!(py, "Disk" { path: path, readonly: readonly })
}

fn payload_file(py: Python<'_>, file: PayloadFile) -> Object<'_> {
    let PayloadFile { path, size_bytes, allocated_bytes } = file;
    object!(py, "PayloadFile" { path: path, size_bytes: size_bytes, allocated_bytes: allocated_bytes })
}

fn verified_file(py: Python<'_>, file: VerifiedFile) -> Object<'_> {
    let VerifiedFile { path, size_bytes, status } = file;
    object!(py, "VerifiedFile" {
        path: path,
        size_bytes: size_bytes,
        status: named!(py, "FileStatus", status.as_str())?,
    })
}

fn defect(py: Python<'_>, defect: Defect) -> Object<'_> {
    let Defect { path, kind, offset, size_bytes, message } = defect;
    object!(py, "Defect" {
        path: path,
        kind: named!(py, "DefectKind", kind.as_str())?,
        message: message,
        offset: offset,
        size_bytes: size_bytes,
    })
}

fn capture(py: Python<'_>, capture: Capture) -> Object<'_> {
    let Capture {
        source_state,
        paused_ms,
        saving_memory_ms,
        copying_disks_ms,
        hypervisor_version,
        memory_format,
        memory_file,
        state_format,
        host: on,
        libhypeman_version,
    } = capture;
    object!(py, "Capture" {
        source_state: source_state,
        host: host(py, on)?,
        libhypeman_version: libhypeman_version,
        paused_ms: paused_ms,
        saving_memory_ms: saving_memory_ms,
        copying_disks_ms: copying_disks_ms,
        hypervisor_version: hypervisor_version,
        memory_format: memory_format,
        memory_file: memory_file,
        state_format: state_format,
    })
}

fn host(py: Python<'_>, host: Host) -> Object<'_> {
    let Host { kernel, architecture, cpu_model, cpu_vendor, cpu_flags } = host;
    object!(py, "Host" {
        kernel: kernel,
        architecture: architecture,
        cpu_model: cpu_model,
        cpu_vendor: cpu_vendor,
        cpu_flags: cpu_flags,
    })
}
