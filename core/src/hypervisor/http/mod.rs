//! HTTP/1.1 over a unix socket, as far as the APIs of VMMs go: one connection a request, small JSON bodies both ways.
//!
//! These servers do one request after the other. One that we gave up on is still done in its turn, before any that
//! is sent later: an answer says that those before it have ended, too.

mod exchange;
#[cfg(test)]
mod tests;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::exchange::{End, Exchange};
use super::Peer;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::sys::socket::{self, is_tick};

/// The pause before a server that has no connection to spare is asked again.
const TURN: Duration = Duration::from_millis(10);

/// A server, which stays the process that it was at first.
#[derive(Debug)]
pub(super) struct Client {
    /// The program, for people.
    vmm: &'static str,
    path: PathBuf,
    peer: Peer,
    /// How long the server may take to answer one request, whatever it does for it.
    pub(super) patience: Duration,
}

/// What came back, whatever it says.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Client {
    /// Finds the `vmm` that listens at `path`, and asks nothing yet.
    ///
    /// # Errors
    /// `invalid_state` when nothing listens.
    pub(super) fn connect(vmm: &'static str, path: &Path, patience: Duration, limit: &Limit) -> Result<Self> {
        let stream = dial(vmm, path, Instant::now() + patience, limit)?;
        let peer = Peer::of(&stream, path, vmm)?;
        Ok(Self { vmm, path: path.to_owned(), peer, patience })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Sends one request and waits for its answer; without a `body`, none is sent (some actions refuse even `{}`).
    ///
    /// # Errors
    /// `timeout` or `cancelled` stop nothing in the server. Nor do others tell whether the request was done.
    pub(super) fn request(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
        limit: &Limit,
    ) -> Result<Answer> {
        self.request_meanwhile(method, target, body, limit, &mut || Ok(()))
    }

    /// As [`Client::request`], calling `meanwhile` some hundred times a second as long as the answer is not there; its
    /// error ends the wait.
    pub(super) fn request_meanwhile(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
        limit: &Limit,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Answer> {
        let until = Instant::now() + self.patience;
        let body = body.map(Value::to_string);
        let request = request_bytes(method, target, body.as_deref());
        loop {
            let answer = self.exchange(&request, until, limit, meanwhile).map_err(|end| match end {
                End::Error(error) => error,
                End::Overdue => {
                    let (vmm, seconds) = (self.vmm, self.patience.as_secs());
                    self.error(
                        Kind::Timeout,
                        format!("{vmm} did not answer {method} {target} within {seconds} s"),
                    )
                }
            })?;
            // All its connections are taken: the request was not looked at.
            if answer.status != 503 {
                return Ok(answer);
            }
            if Instant::now() >= until {
                let (vmm, seconds) = (self.vmm, self.patience.as_secs());
                let message = format!(
                    "{vmm} had no connection to spare for {seconds} s; close other clients of its socket"
                );
                return Err(self.error(Kind::Busy, message));
            }
            limit.check()?;
            thread::sleep(limit.at_most(TURN));
        }
    }

    /// Reads the JSON of a success.
    pub(super) fn parse<T: DeserializeOwned>(&self, target: &str, answer: &Answer) -> Result<T> {
        serde_json::from_slice(&answer.body)
            .map_err(|e| self.fault(&format!("answered {target} in an unknown way ({e})")))
    }

    /// An error that names the socket.
    pub(super) fn error(&self, kind: Kind, message: String) -> Error {
        Error::new(kind, message).at(&self.path)
    }

    /// A breach of the protocol.
    pub(super) fn fault(&self, what: &str) -> Error {
        self.error(Kind::Hypervisor, format!("what listens at {} {what}", self.path.display()))
    }

    fn exchange(
        &self,
        request: &[u8],
        until: Instant,
        limit: &Limit,
        meanwhile: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Answer, End> {
        let stream = dial(self.vmm, &self.path, until, limit)?;
        if Peer::of(&stream, &self.path, self.vmm)? != self.peer {
            let (vmm, shown) = (self.vmm, self.path.display());
            let message = format!("the {vmm} at {shown} has ended, and another one listens there now");
            return Err(self.error(Kind::InvalidState, message).into());
        }
        let mut exchange = Exchange::new(self, stream, until, limit, meanwhile);
        exchange.send(request)?;
        exchange.receive_answer()
    }
}

/// Connects, waiting while the queue of the server is full.
fn dial(vmm: &str, path: &Path, until: Instant, limit: &Limit) -> Result<UnixStream> {
    let shown = path.display();
    loop {
        limit.check()?;
        match socket::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(e) if is_tick(&e) && Instant::now() < until => thread::sleep(limit.at_most(TURN)),
            Err(e) if is_tick(&e) => {
                let message =
                    format!("the {vmm} at {shown} takes no connection; look whether its process hangs");
                return Err(Error::new(Kind::Timeout, message).at(path));
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                let message =
                    format!("no {vmm} listens at {shown} ({e}); start the VM, or register its socket");
                return Err(Error::new(Kind::InvalidState, message).at(path));
            }
            Err(e) => return Err(Error::io("connect to", path, &e)),
        }
    }
}

fn request_bytes(method: &str, target: &str, body: Option<&str>) -> Vec<u8> {
    let kind = if body.is_some() { "Content-Type: application/json\r\n" } else { "" };
    let body = body.unwrap_or_default();
    let length = body.len();
    format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n\
         {kind}Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}
