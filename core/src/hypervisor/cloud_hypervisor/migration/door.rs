//! A socket in a directory of ours at which the two sides of a migration meet.

use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::hypervisor::Peer;
use crate::sys::disk;
use crate::sys::socket::{self, PATH_BYTES};

const SOCKET: &str = "handover";

/// The place of the socket. The file is removed when this is dropped, whoever made it.
#[derive(Debug)]
pub(super) struct Door {
    path: PathBuf,
    directory: File,
}

impl Door {
    /// Nothing is made yet.
    pub(super) fn new(directory: &Path, opened: &File) -> Result<Self> {
        let failed = |e: io::Error| Error::io("open", directory, &e);
        Ok(Self { path: directory.join(SOCKET), directory: opened.try_clone().map_err(failed)? })
    }

    /// As `unix:` URLs have it. An address holds 107 bytes: a longer path leads through our descriptor of its directory.
    pub(super) fn url(&self) -> String {
        if self.path.as_os_str().len() <= PATH_BYTES {
            return format!("unix:{}", self.path.display());
        }
        format!("unix:/proc/{}/fd/{}/{SOCKET}", std::process::id(), self.directory.as_raw_fd())
    }

    /// Listens. Who may enter the directory may connect.
    pub(super) fn listen(&self) -> Result<UnixListener> {
        let failed = |e: io::Error| Error::io("listen at", &self.path, &e);
        let short = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", self.directory.as_raw_fd()));
        let listener = socket::listen_at(&short).map_err(failed)?;
        std::fs::set_permissions(&short, Permissions::from_mode(0o666)).map_err(failed)?;
        Ok(listener)
    }

    /// A connection of `peer`, if it has come; those of others are dropped.
    pub(super) fn accept(&self, listener: &UnixListener, peer: &Peer) -> Result<Option<UnixStream>> {
        let failed = |e: io::Error| Error::io("listen at", &self.path, &e);
        match socket::accept(listener) {
            Ok(stream) => {
                let (pid, _) = socket::peer(&stream).map_err(failed)?;
                Ok((pid == peer.pid).then_some(stream))
            }
            Err(e) if socket::is_tick(&e) => Ok(None),
            Err(e) => Err(failed(e)),
        }
    }

    /// Connects to whom the other side made it for; `None` as long as it did not.
    pub(super) fn connect(&self) -> Result<Option<UnixStream>> {
        match socket::connect(&self.path) {
            Ok(stream) => Ok(Some(stream)),
            Err(e)
                if socket::is_tick(&e)
                    || matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                Ok(None)
            }
            Err(e) => Err(Error::io("connect to", &self.path, &e)),
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        disk::remove_if_any(&self.directory, SOCKET);
    }
}
