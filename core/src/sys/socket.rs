//! Unix sockets of VMMs: paths of any length, waits that can be ended, descriptors passed along.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr,
    bind, connect as connect_to, getsockopt, listen, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::time::{TimeVal, TimeValLike};

/// How long one wait on such a socket lasts at most, so that its caller can look at its limit between two.
const TICK_MS: i64 = 10;

/// Bytes of a path that fit into a socket address, without its closing zero.
pub(crate) const PATH_BYTES: usize = 107;

/// Connects to the stream socket at `path`.
///
/// Reads, writes and this connect itself fail with `WouldBlock` after ten milliseconds: a server that does not accept would
/// hold its clients for ever. A path too long for an address is reached through a descriptor of its directory.
pub(crate) fn connect(path: &Path) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Before connecting: the send timeout is what bounds a connect.
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::milliseconds(TICK_MS))?;
    setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::milliseconds(TICK_MS))?;
    if path.as_os_str().len() <= PATH_BYTES {
        connect_to(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    } else {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory =
            File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(directory)?;
        let mut short = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
        short.extend_from_slice(name.as_bytes());
        connect_to(fd.as_raw_fd(), &UnixAddr::new(short.as_slice())?)?;
    }
    Ok(UnixStream::from(fd))
}

/// Whether `error` only says that a tick is over: nothing is wrong with the socket.
pub(crate) fn is_tick(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Pid and uid of the process that listens at the other end. The pid is 0 where this process cannot see it.
pub(crate) fn peer(stream: &UnixStream) -> io::Result<(i32, u32)> {
    let credentials = getsockopt(stream, sockopt::PeerCredentials)?;
    Ok((credentials.pid(), credentials.uid()))
}

/// Sends as much of `bytes` as fits, with a copy of `descriptor` beside the first of them. Raises no SIGPIPE.
pub(crate) fn send(
    stream: &UnixStream,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
) -> io::Result<usize> {
    let descriptors: Vec<_> = descriptor.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let control = if descriptors.is_empty() { &[][..] } else { &rights };
    let slices = [IoSlice::new(bytes)];
    Ok(sendmsg::<()>(stream.as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?)
}

/// Receives what has come, as much as `bytes` holds, and the files beside it; no bytes when the other end has hung up.
pub(crate) fn receive(stream: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<File>)> {
    // Room for as many as the kernel passes at once (SCM_MAX_FD): where some do not fit, those that do are lost to us, and
    // stay open.
    let mut control = nix::cmsg_space!([RawFd; 253]);
    let mut slices = [IoSliceMut::new(bytes)];
    let message =
        recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for rights in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = rights {
            // SAFETY: the kernel has just made these descriptors for this call, and no one else knows them.
            files.extend(descriptors.into_iter().map(|fd| unsafe { File::from_raw_fd(fd) }));
        }
    }
    Ok((message.bytes, files))
}

/// Listens at `path`, where no file may be, for this user alone. Accepting waits for no one.
pub(crate) fn listen_at(path: &Path) -> io::Result<UnixListener> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    // The mode of the socket becomes that of the file, so that there is no moment in which others can connect.
    fchmod(&fd, Mode::S_IRUSR | Mode::S_IWUSR)?;
    bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(UnixListener::from(fd))
}

/// Takes the next connection, whose reads and writes end after a tick; `WouldBlock` where there is none.
pub(crate) fn accept(listener: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listener.accept()?;
    tick(&stream)?;
    Ok(stream)
}

/// Makes reads and writes of an accepted connection end after a tick.
pub(crate) fn tick(stream: &UnixStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    setsockopt(stream, sockopt::SendTimeout, &TimeVal::milliseconds(TICK_MS))?;
    Ok(setsockopt(stream, sockopt::ReceiveTimeout, &TimeVal::milliseconds(TICK_MS))?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn a_socket_is_reached_however_long_its_path_is() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("d".repeat(120)).join("e".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let listener = UnixListener::bind(root.path().join("s")).unwrap();
        std::fs::rename(root.path().join("s"), deep.join("s")).unwrap();
        let stream = connect(&deep.join("s")).unwrap();
        let (pid, uid) = peer(&stream).unwrap();
        assert_eq!(u32::try_from(pid).unwrap(), std::process::id());
        assert_eq!(uid, nix::unistd::getuid().as_raw());
        drop(listener);
    }

    #[test]
    fn a_server_that_never_accepts_does_not_hold_its_clients() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        listen(&listener, Backlog::new(1).unwrap()).unwrap();
        let mut clients = Vec::new();
        let error = loop {
            match connect(&path) {
                Ok(client) => clients.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_comes_with_the_bytes_that_it_was_sent_with() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s");
        let listener = listen_at(&path).unwrap();
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let client = connect(&path).unwrap();
        let server = accept(&listener).unwrap();
        let mut bytes = [0; 8];
        assert!(is_tick(&receive(&server, &mut bytes).unwrap_err()));
        std::fs::write(root.path().join("f"), "what it holds").unwrap();
        let file = File::open(root.path().join("f")).unwrap();
        assert_eq!(send(&client, b"with", Some(file.as_fd())).unwrap(), 4);
        let (count, passed) = receive(&server, &mut bytes).unwrap();
        assert_eq!(&bytes[..count], b"with");
        assert_eq!(io::read_to_string(&passed[0]).unwrap(), "what it holds");
        drop(client);
        assert!(matches!(receive(&server, &mut bytes), Ok((0, files)) if files.is_empty()));
    }

    #[test]
    fn more_files_than_anyone_asked_for_are_all_taken_in_and_closed() {
        let (from, to) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let descriptors = [writer.as_raw_fd(); 200];
        let rights = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(from.as_raw_fd(), &[IoSlice::new(b"x")], &rights, MsgFlags::empty(), None).unwrap();
        let mut bytes = [0; 8];
        let received = receive(&to, &mut bytes);
        assert_eq!(received.map(|(count, files)| (count, files.len())).unwrap(), (1, 200));
        drop(writer);
        to.shutdown(std::net::Shutdown::Both).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let ended = io::Read::read_to_end(&mut reader, &mut Vec::new());
            let _ = tell.send(ended.unwrap());
        });
        assert_eq!(told.recv_timeout(std::time::Duration::from_secs(10)), Ok(0), "a copy was left open");
    }

    #[test]
    fn a_server_that_is_gone_refuses_and_one_that_hangs_up_raises_no_signal() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("s");
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        let listener = UnixListener::bind(&path).unwrap();
        let stream = connect(&path).unwrap();
        drop(listener);
        assert_eq!(send(&stream, b"x", None).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(connect(&path).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
