//! A cloud-hypervisor that hands over its VM: what it asks in the migration is the input of the fuzzer.

use std::fs::File;
use std::io::{IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};

use crate::scripted::{asked, respond};

/// Bytes of guest memory.
const MEMORY_BYTES: u64 = 64 << 10;
/// A request: its number, and how much follows it.
const FRAME_BYTES: usize = 16;

/// Listens on `socket`. The last input that was sent is what the next migration says.
pub(super) fn listen(socket: &Path) -> Sender<Vec<u8>> {
    let listener = UnixListener::bind(socket).unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut state = "Running";
        for stream in listener.incoming().flatten() {
            // A client that leaves is its own loss.
            let _ = answer(&stream, &mut state, &told);
        }
    });
    tell
}

fn answer(stream: &UnixStream, state: &mut &'static str, told: &Receiver<Vec<u8>>) -> std::io::Result<()> {
    let (action, body) = asked(stream)?;
    let refused = |why: &str| (500, json!(["Error from API", why]));
    let (status, answer) = match action.as_str() {
        "vmm.ping" => {
            (200, json!({ "build_version": "v54.0", "version": "54.0.0", "pid": 1, "features": [] }))
        }
        "vm.info" => {
            let config = json!({ "memory": { "size": MEMORY_BYTES, "shared": true } });
            (200, json!({ "config": config, "state": *state, "memory_actual_size": MEMORY_BYTES }))
        }
        "vm.send-migration" if !body["preserve_source"].is_boolean() => refused("invalid type: if you can"),
        "vm.send-migration" => {
            let input = told.try_iter().last().unwrap_or_default();
            let url = body["destination_url"].as_str().unwrap_or_default();
            let door = url.trim_start_matches("unix:").to_owned();
            *state = "Running";
            // It answers before it has begun.
            thread::spawn(move || hand_over(&door, &input));
            (204, Value::Null)
        }
        "vm.pause" => {
            *state = "Paused";
            (204, Value::Null)
        }
        "vm.resume" => {
            *state = "Running";
            (204, Value::Null)
        }
        _ => refused("Trying to snapshot while VM is running"),
    };
    respond(stream, status, &answer)
}

/// Says each request of `input` and what it says that follows it, with memory beside that. It waits for no answer, but stays
/// until the other side has gone.
fn hand_over(door: &str, input: &[u8]) -> std::io::Result<()> {
    let mut stream = UnixStream::connect(door)?;
    let memory = File::from(memfd_create("guest", MFdFlags::MFD_CLOEXEC)?);
    memory.set_len(MEMORY_BYTES)?;
    let files = [memory.as_raw_fd()];
    let say = |piece: &[u8], control: &[ControlMessage<'_>]| {
        let (socket, flags) = (stream.as_raw_fd(), MsgFlags::MSG_NOSIGNAL);
        piece.is_empty() || sendmsg::<()>(socket, &[IoSlice::new(piece)], control, flags, None).is_ok()
    };
    let mut left = input;
    while !left.is_empty() {
        let (frame, rest) = left.split_at(left.len().min(FRAME_BYTES));
        let length = frame.last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let follows = usize::try_from(length).map_or(rest.len(), |length| length.min(rest.len()));
        let (payload, rest) = rest.split_at(follows);
        // It need not listen to the end.
        if !say(frame, &[]) || !say(payload, &[ControlMessage::ScmRights(&files)]) {
            break;
        }
        left = rest;
    }
    stream.shutdown(Shutdown::Write)?;
    stream.read_to_end(&mut Vec::new()).map(drop)
}
