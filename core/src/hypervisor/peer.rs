//! Who is at the other end of an API socket.

use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};
use crate::sys::{process, socket};

/// The process behind an API socket, so that a later opener acts on exactly that one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Peer {
    pub(crate) pid: i32,
    pub(crate) uid: u32,
    /// Start time in clock ticks since boot (field 22 of /proc/pid/stat): a reused pid differs.
    pub(crate) start_ticks: u64,
}

impl Peer {
    /// Who listens at the other end of `stream`, a connection to the `vmm` at `api_socket`. With a socket that another
    /// process opened and handed to the VMM, this is that process.
    pub(super) fn of(stream: &UnixStream, api_socket: &Path, vmm: &str) -> Result<Self> {
        let (pid, uid) = socket::peer(stream).map_err(|e| Error::io("ask who listens at", api_socket, &e))?;
        let start_ticks = process::start_ticks(pid).map_err(|e| {
            if e.kind() != std::io::ErrorKind::NotFound {
                return Error::io("read", format!("/proc/{pid}/stat"), &e);
            }
            let shown = api_socket.display();
            let seen = format!("the {vmm} at {shown} is process {pid}, which is not seen here ({e})");
            Error::new(Kind::NotSupported, seen).at(api_socket).note(format!(
                "run this program in the pid namespace of {vmm}, or above it, with /proc mounted"
            ))
        })?;
        Ok(Self { pid, uid, start_ticks })
    }

    /// Whether that very process is still there; `None` where that cannot be found out just now.
    pub(crate) fn lives(&self) -> Option<bool> {
        match process::start_ticks(self.pid) {
            Ok(start) => Some(start == self.start_ticks),
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Some(false),
            Err(_) => None,
        }
    }
}
