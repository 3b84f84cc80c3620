//! What makes a Unix socket fit for a library: closed in programs that the host starts, no signals, any path.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, bind, getsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};

/// Bytes of a path that fit into a socket address, without its closing zero.
pub(crate) const PATH_BYTES: usize = 107;

/// Sending raises no SIGPIPE.
pub(in crate::sys) const SENDING: MsgFlags = MsgFlags::MSG_NOSIGNAL;

/// What is received is closed in programs that the host starts.
pub(in crate::sys) const RECEIVING: MsgFlags = MsgFlags::MSG_CMSG_CLOEXEC;

/// A stream socket, connected to nothing.
pub(in crate::sys) fn stream() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?)
}

/// Makes an accepted connection like a [`stream`]: it is.
pub(in crate::sys) fn like_ours(_stream: &UnixStream) -> io::Result<()> {
    Ok(())
}

/// Makes a received descriptor like one of ours: it is.
pub(in crate::sys) fn keep_to_ourselves(_file: &File) -> io::Result<()> {
    Ok(())
}

/// Gives `socket` the path `path`, where no file may be, for this user alone.
pub(in crate::sys) fn bind_at(socket: &OwnedFd, path: &Path) -> io::Result<()> {
    // The mode of the socket becomes that of the file, so that there is no moment in which others can connect.
    fchmod(socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?)
}

/// Another path to a socket whose own is too long for an address, good while this lives.
pub(in crate::sys) struct ShortPath {
    path: PathBuf,
    _directory: File,
}

impl ShortPath {
    pub(in crate::sys) fn to(long: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (long.parent(), long.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory =
            File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
        let path = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _directory: directory })
    }

    pub(in crate::sys) fn path(&self) -> &Path {
        &self.path
    }
}

/// Pid and uid of the process at the other end. The pid is 0 where this process cannot see it.
pub(in crate::sys) fn peer(stream: &UnixStream) -> io::Result<(i32, u32)> {
    let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok((credentials.pid(), credentials.uid()))
}
