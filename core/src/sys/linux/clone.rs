//! Copies that the file system or the kernel makes itself.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::copy_file_range;

nix::ioctl_write_int!(ficlone, 0x94, 9);

/// Makes `target`, a new and empty file, share all blocks of `source` (FICLONE); `false` where the file system or the files
/// cannot. Elsewhere another file may take the place of `target`, so it is opened anew by whoever goes on with it.
pub(crate) fn reflink(source: &File, target: &File) -> Result<bool, Errno> {
    #[expect(clippy::cast_sign_loss, reason = "an open descriptor is not negative")]
    let fd = source.as_raw_fd() as libc::c_ulong;
    // SAFETY: FICLONE takes a descriptor by value and touches no memory of ours; both files are open.
    match unsafe { ficlone(target.as_raw_fd(), fd) } {
        Ok(_) => Ok(true),
        Err(
            Errno::EINVAL
            | Errno::EOPNOTSUPP
            | Errno::EXDEV
            | Errno::ETXTBSY
            | Errno::EISDIR
            | Errno::ENOTTY
            | Errno::ENOSYS
            | Errno::EPERM,
        ) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Copies up to `len` bytes without a buffer of ours, and tells how many; none where the kernel or the file system cannot.
pub(crate) fn copy_range(
    (source, from): (&File, i64),
    (target, to): (&File, i64),
    len: usize,
) -> Result<usize, Errno> {
    let (mut from, mut to) = (from, to);
    loop {
        return match copy_file_range(source, Some(&mut from), target, Some(&mut to), len) {
            Err(Errno::EINTR) => continue,
            Err(
                Errno::EXDEV
                | Errno::EINVAL
                | Errno::EOPNOTSUPP
                | Errno::ENOSYS
                | Errno::EPERM
                | Errno::ETXTBSY,
            ) => Ok(0),
            copied => copied,
        };
    }
}
