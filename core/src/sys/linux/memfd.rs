//! Files in memory, without a name and without a disk.

use std::fs::File;
use std::io;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// Makes an empty one. What is written to it takes memory of the host until its last descriptor is closed.
pub(crate) fn create() -> io::Result<File> {
    Ok(File::from(memfd_create(c"libhypeman", MFdFlags::MFD_CLOEXEC)?))
}
