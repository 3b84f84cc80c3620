//! A scripted cloud-hypervisor: what a capture needs of the real one, over HTTP on a Unix socket. Shares no code with
//! the driver under test.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// Bytes of guest memory.
const MEMORY_BYTES: usize = 96 << 10;

/// A VM, and what was asked of it.
#[derive(Debug)]
struct Vm {
    state: &'static str,
    disk: String,
}

/// The VMM of one VM that runs, listening for as long as this process lives.
#[derive(Clone, Debug)]
pub struct CloudHypervisor(Arc<Mutex<Vm>>);

impl CloudHypervisor {
    /// Listens on `socket`. The VM has one disk.
    pub fn listen(socket: &Path, disk: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let vm = Self(Arc::new(Mutex::new(Vm { state: "Running", disk: disk.display().to_string() })));
        let answering = vm.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that leaves is its own loss.
                let _ = answering.answer(stream);
            }
        });
        vm
    }

    /// `Running` or `Paused`.
    pub fn state(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).state
    }

    /// Answers no one, as a VMM that writes a large snapshot, until what this returns is dropped.
    pub fn keep_silent(&self) -> impl Sized {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pauses it, as any client of it may.
    pub fn pause(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).state = "Paused";
    }

    /// Lets it run, whatever was done to it.
    pub fn run(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).state = "Running";
    }

    fn answer(&self, stream: UnixStream) -> std::io::Result<()> {
        let (action, body) = asked(&stream)?;
        let (status, answer) = self.execute(&action, &body);
        respond(&stream, status, &answer)
    }

    fn execute(&self, action: &str, body: &Value) -> (u16, Value) {
        let mut vm = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (action, vm.state) {
            ("vmm.ping", _) => {
                (200, json!({ "build_version": "v51.1", "version": "51.1.0", "pid": 1, "features": ["kvm"] }))
            }
            ("vm.info", state) => {
                let config = json!({ "disks": [{ "id": "_disk0", "path": vm.disk }] });
                (200, json!({ "config": config, "state": state, "memory_actual_size": MEMORY_BYTES }))
            }
            ("vm.pause", "Running") => {
                vm.state = "Paused";
                (204, Value::Null)
            }
            ("vm.resume", "Paused") => {
                vm.state = "Running";
                (204, Value::Null)
            }
            // Drivers ask this to learn what else is in the way.
            ("vm.snapshot", "Running") => {
                let words =
                    ["Error from API", "Cannot snapshot VM", "Trying to snapshot while VM is running"];
                (500, json!(words))
            }
            ("vm.snapshot", "Paused") => {
                let directory = body["destination_url"].as_str().unwrap_or_default();
                match write(Path::new(directory.trim_start_matches("file://")), &vm.disk) {
                    Ok(()) => (204, Value::Null),
                    Err(error) => (500, json!(["Error from API", error.to_string()])),
                }
            }
            _ => (500, json!(["Error from API", "Invalid transition"])),
        }
    }
}

/// The three files of a snapshot.
fn write(directory: &Path, disk: &str) -> std::io::Result<()> {
    let ranges = json!({ "memory_ranges": { "data": [{ "gpa": 0, "length": MEMORY_BYTES }] } }).to_string();
    let state = json!({
        "snapshots": { "memory-manager": { "snapshots": {}, "snapshot_data": { "state": ranges } } },
        "snapshot_data": { "state": "{}" },
    });
    let config = json!({ "disks": [{ "id": "_disk0", "path": disk }] });
    fs::write(directory.join("config.json"), config.to_string())?;
    fs::write(directory.join("state.json"), state.to_string())?;
    File::create_new(directory.join("memory-ranges"))?.write_all(&memory())
}

/// What its guest has in memory: words, then zeros.
pub fn memory() -> Vec<u8> {
    let mut memory = b"guest memory ".repeat(MEMORY_BYTES / 26);
    memory.resize(MEMORY_BYTES, 0);
    memory
}

/// Reads what a client wants done: the last word of the target, and the body, null where there is none.
pub(crate) fn asked(stream: &UnixStream) -> std::io::Result<(String, Value)> {
    let mut reader = BufReader::new(stream);
    let (mut request, mut length) = (String::new(), 0);
    reader.read_line(&mut request)?;
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let target = request.split(' ').nth(1).unwrap_or_default();
    let action = target.rsplit('/').next().unwrap_or_default();
    Ok((action.to_owned(), serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

/// Answers it.
pub(crate) fn respond(mut stream: &UnixStream, status: u16, answer: &Value) -> std::io::Result<()> {
    let body = if answer.is_null() { String::new() } else { answer.to_string() };
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
