//! A shim of paper at a real socket, by the table of what the real one answers: it tears answers into two packets,
//! every other one in chunks, and fails where it is told to.

use std::collections::VecDeque;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::Cancel;

/// What goes wrong at one request. But for `Refuse`, what it asks for is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer ever comes to it; the call's token is cancelled if there is one.
    Hang,
    Refuse,
    Cut,
    CutInside,
    Garbage,
    /// An answer that never ends.
    Endless,
}

impl Fault {
    pub(super) const ALL: [Self; 6] =
        [Self::Hang, Self::Refuse, Self::Cut, Self::CutInside, Self::Garbage, Self::Endless];
}

/// What this shim is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) state: &'static str,
    /// What `vm.info` says before it says `state`.
    pub(super) on_the_way: VecDeque<&'static str>,
    /// Why saving is refused: status and text.
    pub(super) refuses_saving: Option<(u16, &'static str)>,
    /// The files that saving writes.
    pub(super) writes: &'static [&'static str],
    /// Every request, in order.
    pub(super) log: Vec<String>,
    /// The request, counted from 0, at which something goes wrong once.
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) cancel: Option<Cancel>,
}

impl Model {
    fn new() -> Self {
        Self {
            state: "Running",
            on_the_way: VecDeque::new(),
            refuses_saving: None,
            writes: &["machine-state.vzm", "config.json"],
            log: Vec::new(),
            fault: None,
            cancel: None,
        }
    }

    fn execute(&mut self, request: &str, body: &Value) -> (u16, String) {
        match request {
            "GET /api/v1/vmm.ping" => (200, "OK".to_owned()),
            "GET /api/v1/vm.info" => {
                let state = self.on_the_way.pop_front().unwrap_or(self.state);
                (200, json!({ "state": state }).to_string())
            }
            "PUT /api/v1/vm.pause" if self.state == "Running" => self.go("Paused", "Pausing"),
            "PUT /api/v1/vm.pause" => (400, "cannot pause VM\n".to_owned()),
            "PUT /api/v1/vm.resume" if self.state == "Paused" => self.go("Running", "Resuming"),
            "PUT /api/v1/vm.resume" => (400, "cannot resume VM\n".to_owned()),
            "PUT /api/v1/vm.snapshot" => self.save(Path::new(body["destination_path"].as_str().unwrap())),
            _ => (404, "404 page not found\n".to_owned()),
        }
    }

    fn go(&mut self, state: &'static str, way: &'static str) -> (u16, String) {
        self.on_the_way = [self.state, way, way].into();
        self.state = state;
        (204, String::new())
    }

    fn save(&mut self, directory: &Path) -> (u16, String) {
        if self.state != "Paused" {
            return (400, "vm must be paused before snapshot\n".to_owned());
        }
        fs::create_dir_all(directory).unwrap();
        if let Some((status, reason)) = self.refuses_saving {
            fs::remove_dir_all(directory).unwrap();
            return (status, format!("{reason}\n"));
        }
        for name in self.writes {
            fs::write(directory.join(name), format!("the {name}")).unwrap();
        }
        self.on_the_way = ["Saving", "Saving"].into();
        (204, String::new())
    }
}

/// The paper shim at its socket. Its thread ends with this value.
pub(super) struct Shim {
    pub(super) root: TempDir,
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shim {
    pub(super) fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("vz.sock")).unwrap();
        let model = Arc::new(Mutex::new(Model::new()));
        let over = Arc::new(AtomicBool::new(false));
        let (served, ended) = (Arc::clone(&model), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            let mut hung = Vec::new();
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                hung.extend(serve(&served, stream.unwrap()));
            }
        });
        Self { root, model, over, thread: Some(thread) }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.path().join("vz.sock")
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(UnixStream::connect(self.socket()));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the scripted shim met a defect");
    }
}

/// Serves one request, and gives the connection back if it is to hang.
fn serve(model: &Mutex<Model>, mut stream: UnixStream) -> Option<UnixStream> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let (request, body) = read_request(&mut stream)?;
    let mut model = model.lock().unwrap();
    let number = model.log.len();
    model.log.push(request.clone());
    let fault = model.fault.filter(|(at, _)| *at == number).map(|(_, fault)| fault);
    let (status, text) = match fault {
        Some(Fault::Refuse) => (500, "refused by the script\n".to_owned()),
        _ => model.execute(&request, &body),
    };
    let answer = answer(status, &text, number % 2 == 1);
    let (first, second) = answer.split_at(answer.len() / 2);
    // The client may have hung up on what is too long for it.
    match fault {
        None | Some(Fault::Refuse) => {
            let _ = stream.write_all(first);
            std::thread::yield_now();
            let _ = stream.write_all(second);
        }
        Some(Fault::Hang) => {
            model.cancel.iter().for_each(Cancel::cancel);
            return Some(stream);
        }
        Some(Fault::Cut) => {}
        Some(Fault::CutInside) => drop(stream.write_all(first)),
        Some(Fault::Garbage) => drop(stream.write_all(b"\x00\xff no HTTP at all\r\n\r\n")),
        Some(Fault::Endless) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        }
    }
    None
}

/// Method and path, and the body. Nothing where the client only looked who listens.
fn read_request(stream: &mut UnixStream) -> Option<(String, Value)> {
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        if stream.read(&mut byte).unwrap() == 0 {
            assert!(received.is_empty(), "half a request");
            return None;
        }
        received.push(byte[0]);
    }
    let head = String::from_utf8(received).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    let request = head.split_once(" HTTP/1.1\r\n").unwrap().0.to_owned();
    Some((request, serde_json::from_slice(&body).unwrap_or_default()))
}

/// As Go's net/http writes it.
fn answer(status: u16, text: &str, in_chunks: bool) -> Vec<u8> {
    let reason = match status {
        200 => "OK",
        204 => return b"HTTP/1.1 204 No Content\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\n".to_vec(),
        400 => "Bad Request",
        404 => "Not Found",
        _ => "Internal Server Error",
    };
    let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n");
    let body = if in_chunks {
        let (one, two) = text.split_at(1);
        format!("Transfer-Encoding: chunked\r\n\r\n1\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", two.len())
    } else {
        format!("Content-Length: {}\r\n\r\n{text}", text.len())
    };
    (head + &body).into_bytes()
}
