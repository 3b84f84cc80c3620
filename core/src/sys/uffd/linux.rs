//! The kernel's requests.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{Event, Features};
use crate::sys::fork::ForkClosed;

/// Whether this system has it.
pub(crate) const IS_THERE: bool = true;

pub(in crate::sys) const EVENT_BYTES: usize = 32;
const EVENTS: usize = 64;

pub(in crate::sys) const EVENT_PAGEFAULT: u8 = 0x12;
const EVENT_FORK: u8 = 0x13;
const EVENT_REMOVE: u8 = 0x15;
const EVENT_UNMAP: u8 = 0x16;
const FAULT_PROTECTED: u64 = 1 << 1;
const FAULT_MINOR: u64 = 1 << 2;

const FEATURE_FORK: u64 = 1 << 1;
const FEATURE_REMAP: u64 = 1 << 2;
pub(super) const FEATURE_REMOVE: u64 = 1 << 3;

/// The type of all of its requests.
pub(in crate::sys) const UFFDIO: u8 = 0xAA;

/// The kernel's `uffdio_range`.
#[repr(C)]
pub(in crate::sys) struct Span {
    pub(in crate::sys) start: u64,
    pub(in crate::sys) len: u64,
}

/// The kernel's `uffdio_copy`.
#[repr(C)]
struct Copy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

/// The kernel's `uffdio_zeropage` and `uffdio_poison`, which are alike.
#[repr(C)]
pub(in crate::sys) struct Change {
    pub(in crate::sys) range: Span,
    pub(in crate::sys) mode: u64,
    pub(in crate::sys) changed: i64,
}

mod request {
    #![allow(clippy::undocumented_unsafe_blocks, reason = "the macros' own; the callers say why it is safe")]
    use super::{Change, Copy, Span, UFFDIO};
    nix::ioctl_read!(unregister, UFFDIO, 0x01, Span);
    nix::ioctl_read!(wake, UFFDIO, 0x02, Span);
    nix::ioctl_readwrite!(copy, UFFDIO, 0x03, Copy);
    nix::ioctl_readwrite!(zeropage, UFFDIO, 0x04, Change);
    nix::ioctl_readwrite!(poison, UFFDIO, 0x08, Change);
}

/// Another process's userfaultfd.
#[derive(Debug)]
pub(crate) struct Uffd {
    file: ForkClosed,
}

impl Uffd {
    /// Takes a descriptor that someone sent; `None` where it is no userfaultfd.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        if link.as_os_str() != "anon_inode:[userfaultfd]" {
            return Ok(None);
        }
        let uffd = Self { file: ForkClosed::new(file) };
        uffd.never_wait()?;
        Ok(Some(uffd))
    }

    /// Makes reads return at once, whatever the maker of the descriptor did to it.
    pub(crate) fn never_wait(&self) -> io::Result<()> {
        let flags = OFlag::from_bits_retain(fcntl(&self.file, FcntlArg::F_GETFL)?);
        fcntl(&self.file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(())
    }

    /// What this descriptor was made for.
    pub(crate) fn features(&self) -> io::Result<Features> {
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.raw()))?;
        let api = facts.lines().find_map(|line| line.strip_prefix("API:"));
        let bits = api.and_then(|api| u64::from_str_radix(api.split(':').nth(1)?.trim(), 16).ok());
        let bits = bits.ok_or(io::ErrorKind::InvalidData)?;
        Ok(Features {
            tells_removes: bits & FEATURE_REMOVE != 0,
            tells_forks_or_moves: bits & (FEATURE_FORK | FEATURE_REMAP) != 0,
        })
    }

    /// Appends what has happened since; nothing where nothing has.
    pub(crate) fn events(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let mut bytes = [0; EVENTS * EVENT_BYTES];
        let read = match nix::unistd::read(&self.file, &mut bytes) {
            Ok(read) => read,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        for message in bytes.chunks_exact(EVENT_BYTES).take(read / EVENT_BYTES) {
            let word = |at: usize| {
                message.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |b| u64::from_ne_bytes(*b))
            };
            events.push(match message.first().copied().unwrap_or_default() {
                EVENT_PAGEFAULT if word(8) & (FAULT_PROTECTED | FAULT_MINOR) != 0 => {
                    Event::OtherFault(word(16))
                }
                EVENT_PAGEFAULT => Event::Missing(word(16)),
                EVENT_REMOVE | EVENT_UNMAP => Event::Removed(word(8), word(16)),
                EVENT_FORK => {
                    // SAFETY: the kernel has just made this descriptor for the reader of the event, and no one
                    // else knows it.
                    drop(unsafe { OwnedFd::from_raw_fd(word(8) as RawFd) });
                    Event::Other(EVENT_FORK)
                }
                other => Event::Other(other),
            });
        }
        Ok(())
    }

    /// Puts `bytes` at `address`, as whole pages, and wakes who waits there. Returns how many of them: fewer where
    /// something came in between.
    ///
    /// # Errors
    /// `EAGAIN` while an event is to be read first, `EEXIST` where the first page is there, `ESRCH` once the process
    /// is gone.
    pub(crate) fn copy(&self, address: u64, bytes: &[u8]) -> io::Result<u64> {
        let len = bytes.len() as u64;
        let mut copy = Copy { dst: address, src: bytes.as_ptr() as u64, len, mode: 0, copied: 0 };
        // SAFETY: `copy` is what this request takes. The kernel reads `bytes`, which live longer than the call, and
        // writes to the memory of the process that made the descriptor, whose wish that is.
        let done = unsafe { request::copy(self.raw(), &raw mut copy) };
        progress(done, copy.copied)
    }

    /// Puts zero pages into `len` bytes from `address` on; otherwise as [`Uffd::copy`].
    pub(crate) fn zero(&self, address: u64, len: u64) -> io::Result<u64> {
        let mut change = Change { range: Span { start: address, len }, mode: 0, changed: 0 };
        // SAFETY: `change` is what this request takes; it changes only the process that made the descriptor.
        let done = unsafe { request::zeropage(self.raw(), &raw mut change) };
        progress(done, change.changed)
    }

    /// Makes `len` bytes from `address` on deadly to whoever touches them, and wakes who waits there.
    ///
    /// # Errors
    /// `EINVAL` before Linux 6.6; as [`Uffd::copy`].
    pub(crate) fn poison(&self, address: u64, len: u64) -> io::Result<u64> {
        let mut change = Change { range: Span { start: address, len }, mode: 0, changed: 0 };
        // SAFETY: as in `zero`.
        let done = unsafe { request::poison(self.raw(), &raw mut change) };
        progress(done, change.changed)
    }

    /// Lets whoever waits for a page in these `len` bytes look again.
    pub(crate) fn wake(&self, address: u64, len: u64) -> io::Result<()> {
        let mut span = Span { start: address, len };
        // SAFETY: `span` is what this request takes; it only wakes threads of the process that made the descriptor.
        unsafe { request::wake(self.raw(), &raw mut span) }?;
        Ok(())
    }

    /// Leaves these `len` bytes to the kernel: what is missing in them reads as zeros from now on.
    pub(crate) fn let_go(&self, address: u64, len: u64) -> io::Result<()> {
        let mut span = Span { start: address, len };
        // SAFETY: as in `wake`.
        unsafe { request::unregister(self.raw(), &raw mut span) }?;
        Ok(())
    }

    fn raw(&self) -> RawFd {
        self.file.as_fd().as_raw_fd()
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A request that was cut short says so with `EAGAIN`, and how far it came.
fn progress(done: nix::Result<libc::c_int>, bytes: i64) -> io::Result<u64> {
    match done {
        Err(nix::errno::Errno::EAGAIN) if bytes > 0 => Ok(bytes.unsigned_abs()),
        Err(errno) => Err(errno.into()),
        Ok(_) => Ok(bytes.unsigned_abs()),
    }
}
