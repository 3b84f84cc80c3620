//! A QMP client: one JSON object a line, one command at a time.
//!
//! ```text
//! <- {"QMP": {"version": ..}}                          the greeting; only the one client that is served gets it
//! -> {"execute": "qmp_capabilities", "id": 1}
//! <- {"return": {}, "id": 1}
//! <- {"event": "STOP", ..}                             at any time, also between a command and its answer
//! ```
//!
//! A wait that ends early leaves the conversation whole, since a late answer is known by its id; after a fault of
//! the connection [`Qmp::revive`] opens a new one.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::message::{Message, parse, version_of};
use super::wire::{Wire, no_greeting};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::Peer;

/// A server that serves us greets at once; one that serves another client never does.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);

/// Events that are kept until someone asks for them; older ones are forgotten.
const EVENTS_KEPT: usize = 256;

/// A conversation over one QMP socket.
#[derive(Debug)]
pub(super) struct Qmp {
    wire: Wire,
    events: VecDeque<String>,
    last_id: u64,
    version: String,
    peer: Peer,
    /// How long QEMU may take to answer one command.
    pub(super) patience: Duration,
}

impl Qmp {
    /// Opens the conversation: greeting, then capabilities.
    pub(super) fn connect(path: &Path, patience: Duration, limit: &Limit) -> Result<Self> {
        let greeting_due = Instant::now() + GREETING_PATIENCE;
        let wire = Wire::dial(path, greeting_due, limit)?;
        let peer = wire.peer()?;
        let mut qmp =
            Self { wire, events: VecDeque::new(), last_id: 0, version: String::new(), peer, patience };
        match qmp.next_message(greeting_due, limit)? {
            None => return Err(no_greeting(path)),
            Some(Message::Greeting(version)) => qmp.version = version_of(&version),
            Some(Message::Event(_) | Message::Return { .. } | Message::Refusal { .. }) => {
                return Err(qmp
                    .wire
                    .fault("answered without a greeting of QMP; register the socket of -qmp"));
            }
        }
        let _: Value = qmp.ask("qmp_capabilities", json!({}), limit)?;
        Ok(qmp)
    }

    /// Opens a new connection to the same process where the old one is broken.
    pub(super) fn revive(&mut self, limit: &Limit) -> Result<()> {
        if !self.is_broken() {
            return Ok(());
        }
        let fresh = Self::connect(self.path(), self.patience, limit)?;
        if fresh.peer != self.peer {
            let shown = self.path().display();
            let message = format!("the QEMU at {shown} has ended, and another one listens there now");
            return Err(self.error(Kind::InvalidState, message));
        }
        *self = fresh;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        self.wire.path()
    }

    /// Whether the connection was lost.
    pub(super) fn is_broken(&self) -> bool {
        self.wire.is_broken()
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// An error that names the socket.
    pub(super) fn error(&self, kind: Kind, message: String) -> Error {
        self.wire.error(kind, message)
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

    /// Waits until an event `name` has come, or `pause` is over, and forgets the events so far. Those since the
    /// last time that they were forgotten count.
    pub(super) fn wait_for_event(&mut self, name: &str, pause: Duration, limit: &Limit) -> Result<()> {
        let until = Instant::now() + pause;
        while !self.events.iter().any(|event| event == name) {
            match self.next_message(until, limit)? {
                None => return Ok(()),
                Some(Message::Event(event)) => self.keep(event),
                // The answer to a command whose wait was ended.
                Some(Message::Return { .. } | Message::Refusal { .. }) => {}
                Some(Message::Greeting(_)) => return Err(self.wire.fault("sent a second greeting")),
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
        if !self.wire.send(&line, file, until, limit)? {
            return Err(self.overdue(command));
        }
        loop {
            match self.next_message(until, limit)? {
                None => return Err(self.overdue(command)),
                Some(Message::Event(event)) => self.keep(event),
                Some(Message::Return { id: of, value }) if of == id => {
                    return serde_json::from_value(value).map_err(|e| {
                        self.wire.fault(&format!("answered {command} in an unknown way ({e})"))
                    });
                }
                // QEMU leaves the id out when it could not read the command.
                Some(Message::Refusal { id: of, reason }) if of.is_none_or(|of| of == id) => {
                    return Err(self.error(Kind::Hypervisor, format!("QEMU refused {command}: {reason}")));
                }
                // The answer to an earlier command whose wait was ended.
                Some(Message::Return { .. } | Message::Refusal { .. }) => {}
                Some(Message::Greeting(_)) => return Err(self.wire.fault("sent a second greeting")),
            }
        }
    }

    fn next_message(&mut self, until: Instant, limit: &Limit) -> Result<Option<Message>> {
        let Some(line) = self.wire.next_line(until, limit)? else { return Ok(None) };
        parse(&line).map(Some).map_err(|why| self.wire.fault(&format!("sent what is not QMP ({why})")))
    }

    fn keep(&mut self, event: String) {
        if self.events.len() == EVENTS_KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    fn overdue(&self, command: &str) -> Error {
        let seconds = self.patience.as_secs();
        self.error(Kind::Timeout, format!("QEMU did not answer {command} within {seconds} s"))
    }
}
