//! What a VMM does: memory of its own whose faults someone else answers.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::linux::{FEATURE_REMOVE, Span};

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    range: Span,
    mode: u64,
    ioctls: u64,
}

nix::ioctl_readwrite!(api, 0xAA, 0x3F, Api);
nix::ioctl_readwrite!(register, 0xAA, 0x00, Register);

/// Anonymous memory that was never touched, with the descriptor of its faults.
pub(crate) struct Guest {
    pub(crate) base: u64,
    pub(crate) bytes: usize,
    pub(crate) uffd: OwnedFd,
}

// SAFETY: the memory is only touched through volatile reads and writes of single bytes and whole pages whose
// users keep out of each other's way.
unsafe impl Sync for Guest {}

impl Guest {
    /// Fails where this process may not have a userfaultfd, or there are no huge pages.
    pub(crate) fn new(bytes: usize, has_huge_pages: bool, more_features: u64) -> io::Result<Self> {
        let kind = if has_huge_pages { libc::MAP_HUGETLB } else { libc::MAP_NORESERVE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | kind;
        // SAFETY: a new mapping, wherever the kernel likes.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: takes flags alone; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, for us.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let mut hello = Api { api: 0xAA, features: FEATURE_REMOVE | more_features, ioctls: 0 };
        // SAFETY: `hello` is what this request takes.
        unsafe { api(uffd.as_raw_fd(), &raw mut hello) }?;
        let range = Span { start: base as u64, len: bytes as u64 };
        let mut wish = Register { range, mode: 1, ioctls: 0 };
        // SAFETY: `wish` is what this request takes, and names our own mapping.
        unsafe { register(uffd.as_raw_fd(), &raw mut wish) }?;
        Ok(Self { base: base as u64, bytes, uffd })
    }

    /// Reads the page, or what there is, from `at` on, as a guest would: waits until it is there.
    pub(crate) fn read(&self, at: usize, out: &mut [u8]) {
        assert!(at + out.len() <= self.bytes);
        // SAFETY: within our mapping, which lives as long as `self`.
        unsafe {
            std::ptr::copy_nonoverlapping((self.base as *const u8).add(at), out.as_mut_ptr(), out.len())
        };
    }

    pub(crate) fn write(&self, at: usize, byte: u8) {
        assert!(at < self.bytes);
        // SAFETY: as in `read`.
        unsafe { (self.base as *mut u8).add(at).write_volatile(byte) };
    }

    /// Gives memory back, as a balloon does.
    pub(crate) fn remove(&self, at: usize, bytes: usize) {
        assert!(at + bytes <= self.bytes);
        let start = (self.base as usize + at) as *mut libc::c_void;
        // SAFETY: a part of our own mapping, which no reference points into.
        assert_eq!(unsafe { libc::madvise(start, bytes, libc::MADV_DONTNEED) }, 0);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, which no one uses any more.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.bytes) };
    }
}
