//! The driver against a scripted QEMU that fails at every step, and against the real one.

mod faults;
mod greeting;
mod model;
mod real;
mod scripted;

use std::fs::File;
use std::path::Path;

use super::Qemu;
use crate::call::{Call, Cancel, Limit};
use crate::error::Result;
use crate::hypervisor::{CaptureTarget, Captured, Vmm};

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
    let target = CaptureTarget { directory, directory_fd: &directory_fd, vendor_forms_only };
    let mut last = (0, 0);
    let captured = vm.capture(&target, limit, &mut |done, total| {
        assert!(done <= total, "{done} of {total}");
        last = (done, total);
        Ok(())
    })?;
    Ok((captured, last))
}
