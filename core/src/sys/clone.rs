//! Copies that the file system makes itself.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

nix::ioctl_write_int!(ficlone, 0x94, 9);

/// Makes `target` share all blocks of `source` (FICLONE); `false` where the file system or the files cannot.
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
