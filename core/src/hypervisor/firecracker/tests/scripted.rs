//! A Firecracker of paper at a real socket: it serves one connection after the other, keeps each open after its
//! answer, tears every answer into two packets, and fails where it is told to.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::Firecracker;
use super::model::{Fault, Model};
use crate::call::{Cancel, Limit};

/// The paper Firecracker at its socket.
pub(super) struct Scripted {
    root: TempDir,
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(super) fn start(state: &'static str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("api")).unwrap();
        let model = Arc::new(Mutex::new(Model::new(state)));
        let over = Arc::new(AtomicBool::new(false));
        let (theirs, ends) = (Arc::clone(&model), Arc::clone(&over));
        let thread = std::thread::spawn(move || {
            // As the real one does not close them, nor does this one.
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                let stream = stream.unwrap();
                if serve(&theirs, &stream).is_some() {
                    open.push(stream);
                }
            }
        });
        Self { root, model, over, thread: Some(thread) }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.path().join("api")
    }

    pub(super) fn connect(&self) -> Firecracker {
        Firecracker::connect(&self.socket(), &Limit::default()).unwrap()
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
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the scripted peer met a defect");
    }
}

/// Answers the one request of a connection; `None` when the connection is over.
fn serve(model: &Mutex<Model>, mut stream: &UnixStream) -> Option<()> {
    let (request, body) = receive(stream)?;
    let mut model = model.lock().unwrap();
    let fault = match model.fault {
        Some((at, fault)) if at == model.log.len() => Some(fault),
        _ => None,
    };
    model.log.push((request.clone(), body.clone()));
    let outcome = match fault {
        Some(Fault::Refuse) => Err("refused by the script".to_owned()),
        _ => model.execute(&request, &body),
    };
    let answer = match outcome {
        Ok(None) => head("204 ", ""),
        Ok(Some(value)) => {
            let body = value.to_string();
            head("200 ", &format!("Content-Length: {}\r\n", body.len())) + &body
        }
        Err(reason) => {
            let body = json!({ "fault_message": reason }).to_string();
            head("400 ", &format!("Content-Length: {}\r\n", body.len())) + &body
        }
    };
    let answer = answer.into_bytes();
    match fault {
        None | Some(Fault::Refuse) => {
            let (first, second) = answer.split_at(answer.len() / 2);
            stream.write_all(first).ok()?;
            std::thread::yield_now();
            stream.write_all(second).ok()
        }
        Some(Fault::Hang) => {
            model.cancel.iter().for_each(Cancel::cancel);
            Some(())
        }
        Some(Fault::Cut) => None,
        Some(Fault::CutHead) => {
            let _ = stream.write_all(&answer[..20]);
            None
        }
        Some(Fault::CutBody) => {
            let _ = stream.write_all(&answer[..answer.len() - 1]);
            None
        }
        Some(Fault::Garbage) => stream.write_all(b"\x00\xff no HTTP at all\r\n\r\n").ok(),
        Some(Fault::Huge) => {
            let _ = stream.write_all(head("200 ", "").as_bytes());
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
            None
        }
    }
}

fn head(status: &str, more: &str) -> String {
    format!("HTTP/1.1 {status}\r\nServer: Firecracker API\r\nConnection: keep-alive\r\n{more}\r\n")
}

/// Method and target of a request, and its JSON.
fn receive(mut stream: &UnixStream) -> Option<(String, Value)> {
    let mut received = Vec::new();
    let mut byte = [0];
    while !received.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        received.push(byte[0]);
    }
    let head = String::from_utf8(received).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let request = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    Some((request, body))
}
