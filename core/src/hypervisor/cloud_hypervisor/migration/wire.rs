//! The wire of a migration: requests of 16 bytes, behind some of them a payload, and an answer of 16 bytes to each.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::super::NAME;
use super::super::image::STATE_BYTES;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::socket::{self, is_tick};

const FRAME_BYTES: usize = 16;

/// The only version of the protocol so far, which `Start` carries.
const VERSION: [u8; 2] = [0, 0];

const OK: u16 = 1;

/// What one side asks of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Start,
    Config,
    State,
    /// The end; the guest goes on at the other side.
    Complete,
    /// One memory slot of the guest: its number, and its memory as a descriptor.
    MemoryFd,
    /// The end; the guest stays paused.
    CompletePaused,
}

impl Command {
    const ALL: [(Self, u16); 6] = [
        (Self::Start, 1),
        (Self::Config, 2),
        (Self::State, 3),
        (Self::Complete, 5),
        (Self::MemoryFd, 7),
        (Self::CompletePaused, 8),
    ];

    fn number(self) -> u16 {
        Self::ALL.iter().find(|(command, _)| *command == self).map_or(0, |(_, number)| *number)
    }
}

/// One side of a migration.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: UnixStream,
    /// The API socket of the cloud-hypervisor at the other end, for people.
    api_socket: PathBuf,
    /// How long the other side may be silent.
    patience: Duration,
}

impl Wire {
    pub(crate) fn new(stream: UnixStream, api_socket: PathBuf, patience: Duration) -> Self {
        Self { stream, api_socket, patience }
    }

    /// The next request and the bytes of its payload, which is still to be read.
    pub(crate) fn request(&self, limit: &Limit) -> Result<(Command, u64)> {
        let mut frame = [0; FRAME_BYTES];
        self.read(&mut frame, limit)?;
        let (number, [header @ .., _, _, _, _], length) = split(frame);
        let known = Command::ALL.iter().find(|(_, known)| *known == number);
        let Some((command, _)) = known else {
            return Err(self.fault(&format!("sent the unknown request {number}")));
        };
        if *command == Command::Start && header != VERSION {
            return Err(self.fault("speaks a newer migration protocol"));
        }
        Ok((*command, length))
    }

    /// The payload of a request.
    pub(crate) fn payload(&self, bytes: u64, limit: &Limit) -> Result<Vec<u8>> {
        if bytes > STATE_BYTES {
            return Err(self.fault(&format!("announced a text of {bytes} bytes")));
        }
        // Grows as it comes: what is announced may never be sent.
        let mut text = Vec::new();
        while let Some(left) = usize::try_from(bytes).ok().and_then(|bytes| bytes.checked_sub(text.len()))
            && left > 0
        {
            let start = text.len();
            text.resize(start + left.min(1 << 20), 0);
            self.read(text.get_mut(start..).unwrap_or_default(), limit)?;
        }
        Ok(text)
    }

    /// The payload of [`Command::MemoryFd`].
    pub(crate) fn memory(&self, limit: &Limit) -> Result<(u32, File)> {
        let mut slot = [0; 4];
        let file = self.read(&mut slot, limit)?;
        let file = file.ok_or_else(|| self.fault("announced memory and sent none"))?;
        Ok((u32::from_le_bytes(slot), file))
    }

    /// Says that the last request was done.
    pub(crate) fn confirm(&self, limit: &Limit) -> Result<()> {
        self.write(&frame(OK, 0), None, limit)
    }

    /// Asks for `command` and waits until it was done.
    pub(crate) fn ask(
        &self,
        command: Command,
        payload: &[u8],
        file: Option<&File>,
        limit: &Limit,
    ) -> Result<()> {
        self.write(&frame(command.number(), payload.len() as u64), None, limit)?;
        self.write(payload, file, limit)?;
        let mut answer = [0; FRAME_BYTES];
        self.read(&mut answer, limit)?;
        if split(answer).0 == OK {
            return Ok(());
        }
        let message = format!("{NAME} refused {command:?} of the VM that it is to load; its log says why");
        Err(Error::new(Kind::Hypervisor, message).at(&self.api_socket))
    }

    fn read(&self, mut buffer: &mut [u8], limit: &Limit) -> Result<Option<File>> {
        let until = Instant::now() + self.patience;
        let mut file = None;
        while !buffer.is_empty() {
            match socket::receive(&self.stream, buffer) {
                Ok((0, _)) => return Err(self.gone()),
                Ok((count, came)) => {
                    // Of several, all but the first are closed.
                    file = came.into_iter().next().or(file);
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
                Err(e) => self.wait_or(&e, until, limit)?,
            }
        }
        Ok(file)
    }

    fn write(&self, mut left: &[u8], mut file: Option<&File>, limit: &Limit) -> Result<()> {
        let until = Instant::now() + self.patience;
        while !left.is_empty() {
            match socket::send(&self.stream, left, file.map(AsFd::as_fd)) {
                Ok(sent) => {
                    left = left.get(sent..).unwrap_or_default();
                    file = None;
                }
                Err(e) => self.wait_or(&e, until, limit)?,
            }
        }
        Ok(())
    }

    fn wait_or(&self, error: &io::Error, until: Instant, limit: &Limit) -> Result<()> {
        if !is_tick(error) {
            return Err(self.gone());
        }
        limit.check()?;
        if Instant::now() < until {
            return Ok(());
        }
        let message = format!("{NAME} said nothing for {} s in a migration", self.patience.as_secs());
        Err(Error::new(Kind::Timeout, message).at(&self.api_socket))
    }

    fn gone(&self) -> Error {
        self.fault("gave up handing over the VM; its log says why")
    }

    pub(crate) fn fault(&self, what: &str) -> Error {
        let shown = self.api_socket.display();
        Error::new(Kind::Hypervisor, format!("the {NAME} at {shown} {what}")).at(&self.api_socket)
    }
}

fn frame(number: u16, length: u64) -> [u8; FRAME_BYTES] {
    let [low, high] = number.to_le_bytes();
    let [a, b, c, d, e, f, g, h] = length.to_le_bytes();
    [low, high, 0, 0, 0, 0, 0, 0, a, b, c, d, e, f, g, h]
}

fn split(frame: [u8; FRAME_BYTES]) -> (u16, [u8; 6], u64) {
    let [low, high, i, j, k, l, m, n, a, b, c, d, e, f, g, h] = frame;
    (u16::from_le_bytes([low, high]), [i, j, k, l, m, n], u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}
