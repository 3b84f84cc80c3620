//! A cloud-hypervisor of paper at a real socket: it does one request after the other, whoever still listens, tears
//! every answer into two packets, leaves connections open, and fails where it is told to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::migration;
use super::model::{Fault, Model, Place, Version};
use crate::call::{Cancel, Limit};
use crate::hypervisor::cloud_hypervisor::CloudHypervisor;

/// The paper cloud-hypervisor at its socket. Its thread ends with this value.
pub(super) struct Scripted {
    root: TempDir,
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(super) fn start(version: Version) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("api")).unwrap();
        let model = Arc::new(Mutex::new(Model::new(version)));
        let over = Arc::new(AtomicBool::new(false));
        let (served, ends) = (Arc::clone(&model), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            // Kept: the real one closes no connection either.
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                open.extend(serve(stream.unwrap(), &served));
            }
        });
        Self { root, model, over, thread: Some(thread) }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.path().join("api")
    }

    pub(super) fn connect(&self) -> CloudHypervisor {
        CloudHypervisor::connect(&self.socket(), &Limit::default()).unwrap()
    }

    /// A new directory for a capture.
    pub(super) fn out(&self) -> TempDir {
        tempfile::tempdir_in(self.root.path()).unwrap()
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        drop(UnixStream::connect(self.socket()));
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the scripted VMM met a defect");
    }
}

/// Does the request of `stream`, and returns it if it stays open.
fn serve(mut stream: UnixStream, shared: &Arc<Mutex<Model>>) -> Option<UnixStream> {
    let (method, action, body) = read_request(&mut stream)?;
    let mut model = shared.lock().unwrap();
    let fault = match model.fault {
        Some((at, fault)) if at == model.log.len() => Some(fault),
        _ => None,
    };
    model.log.push(action.clone());
    let (status, value) = match fault {
        Some(Fault::Refuse) => (500, json!(["Error from API", "refused by the script"])),
        _ => model.execute(&method, &action, &body),
    };
    if action == "vm.send-migration"
        && let Some(path) = model.migrates_to.clone()
    {
        let source = Arc::clone(shared);
        std::thread::spawn(move || migration::send(&path, &source));
    }
    let answer = answer_bytes(status, &value);
    let (first, second) = answer.split_at(answer.len() / 2);
    match fault {
        None | Some(Fault::Refuse) => {
            stream.write_all(first).ok()?;
            std::thread::yield_now();
            stream.write_all(second).ok()?;
            Some(stream)
        }
        Some(Fault::Hang) => {
            model.cancel.iter().for_each(Cancel::cancel);
            Some(stream)
        }
        Some(Fault::Cut(place)) => {
            let count = match place {
                Place::Start => 0,
                Place::Head => 20,
                Place::End => answer.len() - 1,
            };
            stream.write_all(&answer[..count]).ok()?;
            None
        }
        Some(Fault::Garbage) => {
            stream.write_all(b"\x00\xff no HTTP at all\r\n\r\n").ok()?;
            Some(stream)
        }
        Some(Fault::Endless) => {
            stream.write_all(b"HTTP/1.1 200 \r\nContent-Type: application/json\r\n\r\n").ok()?;
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            None
        }
    }
}

/// Method, action and body; `None` when the client only looked who listens.
fn read_request(stream: &mut UnixStream) -> Option<(String, String, Value)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let action = target.strip_prefix("/api/v1/").unwrap();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some((method.to_owned(), action.to_owned(), body))
}

fn answer_bytes(status: u16, value: &Value) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n");
    if value.is_null() {
        return format!("{head}\r\n").into_bytes();
    }
    let body = value.to_string();
    let length = body.len();
    format!("{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
