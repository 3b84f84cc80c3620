//! The driver against a scripted Firecracker that fails at every step, and against the real one.

mod diff;
mod faults;
mod load;
mod model;
mod real;
mod refuse;
mod scripted;

use std::fs::File;
use std::path::Path;

use super::Firecracker;
use crate::call::{Call, Cancel, Limit};
use crate::error::Result;
use crate::hypervisor::{CaptureTarget, Captured, LoadSource, MemoryBackend, Vmm};

/// What a create asks of the driver, up to the resume.
fn walk(vm: &mut Firecracker, directory: &Path, limit: &Limit) -> Result<Captured> {
    vm.run_state(limit)?;
    vm.prepare(limit)?;
    with_target(directory, |target| vm.check_reach(target))?;
    vm.pause(limit)?;
    capture(vm, directory, limit)
}

/// Captures into `directory`, and sees that progress only grows.
fn capture(vm: &mut Firecracker, directory: &Path, limit: &Limit) -> Result<Captured> {
    let mut last = 0;
    with_target(directory, |target| {
        vm.capture(target, limit, &mut |done, total| {
            assert!((last..=total).contains(&done), "{last}, then {done} of {total}");
            last = done;
            Ok(())
        })
    })
}

fn with_target<T>(directory: &Path, act: impl FnOnce(&CaptureTarget<'_>) -> T) -> T {
    let directory_fd = File::open(directory).unwrap();
    act(&CaptureTarget {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        over_last: false,
        vendor_forms_only: false,
    })
}

/// What a test wants loaded from `directory`, beside the plain files.
#[derive(Default)]
struct Wanted<'a> {
    pager: Option<&'a Path>,
    moved: &'a [(std::path::PathBuf, std::path::PathBuf)],
    network_overrides: &'a [(String, String)],
    memory_format: Option<&'a str>,
    memory_bytes: Option<u64>,
    tracks_changes: bool,
}

fn load(vm: &mut Firecracker, directory: &Path, wanted: &Wanted<'_>) -> Result<()> {
    let directory_fd = File::open(directory).unwrap();
    let source = LoadSource {
        directory,
        directory_fd: &directory_fd,
        seen_as: directory,
        memory_format: wanted.memory_format,
        memory_bytes: wanted.memory_bytes,
        tracks_changes: wanted.tracks_changes,
        memory: wanted.pager.map_or(MemoryBackend::File, MemoryBackend::Uffd),
        moved: wanted.moved,
        network_overrides: wanted.network_overrides,
    };
    vm.load(&source, &Limit::default(), &mut |done, total| {
        assert!(done <= total);
        Ok(())
    })
}
