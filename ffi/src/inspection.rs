//! An inspection: getters.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use hypeman_core::{Capture, PayloadFile};

use crate::border::{c_string, free, json, lend, look, present};
use crate::snapshot::Snapshot;

/// A snapshot from inside: its files, and how it was captured. Immutable; any thread may read it; outlives the
/// handle.
pub struct Inspection {
    snapshot: Snapshot,
    files: Vec<File>,
    allocated_bytes: u64,
    generation: u64,
    capture: Facts,
    whole: hypeman_core::Inspection,
}

struct File {
    path: CString,
    size_bytes: u64,
    allocated_bytes: u64,
}

/// The facts of a capture that have a getter; each is absent where it is not known.
#[derive(Default)]
struct Facts {
    source_state: Option<CString>,
    paused_ms: Option<f64>,
    saving_memory_ms: Option<f64>,
    copying_disks_ms: Option<f64>,
    hypervisor_version: Option<CString>,
    memory_format: Option<CString>,
    memory_file: Option<CString>,
    state_format: Option<CString>,
    libhypeman_version: Option<CString>,
}

impl From<hypeman_core::Inspection> for Inspection {
    fn from(whole: hypeman_core::Inspection) -> Self {
        let hypeman_core::Inspection { snapshot, files, allocated_bytes, capture, generation } =
            whole.clone();
        Self {
            snapshot: snapshot.into(),
            files: files.into_iter().map(File::from).collect(),
            allocated_bytes,
            generation,
            capture: capture.map(Facts::from).unwrap_or_default(),
            whole,
        }
    }
}

impl From<PayloadFile> for File {
    fn from(file: PayloadFile) -> Self {
        let PayloadFile { path, size_bytes, allocated_bytes } = file;
        Self { path: c_string(path), size_bytes, allocated_bytes }
    }
}

impl From<Capture> for Facts {
    fn from(capture: Capture) -> Self {
        let Capture {
            source_state,
            paused_ms,
            saving_memory_ms,
            copying_disks_ms,
            hypervisor_version,
            memory_format,
            memory_file,
            state_format,
            host: _, // texts that are compared as a whole: they are in the JSON
            libhypeman_version,
        } = capture;
        Self {
            source_state: Some(c_string(source_state)),
            paused_ms,
            saving_memory_ms,
            copying_disks_ms,
            hypervisor_version: hypervisor_version.map(c_string),
            memory_format: memory_format.map(c_string),
            memory_file: memory_file.map(c_string),
            state_format: state_format.map(c_string),
            libhypeman_version: Some(c_string(libhypeman_version)),
        }
    }
}

/// Returns the snapshot. Borrowed from the inspection; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_snapshot(inspection: Option<&Inspection>) -> *const Snapshot {
    look(inspection, ptr::null(), |inspection| ptr::from_ref(&inspection.snapshot))
}

/// Returns the number of regular files in the payload.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_file_count(inspection: Option<&Inspection>) -> usize {
    look(inspection, 0, |inspection| inspection.files.len())
}

/// Returns the path of a file beneath guest/, in the order of paths, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_file_path(
    inspection: Option<&Inspection>,
    index: usize,
) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.files.get(index).map(|file| &file.path)))
}

/// Returns the apparent size of a file in bytes, 0 past the last.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_file_size_bytes(inspection: Option<&Inspection>, index: usize) -> u64 {
    look(inspection, 0, |inspection| inspection.files.get(index).map_or(0, |file| file.size_bytes))
}

/// Returns the bytes that a file occupies on the disk, 0 past the last.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_file_allocated_bytes(
    inspection: Option<&Inspection>,
    index: usize,
) -> u64 {
    look(inspection, 0, |inspection| inspection.files.get(index).map_or(0, |file| file.allocated_bytes))
}

/// Returns the bytes that the payload occupies on the disk, blocks that are shared with other files among them.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_allocated_bytes(inspection: Option<&Inspection>) -> u64 {
    look(inspection, 0, |inspection| inspection.allocated_bytes)
}

/// Returns what the source did when the capture began, or NULL where libhypeman did not make the snapshot. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_source_state(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.source_state.as_ref()))
}

/// Puts into ms_out how long the guest did not run for the sake of the snapshot, in milliseconds, and returns 1; or
/// returns 0 where the VM was not paused for it.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_paused_ms(
    inspection: Option<&Inspection>,
    ms_out: Option<&mut MaybeUninit<f64>>,
) -> i32 {
    present(ms_out, look(inspection, None, |inspection| inspection.capture.paused_ms))
}

/// Puts into ms_out the part of the pause in which the VMM wrote its state and memory, and returns 1; or returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_saving_memory_ms(
    inspection: Option<&Inspection>,
    ms_out: Option<&mut MaybeUninit<f64>>,
) -> i32 {
    present(ms_out, look(inspection, None, |inspection| inspection.capture.saving_memory_ms))
}

/// Puts into ms_out the part of the pause in which disks were cloned or copied, and returns 1; or returns 0.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_copying_disks_ms(
    inspection: Option<&Inspection>,
    ms_out: Option<&mut MaybeUninit<f64>>,
) -> i32 {
    present(ms_out, look(inspection, None, |inspection| inspection.capture.copying_disks_ms))
}

/// Returns the version that the VMM gave of itself, or NULL. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_hypervisor_version(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.hypervisor_version.as_ref()))
}

/// Returns what the memory file is, "qemu-stream", "qemu-mapped-ram", "cloud-hypervisor-ranges" or
/// "raw", or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_memory_format(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.memory_format.as_ref()))
}

/// Returns the path of the memory file beneath guest/, without the suffix of a compressed one, or NULL where there is
/// none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_memory_file(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.memory_file.as_ref()))
}

/// Returns the version of the form of the VMM's own state, where that tells it (firecracker), or NULL. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_state_format(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.state_format.as_ref()))
}

/// Returns how often the memory was handed out, by restores and forks, each of which has a number of its own.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_generation(inspection: Option<&Inspection>) -> u64 {
    look(inspection, 0, |inspection| inspection.generation)
}

/// Returns the version of the libhypeman that captured it, or NULL where another program did. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_libhypeman_version(inspection: Option<&Inspection>) -> *const c_char {
    look(inspection, ptr::null(), |inspection| lend(inspection.capture.libhypeman_version.as_ref()))
}

/// Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_to_json(inspection: Option<&Inspection>) -> *mut c_char {
    json(inspection, |inspection| serde_json::to_string(&inspection.whole))
}

/// Frees an inspection, its snapshot included. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_inspection_free(inspection: Option<Box<Inspection>>) {
    free(inspection);
}
