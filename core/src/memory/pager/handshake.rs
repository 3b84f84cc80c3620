//! The first and only message of a VM, as JSON: its regions, and the descriptor of its faults. Or that it asks for its
//! pages ([`AskedMemory`]), with the connection on which it does and the file that is its memory.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde::Deserialize;

use super::ask::Asking;
use super::regions::{Announced, Region};
use crate::call::{Call, Limit};
use crate::error::{Error, Kind, Result};
use crate::sys::socket;
use crate::sys::uffd::Uffd;
use crate::types::AskedMemory;

/// A VMM sends its message at once, or it is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Firecracker's own is of a few hundred bytes.
const MOST_BYTES: usize = 64 << 10;
const MOST_FILES: usize = 2;

/// What a VM comes with.
pub(super) enum Arrival {
    /// Its faults are ours.
    Faulting(Uffd, Vec<Region>),
    /// Its VMM has them, and asks us.
    Asking(Asking),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Message {
    Faulting(Vec<Announced>),
    Asking(AskedMemory),
}

/// Takes the message from `stream`, checked against an image of `image_bytes`. Ends early once `is_stopping`.
pub(super) fn receive(
    stream: &UnixStream,
    image_bytes: u64,
    is_stopping: impl Fn() -> bool,
) -> Result<Arrival> {
    let call = Call::default().timeout(PATIENCE);
    let (message, mut files) = message(stream, call.limit(), is_stopping)?;
    let announced = match message {
        Message::Faulting(announced) => announced,
        Message::Asking(asked) => {
            let regions = Region::all(&Announced::asked(&asked), image_bytes)?;
            return match (files.pop(), files.pop(), files.pop()) {
                (Some(memory), Some(questions), None) => {
                    Asking::new(questions, memory, regions).map(Arrival::Asking)
                }
                _ => Err(refused("it sent other than a connection and its memory")),
            };
        }
    };
    let regions = Region::all(&announced, image_bytes)?;
    let file = match (files.pop(), files.pop()) {
        (Some(file), None) => file,
        (None, _) => return Err(refused("it sent no descriptor with its message")),
        (Some(_), Some(_)) => return Err(refused("it sent more than one descriptor")),
    };
    let uffd = Uffd::take(file).map_err(|e| failed(&e))?;
    let uffd = uffd.ok_or_else(|| refused("it sent a descriptor that is no userfaultfd"))?;
    let features = uffd.features().map_err(|e| failed(&e))?;
    if !features.tells_removes {
        return Err(refused(
            "its userfaultfd does not tell of memory that is given back (UFFD_FEATURE_EVENT_REMOVE), so that old bytes could come back",
        ));
    }
    if features.tells_forks_or_moves {
        return Err(refused("its userfaultfd follows forks or moves of memory, which no VM needs"));
    }
    Ok(Arrival::Faulting(uffd, regions))
}

fn message(
    stream: &UnixStream,
    limit: &Limit,
    is_stopping: impl Fn() -> bool,
) -> Result<(Message, Vec<File>)> {
    let mut text = Vec::new();
    let mut buffer = vec![0; MOST_BYTES];
    let mut files = Vec::new();
    loop {
        limit.check().map_err(|_| refused("it connected and did not say which memory it has"))?;
        if is_stopping() {
            return Err(refused("the pager is being stopped"));
        }
        let (count, sent) = match socket::receive(stream, &mut buffer) {
            Ok((0, _)) => return Err(refused("it hung up")),
            Ok(received) => received,
            Err(e) if socket::is_tick(&e) => continue,
            Err(e) => return Err(failed(&e)),
        };
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        files.extend(sent);
        if files.len() > MOST_FILES {
            return Err(refused("it sent too many descriptors"));
        }
        if text.len() > MOST_BYTES {
            return Err(refused("its message is too long"));
        }
        // What arrives in two parts is no error yet.
        match serde_json::from_slice(&text) {
            Ok(message) => return Ok((message, files)),
            Err(e) if e.is_eof() => {}
            Err(e) => return Err(refused(&format!("its message is not Firecracker's: {e}"))),
        }
    }
}

fn refused(why: &str) -> Error {
    Error::new(Kind::InvalidRequest, format!("a VM was refused: {why}"))
}

fn failed(error: &std::io::Error) -> Error {
    Error::os("receive", "the memory of a VM", error)
}
