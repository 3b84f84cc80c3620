//! The driver against a scripted QEMU that fails at every step, and against the real one.

mod again;
mod faults;
mod greeting;
mod load;
mod model;
mod process;
mod real;
mod real_disks;
mod real_load;
mod scripted;

use std::fs::File;
use std::path::Path;

use super::Qemu;
use crate::call::{Call, Cancel, Limit};
use crate::error::Result;
use crate::hypervisor::{CaptureTarget, Captured, LoadSource, MemoryBackend, Vmm};

/// Captures into `directory` without a limit, and tells the bytes that the last report of progress had.
fn capture(vm: &mut Qemu, directory: &Path, vendor_forms_only: bool) -> Result<(Captured, (u64, u64))> {
    capture_within(vm, directory, vendor_forms_only, &Limit::default())
}

fn capture_within(
    vm: &mut Qemu,
    directory: &Path,
    vendor_forms_only: bool,
    limit: &Limit,
) -> Result<(Captured, (u64, u64))> {
    let directory_fd = File::open(directory).unwrap();
    let target = CaptureTarget {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        over_last: false,
        vendor_forms_only,
    };
    let mut last = (0, 0);
    let captured = vm.capture(&target, limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        last = (done, total);
        Ok(())
    })?;
    Ok((captured, last))
}

/// Loads what lies in `directory`, and tells the last report of progress.
fn load(vm: &mut Qemu, directory: &Path, memory_format: Option<&str>, limit: &Limit) -> Result<(u64, u64)> {
    let directory_fd = File::open(directory).unwrap();
    let mut last = (0, 0);
    vm.load(&source(directory, &directory_fd, memory_format), limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        last = (done, total);
        Ok(())
    })?;
    Ok(last)
}

/// A load without wishes.
fn source<'a>(directory: &'a Path, directory_fd: &'a File, memory_format: Option<&'a str>) -> LoadSource<'a> {
    let memory = MemoryBackend::File;
    LoadSource {
        directory,
        directory_fd,
        seen_as: directory,
        memory_format,
        memory_bytes: None,
        memory,
        tracks_changes: false,
        moved: &[],
        network_overrides: &[],
    }
}
