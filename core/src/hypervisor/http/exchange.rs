//! One request and its answer, within the limit of the call and the patience with the server.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::{Answer, Client};
use crate::call::Limit;
use crate::error::{Error, Result};
use crate::sys::socket::{self, is_tick};

/// Bytes that a head may have, with all its headers.
const HEAD_BYTES: usize = 64 << 10;

/// Bytes that a body may have.
const BODY_BYTES: usize = 4 << 20;

/// Headers that a head may have; the servers send less than ten.
const HEADERS: usize = 64;

/// Why an exchange has no answer.
pub(super) enum End {
    Error(Error),
    /// The patience with the server is over.
    Overdue,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// One request and its answer.
pub(super) struct Exchange<'a> {
    client: &'a Client,
    stream: UnixStream,
    until: Instant,
    limit: &'a Limit,
    meanwhile: &'a mut dyn FnMut() -> Result<()>,
    /// What has come and was not used yet.
    received: Vec<u8>,
}

/// How the end of a body is known.
enum Body {
    Bytes(usize),
    Chunks,
    UntilClosed,
}

impl<'a> Exchange<'a> {
    pub(super) fn new(
        client: &'a Client,
        stream: UnixStream,
        until: Instant,
        limit: &'a Limit,
        meanwhile: &'a mut dyn FnMut() -> Result<()>,
    ) -> Self {
        Self { client, stream, until, limit, meanwhile, received: Vec::new() }
    }

    pub(super) fn send(&mut self, mut left: &[u8]) -> Result<(), End> {
        while !left.is_empty() {
            match socket::send(&self.stream, left, &[]) {
                Ok(sent) => left = left.get(sent..).unwrap_or_default(),
                Err(e) if is_tick(&e) => self.check()?,
                // A server may answer why before it hangs up on a request that it has not read.
                Err(e) if has_hung_up(&e) => return Ok(()),
                Err(e) => return Err(self.gone(&e).into()),
            }
        }
        Ok(())
    }

    pub(super) fn receive_answer(&mut self) -> Result<Answer, End> {
        loop {
            let Some((head_bytes, status, body)) = self.head()? else {
                if self.received.len() > HEAD_BYTES {
                    return Err(self.client.fault("sent a head without an end").into());
                }
                self.receive_or_fail()?;
                continue;
            };
            self.received.drain(..head_bytes.min(self.received.len()));
            // An interim answer, of which the final one takes no notice.
            if (100..200).contains(&status) {
                continue;
            }
            let body = match body {
                Body::Bytes(count) => self.counted(count)?,
                Body::Chunks => self.chunks()?,
                Body::UntilClosed => self.until_closed()?,
            };
            return Ok(Answer { status, body });
        }
    }

    /// Size, status and kind of body of the head, once it is whole.
    fn head(&self) -> Result<Option<(usize, u16, Body)>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(&self.received) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(e) => return Err(self.client.fault(&format!("sent what is not HTTP ({e})"))),
        };
        let status = response.code.unwrap_or_default();
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| header.value.trim_ascii())
        };
        let body = if matches!(status, 100..200 | 204 | 304) {
            Body::Bytes(0)
        } else if header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked")) {
            Body::Chunks
        } else if let Some(length) = header("content-length") {
            let length = str::from_utf8(length).ok().and_then(|digits| digits.parse().ok());
            Body::Bytes(length.ok_or_else(|| self.client.fault("sent a length that is no number"))?)
        } else {
            Body::UntilClosed
        };
        Ok(Some((head_bytes, status, body)))
    }

    fn counted(&mut self, count: usize) -> Result<Vec<u8>, End> {
        self.bounded(count)?;
        while self.received.len() < count {
            self.receive_or_fail()?;
        }
        Ok(self.received.drain(..count).collect())
    }

    /// The chunks up to the empty one; what may follow it goes with the connection.
    fn chunks(&mut self) -> Result<Vec<u8>, End> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.received) {
                Ok(httparse::Status::Complete((_, 0))) => return Ok(body),
                Ok(httparse::Status::Complete((start, size))) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    self.bounded(body.len().saturating_add(size))?;
                    let end = start + size;
                    let chunk = self.counted(end + 2)?;
                    body.extend_from_slice(chunk.get(start..end).unwrap_or_default());
                }
                Ok(httparse::Status::Partial) if self.received.len() <= HEAD_BYTES => {
                    self.receive_or_fail()?
                }
                _ => return Err(self.client.fault("sent a chunk without a size").into()),
            }
        }
    }

    fn until_closed(&mut self) -> Result<Vec<u8>, End> {
        while self.receive()? {
            self.bounded(self.received.len())?;
        }
        Ok(std::mem::take(&mut self.received))
    }

    fn bounded(&self, body_bytes: usize) -> Result<()> {
        if body_bytes <= BODY_BYTES {
            return Ok(());
        }
        Err(self.client.fault("sent more than 4 MiB as an answer"))
    }

    fn receive_or_fail(&mut self) -> Result<(), End> {
        if self.receive()? {
            return Ok(());
        }
        Err(self.client.fault("closed the connection; look whether its process has ended").into())
    }

    /// Waits for more bytes; `false` when the server has closed the connection.
    fn receive(&mut self) -> Result<bool, End> {
        let mut chunk = [0; 16 << 10];
        loop {
            self.check()?;
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(count) => {
                    self.received.extend_from_slice(chunk.get(..count).unwrap_or_default());
                    return Ok(true);
                }
                Err(e) if is_tick(&e) => {}
                Err(e) if has_hung_up(&e) => return Ok(false),
                Err(e) => return Err(self.gone(&e).into()),
            }
        }
    }

    fn check(&mut self) -> Result<(), End> {
        self.limit.check()?;
        (self.meanwhile)()?;
        if Instant::now() >= self.until { Err(End::Overdue) } else { Ok(()) }
    }

    fn gone(&self, error: &io::Error) -> Error {
        self.client.fault(&format!("went away ({error}); look whether its process has ended"))
    }
}

/// Whether the server has closed the connection; the one or the other comes of what it had read by then.
fn has_hung_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
