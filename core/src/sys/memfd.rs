//! Files in memory, without a name and without a disk.

use std::fs::File;
use std::io;

/// Makes an empty one. What is written to it takes memory of the host until its last descriptor is closed.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
pub(crate) fn create() -> io::Result<File> {
    use nix::sys::memfd::{MFdFlags, memfd_create};

    Ok(File::from(memfd_create(c"libhypeman", MFdFlags::MFD_CLOEXEC)?))
}

/// Fails: this system has none.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
pub(crate) fn create() -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}
