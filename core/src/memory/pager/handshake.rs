//! The first and only message of a VM: its regions as JSON, and the descriptor of its faults.

use std::fs::File;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::regions::{Announced, Region};
use crate::call::{Call, Limit};
use crate::error::{Error, Kind, Result};
use crate::sys::socket;
use crate::sys::uffd::Uffd;

/// A VMM sends its message at once, or it is none.
const PATIENCE: Duration = Duration::from_secs(5);
/// Firecracker's own is of a few hundred bytes.
const MOST_BYTES: usize = 64 << 10;

/// Takes the message from `stream`, checked against an image of `image_bytes`. Ends early once `is_stopping`.
pub(super) fn receive(
    stream: &UnixStream,
    image_bytes: u64,
    is_stopping: impl Fn() -> bool,
) -> Result<(Uffd, Vec<Region>)> {
    let call = Call::default().timeout(PATIENCE);
    let (announced, file) = message(stream, call.limit(), is_stopping)?;
    let regions = Region::all(&announced, image_bytes)?;
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
    Ok((uffd, regions))
}

fn message(
    stream: &UnixStream,
    limit: &Limit,
    is_stopping: impl Fn() -> bool,
) -> Result<(Vec<Announced>, File)> {
    let mut text = Vec::new();
    let mut buffer = vec![0; MOST_BYTES];
    let mut file = None;
    loop {
        limit.check().map_err(|_| refused("it connected and did not say which memory it has"))?;
        if is_stopping() {
            return Err(refused("the pager is being stopped"));
        }
        let (count, files) = match socket::receive(stream, &mut buffer) {
            Ok((0, _)) => return Err(refused("it hung up")),
            Ok(received) => received,
            Err(e) if socket::is_tick(&e) => continue,
            Err(e) => return Err(failed(&e)),
        };
        text.extend_from_slice(buffer.get(..count).unwrap_or_default());
        for sent in files {
            if file.replace(sent).is_some() {
                return Err(refused("it sent more than one descriptor"));
            }
        }
        if text.len() > MOST_BYTES {
            return Err(refused("its message is too long"));
        }
        // What arrives in two parts is no error yet.
        match serde_json::from_slice(&text) {
            Ok(announced) => {
                let file = file.ok_or_else(|| refused("it sent no descriptor with its message"))?;
                return Ok((announced, file));
            }
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
