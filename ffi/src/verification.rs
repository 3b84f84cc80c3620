//! A verification: getters.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use hypeman_core::{VerifiedFile, VerifyReport};

use crate::border::{c_string, free, json, lend, look, present};

/// What was found when every byte of a snapshot was read. Paths are relative to its directory. Immutable; any thread
/// may read it; outlives the handle.
pub struct Verification {
    snapshot_id: CString,
    files: Vec<File>,
    defects: Vec<Defect>,
    whole: VerifyReport,
}

struct File {
    path: CString,
    size_bytes: u64,
    status: CString,
}

struct Defect {
    path: CString,
    kind: CString,
    offset: Option<u64>,
    size_bytes: Option<u64>,
    message: CString,
}

impl From<VerifyReport> for Verification {
    fn from(whole: VerifyReport) -> Self {
        let VerifyReport { snapshot_id, files, defects } = whole.clone();
        Self {
            snapshot_id: c_string(snapshot_id),
            files: files.into_iter().map(File::from).collect(),
            defects: defects.into_iter().map(Defect::from).collect(),
            whole,
        }
    }
}

impl From<VerifiedFile> for File {
    fn from(file: VerifiedFile) -> Self {
        let VerifiedFile { path, size_bytes, status } = file;
        Self { path: c_string(path), size_bytes, status: c_string(status.as_str()) }
    }
}

impl From<hypeman_core::Defect> for Defect {
    fn from(defect: hypeman_core::Defect) -> Self {
        let hypeman_core::Defect { path, kind, offset, size_bytes, message } = defect;
        Self {
            path: c_string(path),
            kind: c_string(kind.as_str()),
            offset,
            size_bytes,
            message: c_string(message),
        }
    }
}

/// Returns the id of the snapshot. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_snapshot_id(report: Option<&Verification>) -> *const c_char {
    look(report, ptr::null(), |report| report.snapshot_id.as_ptr())
}

/// Returns 1 when every file was checked and nothing is wrong, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_is_good(report: Option<&Verification>) -> i32 {
    look(report, 0, |report| i32::from(report.whole.is_good()))
}

/// Returns the number of files of the payload that are there.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_file_count(report: Option<&Verification>) -> usize {
    look(report, 0, |report| report.files.len())
}

/// Returns the path of a file, in the order of paths, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_file_path(
    report: Option<&Verification>,
    index: usize,
) -> *const c_char {
    look(report, ptr::null(), |report| lend(report.files.get(index).map(|file| &file.path)))
}

/// Returns the apparent size of a file in bytes, 0 past the last.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_file_size_bytes(report: Option<&Verification>, index: usize) -> u64 {
    look(report, 0, |report| report.files.get(index).map_or(0, |file| file.size_bytes))
}

/// Returns what is known of a file, or NULL past the last: "good", "damaged" (a defect names it), or "unchecked":
/// there are no checksums to compare it with, or not yet. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_file_status(
    report: Option<&Verification>,
    index: usize,
) -> *const c_char {
    look(report, ptr::null(), |report| lend(report.files.get(index).map(|file| &file.status)))
}

/// Returns the number of defects.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_count(report: Option<&Verification>) -> usize {
    look(report, 0, |report| report.defects.len())
}

/// Returns the path of the file that a defect concerns, by path and offset, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_path(
    report: Option<&Verification>,
    index: usize,
) -> *const c_char {
    look(report, ptr::null(), |report| lend(report.defects.get(index).map(|defect| &defect.path)))
}

/// Returns what kind of defect it is, or NULL past the last: "missing", "extra", "size", "content", "frame" (of a
/// compressed memory file) or "metadata". Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_kind(
    report: Option<&Verification>,
    index: usize,
) -> *const c_char {
    look(report, ptr::null(), |report| lend(report.defects.get(index).map(|defect| &defect.kind)))
}

/// Returns what is wrong, for people, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_message(
    report: Option<&Verification>,
    index: usize,
) -> *const c_char {
    look(report, ptr::null(), |report| lend(report.defects.get(index).map(|defect| &defect.message)))
}

/// Puts into offset_out where in the file the damaged part begins, and returns 1; or returns 0 where the whole file
/// is concerned, or the message names the place.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_offset(
    report: Option<&Verification>,
    index: usize,
    offset_out: Option<&mut MaybeUninit<u64>>,
) -> i32 {
    present(offset_out, look(report, None, |report| report.defects.get(index)?.offset))
}

/// Puts into bytes_out the length of the part in which the damage lies, and returns 1; or returns 0 where there is no
/// offset.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_defect_size_bytes(
    report: Option<&Verification>,
    index: usize,
    bytes_out: Option<&mut MaybeUninit<u64>>,
) -> i32 {
    present(bytes_out, look(report, None, |report| report.defects.get(index)?.size_bytes))
}

/// Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_to_json(report: Option<&Verification>) -> *mut c_char {
    json(report, |report| serde_json::to_string(&report.whole))
}

/// Frees a report. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_verification_free(report: Option<Box<Verification>>) {
    free(report);
}
