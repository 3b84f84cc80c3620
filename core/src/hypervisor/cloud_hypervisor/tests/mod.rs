//! The driver against a scripted cloud-hypervisor that fails at every step, and against the real one.

mod faults;
mod load;
mod migration;
mod model;
mod offload;
mod real;
mod scripted;

use std::fs::File;
use std::path::Path;

use super::CloudHypervisor;
use crate::call::{Call, Cancel, Limit};
use crate::error::Result;
use crate::hypervisor::{CaptureTarget, Captured, LoadSource, MemoryBackend, Vmm};

/// What a create asks of the driver, up to the resume.
fn walk(vm: &mut CloudHypervisor, directory: &Path, limit: &Limit) -> Result<Captured> {
    vm.run_state(limit)?;
    vm.prepare(limit)?;
    let directory_fd = File::open(directory).unwrap();
    let target = CaptureTarget {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        over_last: false,
        vendor_forms_only: false,
    };
    vm.check_reach(&target)?;
    vm.pause(limit)?;
    vm.capture(&target, limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        Ok(())
    })
}

/// The snapshot in `directory`, where nothing has moved.
fn source<'a>(directory: &'a Path, directory_fd: &'a File, memory: MemoryBackend<'a>) -> LoadSource<'a> {
    LoadSource {
        directory,
        directory_fd,
        seen_as: directory,
        memory_format: Some("cloud-hypervisor-ranges"),
        memory_bytes: None,
        memory,
        tracks_changes: false,
        moved: &[],
        network_overrides: &[],
    }
}

/// Loads without a limit.
fn load(vm: &mut CloudHypervisor, source: &LoadSource<'_>) -> Result<()> {
    vm.load(source, &Limit::default(), &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        Ok(())
    })
}
