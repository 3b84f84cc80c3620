//! A QMP client: one JSON object a line, one command at a time, descriptors beside it.
//!
//! ```text
//! <- {"QMP": {"version": ..}}                          the greeting; only the one client that is served gets it
//! -> {"execute": "qmp_capabilities", "id": 1}
//! <- {"return": {}, "id": 1}
//! <- {"event": "STOP", ..}                             at any time, also between a command and its answer
//! ```
//!
//! Blocking, with ticks of 10 ms in which the limit of the call is looked at: an async runtime would panic inside
//! a host that calls from a runtime of its own. A wait that ends early leaves the conversation whole, since a late
//! answer is known by its id; after a fault of the connection [`Qmp::revive`] opens a new one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::message::{Message, parse, version_of};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{Peer, at_socket};
use crate::sys::{process, socket};

/// A server that serves us greets at once; one that serves another client never does.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);

/// No answer of QEMU's is near this size; what is larger is no QMP.
const MESSAGE_BYTES: usize = 16 << 20;

/// Events that are kept until someone asks for them; older ones are forgotten.
const EVENTS_KEPT: usize = 256;

/// A conversation over one QMP socket.
#[derive(Debug)]
pub(super) struct Qmp {
    path: PathBuf,
    stream: UnixStream,
    received: Vec<u8>,
    /// Bytes of `received` that are known to hold no end of a line.
    searched: usize,
    events: VecDeque<String>,
    last_id: u64,
    /// The connection is lost, or bytes of it are: nothing more can be said over it.
    broken: bool,
    version: String,
    peer: Peer,
    /// How long QEMU may take to answer one command.
    pub(super) patience: Duration,
}

impl Qmp {
    /// Opens the conversation: greeting, then capabilities.
    pub(super) fn connect(path: &Path, patience: Duration, limit: &Limit) -> Result<Self> {
        let greeting_due = Instant::now() + GREETING_PATIENCE;
        let stream = dial(path, greeting_due, limit)?;
        let peer = identify(&stream, path)?;
        let mut qmp = Self {
            path: path.to_owned(),
            stream,
            received: Vec::new(),
            searched: 0,
            events: VecDeque::new(),
            last_id: 0,
            broken: false,
            version: String::new(),
            peer,
            patience,
        };
        match qmp.next_message(greeting_due, limit)? {
            None => return Err(no_greeting(path)),
            Some(Message::Greeting(version)) => qmp.version = version_of(&version),
            Some(_) => {
                return Err(qmp.fault("answered without a greeting of QMP; register the socket of -qmp"));
            }
        }
        let _: Value = qmp.ask("qmp_capabilities", json!({}), limit)?;
        Ok(qmp)
    }

    /// Opens a new connection to the same process where the old one is broken.
    pub(super) fn revive(&mut self, limit: &Limit) -> Result<()> {
        if !self.broken {
            return Ok(());
        }
        let fresh = Self::connect(&self.path, self.patience, limit)?;
        if fresh.peer != self.peer {
            return Err(at_socket(
                Error::new(
                    Kind::InvalidState,
                    format!("the QEMU at {} ended, and another one listens there now", self.path.display()),
                ),
                &self.path,
            ));
        }
        *self = fresh;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Runs `command` and returns what it returns.
    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: Value,
        limit: &Limit,
    ) -> Result<T> {
        self.converse(command, arguments, None, limit)
    }

    /// As [`Qmp::ask`], with a copy of `file` for QEMU.
    pub(super) fn ask_with<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: Value,
        file: &File,
        limit: &Limit,
    ) -> Result<T> {
        self.converse(command, arguments, Some(file), limit)
    }

    /// Waits until an event `name` has come, or `pause` is over. Events from before the last
    /// [`Qmp::forget_events`] count.
    pub(super) fn wait_for_event(&mut self, name: &str, pause: Duration, limit: &Limit) -> Result<()> {
        let until = Instant::now() + pause;
        while !self.events.iter().any(|event| event == name) {
            match self.next_message(until, limit)? {
                None => return Ok(()),
                Some(Message::Event(event)) => self.keep(event),
                // The answer to a command whose wait was ended.
                Some(Message::Return { .. } | Message::Refusal { .. }) => {}
                Some(Message::Greeting(_)) => return Err(self.fault("sent a second greeting")),
            }
        }
        self.forget_events();
        Ok(())
    }

    pub(super) fn forget_events(&mut self) {
        self.events.clear();
    }

    fn converse<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: Value,
        file: Option<&File>,
        limit: &Limit,
    ) -> Result<T> {
        let until = Instant::now() + self.patience;
        self.last_id += 1;
        let id = self.last_id;
        let line = json!({ "execute": command, "arguments": arguments, "id": id }).to_string();
        self.send(&line, file, until, limit)?;
        loop {
            match self.next_message(until, limit)? {
                None => return Err(self.overdue(command)),
                Some(Message::Event(event)) => self.keep(event),
                Some(Message::Return { id: of, value }) if of == id => {
                    return serde_json::from_value(value)
                        .map_err(|e| self.fault(&format!("answered {command} in an unknown way ({e})")));
                }
                // QEMU leaves the id out when it could not read the command.
                Some(Message::Refusal { id: of, reason }) if of.is_none_or(|of| of == id) => {
                    return Err(self.error(Kind::Hypervisor, format!("QEMU refused {command}: {reason}")));
                }
                Some(Message::Return { id: of, .. }) if of < id => {}
                Some(Message::Refusal { .. }) => {}
                Some(Message::Return { .. }) => {
                    return Err(self.fault("answered a command that it was not given"));
                }
                Some(Message::Greeting(_)) => return Err(self.fault("sent a second greeting")),
            }
        }
    }

    fn send(&mut self, line: &str, file: Option<&File>, until: Instant, limit: &Limit) -> Result<()> {
        if self.broken {
            return Err(
                self.error(Kind::Hypervisor, "the conversation with QEMU broke off earlier".to_owned())
            );
        }
        let bytes = [line.as_bytes(), b"\n"].concat();
        let mut left = bytes.as_slice();
        let mut descriptor = file.map(AsFd::as_fd);
        while !left.is_empty() {
            match socket::send(&self.stream, left, descriptor) {
                Ok(sent) => {
                    descriptor = None;
                    left = left.get(sent..).unwrap_or_default();
                }
                Err(e) if is_pause(&e) => {
                    // Half a command spoils all that would follow it.
                    let whole = left.len() == bytes.len();
                    if let Err(ended) = limit.check() {
                        self.broken |= !whole;
                        return Err(ended);
                    }
                    if Instant::now() >= until {
                        self.broken |= !whole;
                        return Err(self.overdue("a command"));
                    }
                }
                Err(e) => {
                    return Err(self.fault(&format!("went away ({e}); look whether its process has ended")));
                }
            }
        }
        Ok(())
    }

    /// The next message, or `None` when there is none before `until`.
    fn next_message(&mut self, until: Instant, limit: &Limit) -> Result<Option<Message>> {
        loop {
            if let Some(line) = self.take_line()? {
                return match parse(&line) {
                    Ok(message) => Ok(Some(message)),
                    Err(why) => Err(self.fault(&format!("sent what is not QMP ({why})"))),
                };
            }
            limit.check()?;
            if Instant::now() >= until {
                return Ok(None);
            }
            self.receive()?;
        }
    }

    /// The first whole line that was received, blank ones left out.
    fn take_line(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let unsearched = self.received.get(self.searched..).unwrap_or_default();
            let Some(end) = unsearched.iter().position(|&byte| byte == b'\n') else {
                self.searched = self.received.len();
                if self.received.len() > MESSAGE_BYTES {
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
            Err(e) if is_pause(&e) => Ok(()),
            Err(e) => Err(self.fault(&format!("went away ({e}); look whether its process has ended"))),
        }
    }

    fn keep(&mut self, event: String) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// A breach of the protocol: the connection is of no use any more.
    fn fault(&mut self, what: &str) -> Error {
        self.broken = true;
        self.error(Kind::Hypervisor, format!("what listens at {} {what}", self.path.display()))
    }

    fn overdue(&self, command: &str) -> Error {
        let seconds = self.patience.as_secs();
        self.error(Kind::Timeout, format!("QEMU did not answer {command} within {seconds} s"))
    }

    pub(super) fn error(&self, kind: Kind, message: String) -> Error {
        at_socket(Error::new(kind, message), &self.path)
    }
}

/// Connects, waiting while the queue of the server is full.
fn dial(path: &Path, until: Instant, limit: &Limit) -> Result<UnixStream> {
    loop {
        limit.check()?;
        match socket::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(e) if is_pause(&e) && Instant::now() < until => {}
            Err(e) if is_pause(&e) => return Err(no_greeting(path)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                let path_shown = path.display();
                let message =
                    format!("no QEMU listens at {path_shown} ({e}); start the VM, or register its socket");
                return Err(at_socket(Error::new(Kind::InvalidState, message), path));
            }
            Err(e) => return Err(Error::io("connect to", path, &e)),
        }
    }
}

fn no_greeting(path: &Path) -> Error {
    let message = format!(
        "no greeting of QMP at {} within 2 s: it serves one client at a time; give libhypeman a second -qmp socket",
        path.display()
    );
    at_socket(Error::new(Kind::Busy, message), path)
}

/// Who listens. With a socket that another process opened and handed to QEMU, this is that process.
fn identify(stream: &UnixStream, path: &Path) -> Result<Peer> {
    let (pid, uid) = socket::peer(stream).map_err(|e| Error::io("ask who listens at", path, &e))?;
    let start_ticks = process::start_ticks(pid).map_err(|e| {
        let message =
            format!("the QEMU at {} is process {pid}, which cannot be seen from here", path.display());
        at_socket(Error::new(Kind::NotSupported, message), path)
            .note(format!("run this program in QEMU's pid namespace or above, with /proc mounted ({e})"))
    })?;
    Ok(Peer { pid, uid, start_ticks })
}

fn is_pause(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
