//! A cloud-hypervisor of paper, which outlives the hosts that are killed: it pauses, writes what it is asked for, and
//! resumes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::scene::{SCENE, bytes};

/// What it says that its memory is: ranges of 40 KiB together.
const RANGES: [(u64, u64); 2] = [(0, 16 << 10), (1 << 32, 24 << 10)];

/// The paper VMM. Its thread ends with this value.
pub struct Peer {
    is_running: Arc<Mutex<bool>>,
    is_over: Arc<AtomicBool>,
    socket: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Begins to listen on `socket`, with a VM that runs.
    pub fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let is_running = Arc::new(Mutex::new(true));
        let is_over = Arc::new(AtomicBool::new(false));
        let (state, over) = (Arc::clone(&is_running), Arc::clone(&is_over));
        let place = socket.to_owned();
        let thread = thread::spawn(move || {
            // The real one closes no connection either.
            let mut open = Vec::new();
            let scene = place.parent().expect("a socket lies in a directory");
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Acquire) {
                    return;
                }
                open.extend(serve(stream, scene, &state));
            }
        });
        Self { is_running, is_over, socket: socket.to_owned(), thread: Some(thread) }
    }

    pub fn is_running(&self) -> bool {
        *self.is_running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn pause(&self) {
        *self.is_running.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        // It looks when the next client comes.
        if UnixStream::connect(&self.socket).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // Its own panics were shown.
            let _ = thread.join();
        }
    }
}

/// Does the request of `stream`, and returns it; `None` when the client has gone.
fn serve(mut stream: UnixStream, scene: &Path, is_running: &Mutex<bool>) -> Option<UnixStream> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a length is a number"))];
    stream.read_exact(&mut body).ok()?;
    let target = head.split(' ').nth(1).unwrap_or_default();
    let (status, answer) = {
        let mut is_running = is_running.lock().unwrap_or_else(PoisonError::into_inner);
        execute(target.trim_start_matches("/api/v1/"), &body, scene, &mut is_running)
    };
    let head = format!("HTTP/1.1 {status} \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n");
    let text = match answer {
        Value::Null => format!("{head}\r\n"),
        answer => {
            let body = answer.to_string();
            format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        }
    };
    stream.write_all(text.as_bytes()).ok()?;
    Some(stream)
}

fn execute(action: &str, body: &[u8], scene: &Path, is_running: &mut bool) -> (u16, Value) {
    let refused = |why: &str| (500, json!(["Error from API", why]));
    match action {
        "vmm.ping" => {
            (200, json!({ "build_version": "v51.1", "version": "51.1.0", "pid": 1, "features": ["kvm"] }))
        }
        "vm.info" => {
            let size: u64 = RANGES.iter().map(|range| range.1).sum();
            let state = if *is_running { "Running" } else { "Paused" };
            (200, json!({ "config": { "disks": [] }, "state": state, "memory_actual_size": size }))
        }
        "vm.pause" if *is_running => {
            *is_running = false;
            (204, Value::Null)
        }
        "vm.resume" if !*is_running => {
            *is_running = true;
            (204, Value::Null)
        }
        "vm.pause" | "vm.resume" => refused("Invalid transition: InvalidStateTransition"),
        "vm.snapshot" if *is_running => {
            (500, json!(["Error from API", "Cannot snapshot VM", "Trying to snapshot while VM is running"]))
        }
        "vm.snapshot" => {
            let body: Value = serde_json::from_slice(body).expect("a request is JSON");
            let url = body["destination_url"].as_str().expect("a destination is text");
            // Its hosts name paths by their working directory, which is the scene's.
            let below = url.trim_start_matches("file://").trim_start_matches(SCENE).trim_start_matches('/');
            match write(&scene.join(below)) {
                Ok(()) => (204, Value::Null),
                // Its host was killed, and the next one has cleared the stage.
                Err(_) => refused("Destination is not a directory"),
            }
        }
        _ => (400, json!(["Bad Request"])),
    }
}

/// The files of a snapshot, with memory that holds content 1.
fn write(directory: &Path) -> std::io::Result<()> {
    let ranges: Vec<_> = RANGES.iter().map(|(gpa, length)| json!({ "gpa": gpa, "length": length })).collect();
    let inner = json!({ "memory_ranges": { "data": ranges }, "boot_ram": 40 << 10 }).to_string();
    let state = json!({
        "snapshots": {
            "cpu-manager": { "snapshots": {}, "snapshot_data": null },
            "memory-manager": { "snapshots": {}, "snapshot_data": { "state": inner } },
        },
        "snapshot_data": { "state": "{}" },
    });
    fs::write(directory.join("config.json"), json!({ "disks": [] }).to_string())?;
    fs::write(directory.join("state.json"), state.to_string())?;
    fs::write(directory.join("memory-ranges"), bytes(1, 3, 40 << 10))
}
