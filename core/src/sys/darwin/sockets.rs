//! What makes a Unix socket fit for a library: closed in programs that the host starts, no signals, any path.
//!
//! What other systems do in one call takes two here: a program that the host starts between them inherits the descriptor.

use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, socket, sockopt,
};

/// Bytes of a path that fit into a socket address, without its closing zero.
pub(crate) const PATH_BYTES: usize = 103;

/// That no signal is raised, each socket is told once.
pub(in crate::sys) const SENDING: MsgFlags = MsgFlags::empty();

/// What is received is told one by one to be closed.
pub(in crate::sys) const RECEIVING: MsgFlags = MsgFlags::empty();

/// A stream socket, connected to nothing.
pub(in crate::sys) fn stream() -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None)?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    raise_no_signal(&fd)?;
    Ok(fd)
}

/// Makes an accepted connection like a [`stream`].
pub(in crate::sys) fn like_ours(stream: &UnixStream) -> io::Result<()> {
    raise_no_signal(stream)
}

/// Makes a received descriptor like one of ours.
pub(in crate::sys) fn keep_to_ourselves(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

fn raise_no_signal(socket: impl AsFd) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open; the kernel reads `len` bytes of `on`, which is as long.
    let done =
        unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_NOSIGPIPE, (&raw const on).cast(), len) };
    Errno::result(done)?;
    Ok(())
}

/// Gives `socket` the path `path`, where no file may be, for this user alone.
pub(in crate::sys) fn bind_at(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // No one can connect before it listens.
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

/// Another path to a socket whose own is too long for an address, good while this lives.
pub(in crate::sys) struct ShortPath {
    path: PathBuf,
    directory: PathBuf,
}

impl ShortPath {
    pub(in crate::sys) fn to(long: &Path) -> io::Result<Self> {
        let long = std::path::absolute(long)?;
        let template = CString::new("/tmp/libhypeman.XXXXXX")?.into_bytes_with_nul();
        let directory = make_directory(template)?;
        let made = Self { path: directory.join("s"), directory };
        symlink(long, &made.path)?;
        Ok(made)
    }

    pub(in crate::sys) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for ShortPath {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Makes a directory of that name, with other letters for its last six, for this user alone.
fn make_directory(mut template: Vec<u8>) -> io::Result<PathBuf> {
    // SAFETY: `template` ends with a zero, and is ours to write to.
    let made = unsafe { libc::mkdtemp(template.as_mut_ptr().cast()) };
    if made.is_null() {
        return Err(io::Error::last_os_error());
    }
    template.pop();
    String::from_utf8(template).map(PathBuf::from).map_err(io::Error::other)
}

/// Pid and uid of the process at the other end.
pub(in crate::sys) fn peer(stream: &UnixStream) -> io::Result<(i32, u32)> {
    let pid = getsockopt(stream, sockopt::LocalPeerPid)?;
    let credentials = getsockopt(stream, sockopt::LocalPeerCred)?;
    Ok((pid, credentials.uid()))
}
