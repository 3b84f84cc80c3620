//! Lines over a unix socket, both ways, with descriptors beside those we send.
//!
//! Blocking, with ticks of 10 ms in which the limit of the call is looked at: an async runtime would panic inside a
//! host that calls from a runtime of its own.

use std::fs::File;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Peer;
use crate::sys::socket::{self, is_tick};

/// No message of QEMU's is near this size; what is larger is no QMP.
const LINE_BYTES: usize = 16 << 20;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    path: PathBuf,
    stream: UnixStream,
    received: Vec<u8>,
    /// Bytes of `received` that are known to hold no end of a line.
    searched: usize,
    broken: bool,
}

impl Wire {
    /// Connects, waiting while the queue of the server is full.
    pub(super) fn dial(path: &Path, until: Instant, limit: &Limit) -> Result<Self> {
        loop {
            limit.check()?;
            match socket::connect(path) {
                Ok(stream) => {
                    let path = path.to_owned();
                    return Ok(Self { path, stream, received: Vec::new(), searched: 0, broken: false });
                }
                Err(e) if is_tick(&e) && Instant::now() < until => {}
                Err(e) if is_tick(&e) => return Err(no_greeting(path)),
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    let shown = path.display();
                    let message =
                        format!("no QEMU listens at {shown} ({e}); start the VM, or register its socket");
                    return Err(Error::new(Kind::InvalidState, message).at(path));
                }
                Err(e) => return Err(Error::io("connect to", path, &e)),
            }
        }
    }

    /// Who listens. With a socket that another process opened and handed to QEMU, this is that process.
    pub(super) fn peer(&self) -> Result<Peer> {
        Peer::of(&self.stream, &self.path, "QEMU")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the connection, or bytes of it, were lost: nothing more can be said over it.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Sends `line` with a copy of `file` beside it; `false` when QEMU did not take it before `until`.
    pub(super) fn send(
        &mut self,
        line: &str,
        file: Option<&File>,
        until: Instant,
        limit: &Limit,
    ) -> Result<bool> {
        if self.broken {
            return Err(
                self.error(Kind::Hypervisor, "the conversation with QEMU broke off earlier".to_owned())
            );
        }
        let bytes = [line.as_bytes(), b"\n"].concat();
        let mut left = bytes.as_slice();
        let mut descriptor = file.map(AsFd::as_fd);
        while !left.is_empty() {
            match socket::send(&self.stream, left, descriptor.as_slice()) {
                Ok(sent) => {
                    descriptor = None;
                    left = left.get(sent..).unwrap_or_default();
                }
                Err(e) if is_tick(&e) => {
                    let ended = limit.check();
                    if ended.is_err() || Instant::now() >= until {
                        // Half a command spoils all that would follow it.
                        if left.len() < bytes.len() {
                            self.hang_up();
                        }
                        return ended.map(|()| false);
                    }
                }
                Err(e) => {
                    return Err(self.fault(&format!("went away ({e}); look whether its process has ended")));
                }
            }
        }
        Ok(true)
    }

    /// The next line that is not blank, or `None` when there is none before `until`.
    pub(super) fn next_line(&mut self, until: Instant, limit: &Limit) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take_line()? {
                return Ok(Some(line));
            }
            limit.check()?;
            if Instant::now() >= until {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    fn take_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let unsearched = self.received.get(self.searched..).unwrap_or_default();
            let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.received.len();
                if self.received.len() > LINE_BYTES {
                    return Err(self.fault("sent a line without an end"));
                }
                return Ok(None);
            };
            let line: Vec<u8> = self.received.drain(..=self.searched + end).collect();
            self.searched = 0;
            if !line.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
    }

    /// Waits a tick at most for more bytes.
    fn receive(&mut self) -> Result<()> {
        let mut chunk = [0; 16 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err(self.fault("closed the connection; look whether its process has ended")),
            Ok(count) => {
                self.received.extend_from_slice(chunk.get(..count).unwrap_or_default());
                Ok(())
            }
            Err(e) if is_tick(&e) => Ok(()),
            Err(e) => Err(self.fault(&format!("went away ({e}); look whether its process has ended"))),
        }
    }

    /// A breach of the protocol: the connection is of no use any more.
    pub(super) fn fault(&mut self, what: &str) -> Error {
        self.hang_up();
        self.error(Kind::Hypervisor, format!("what listens at {} {what}", self.path.display()))
    }

    /// Ends the connection at once: QEMU serves a second one only when the first is over.
    fn hang_up(&mut self) {
        self.broken = true;
        self.received = Vec::new();
        self.searched = 0;
        // It fails only where the other end has hung up before us.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    pub(super) fn error(&self, kind: Kind, message: String) -> Error {
        Error::new(kind, message).at(&self.path)
    }
}

pub(super) fn no_greeting(path: &Path) -> Error {
    let message = format!(
        "no greeting of QMP at {} within 2 s: it serves one client at a time; give libhypeman a second -qmp socket",
        path.display()
    );
    Error::new(Kind::Busy, message).at(path)
}
