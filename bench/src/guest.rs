//! A guest without a VMM: memory whose faults a pager answers, as Firecracker sets it up, touched by our own threads.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::ptr;
use std::time::Instant;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;

use crate::Result;

/// The size of its pages.
pub const PAGE_BYTES: u64 = 4096;

#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct Copy {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

mod request {
    #![allow(clippy::undocumented_unsafe_blocks, reason = "the macros' own; the callers say why it is safe")]
    #![allow(missing_docs, reason = "the kernel's names")]
    use super::{Api, Copy, Register};
    nix::ioctl_readwrite!(api, 0xAA, 0x3F, Api);
    nix::ioctl_readwrite!(register, 0xAA, 0x00, Register);
    nix::ioctl_readwrite!(copy, 0xAA, 0x03, Copy);
}

/// Memory that was never touched.
pub struct Guest {
    base: u64,
    bytes: u64,
    uffd: OwnedFd,
    connection: Option<UnixStream>,
}

impl Guest {
    /// A guest of `bytes`.
    pub fn new(bytes: u64) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, wherever the kernel likes.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), bytes as usize, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: takes flags alone; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | libc::O_NONBLOCK) };
        if fd < 0 {
            return Err(format!("no userfaultfd: {}", io::Error::last_os_error()).into());
        }
        // SAFETY: the kernel has just made it, for us.
        let uffd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let base = base as u64;
        let mut hello = Api { api: 0xAA, features: 1 << 3, ioctls: 0 };
        let mut wish = Register { start: base, len: bytes, mode: 1, ioctls: 0 };
        // SAFETY: these are what the requests take, and name our own mapping.
        unsafe {
            request::api(uffd.as_raw_fd(), &raw mut hello)?;
            request::register(uffd.as_raw_fd(), &raw mut wish)?;
        }
        Ok(Self { base, bytes, uffd, connection: None })
    }

    /// Hands its faults to the pager at `socket`.
    pub fn connect(&mut self, socket: &Path) -> Result<()> {
        let stream = UnixStream::connect(socket)?;
        let message = format!(
            r#"[{{"base_host_virt_addr":{},"size":{},"offset":0,"page_size":{PAGE_BYTES},"page_size_kib":{PAGE_BYTES}}}]"#,
            self.base, self.bytes
        );
        let fds = [self.uffd.as_raw_fd()];
        let slices = [io::IoSlice::new(message.as_bytes())];
        sendmsg::<()>(
            stream.as_raw_fd(),
            &slices,
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )?;
        self.connection = Some(stream);
        Ok(())
    }

    /// Touches the page at `offset`, and returns for how many microseconds that took.
    pub fn touch(&self, offset: u64) -> f64 {
        assert!(offset < self.bytes);
        let start = Instant::now();
        // SAFETY: within our mapping, which lives as long as `self`.
        std::hint::black_box(unsafe { ((self.base + offset) as *const u8).read_volatile() });
        start.elapsed().as_secs_f64() * 1e6
    }

    /// Installs `memory` at `offset`, as a VMM that fills its guest itself.
    pub fn install(&self, offset: u64, memory: &[u8]) -> Result<()> {
        let (dst, len) = (self.base + offset, memory.len() as u64);
        let mut copy = Copy { dst, src: memory.as_ptr() as u64, len, mode: 0, copied: 0 };
        // SAFETY: what the request takes; the kernel reads `memory` and writes to our own mapping.
        unsafe { request::copy(self.uffd.as_raw_fd(), &raw mut copy)? };
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // SAFETY: our own mapping, of this length, which no one uses any more.
        unsafe { libc::munmap(self.base as *mut libc::c_void, self.bytes as usize) };
    }
}

/// Runs `work` on a thread of its own that stays on one CPU.
pub fn pinned<T: Send>(cpu: u32, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let told = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut set = CpuSet::new();
            let pinned = set.set(cpu as usize).and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
            pinned
                .map_err(Into::into)
                .and_then(|()| work())
                .map_err(|error: Box<dyn std::error::Error>| error.to_string())
        });
        thread.join().map_err(|_| "a thread of a guest panicked".to_owned())?
    });
    Ok(told?)
}
