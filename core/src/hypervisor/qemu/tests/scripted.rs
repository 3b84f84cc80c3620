//! A QEMU of paper at a real socket: it serves one client at a time, tears every answer into two packets with an
//! event before it, and fails where it is told to.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::model::{Fault, Model, Version};
use crate::call::Cancel;
use crate::sys::socket;

/// The paper QEMU at its socket. Its thread ends with this value.
pub(super) struct Scripted {
    root: TempDir,
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(super) fn start(version: Version) -> Self {
        Self::of(Model::new(version))
    }

    pub(super) fn of(model: Model) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("qmp")).unwrap();
        let model = Arc::new(Mutex::new(model));
        let over = Arc::new(AtomicBool::new(false));
        let server = Server { model: Arc::clone(&model), over: Arc::clone(&over) };
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if server.over.load(Ordering::Acquire) {
                    return;
                }
                server.serve(&stream.unwrap());
            }
        });
        Self { root, model, over, thread: Some(thread) }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.root.path().join("qmp")
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
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the scripted QEMU met a defect");
    }
}

struct Server {
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
}

impl Server {
    /// Serves one client until it goes, or a fault ends the connection.
    fn serve(&self, mut stream: &UnixStream) {
        stream.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let version = json!({ "qemu": { "major": 10, "minor": 0, "micro": 2 }, "package": "" });
        let greeting = json!({ "QMP": { "version": version, "capabilities": ["oob"] } });
        if stream.write_all(format!("{greeting}\r\n").as_bytes()).is_err() {
            return;
        }
        let (mut received, mut files) = (Vec::new(), Vec::new());
        while !self.over.load(Ordering::Acquire) {
            match socket::receive(stream, 4096) {
                Ok((bytes, _)) if bytes.is_empty() => return,
                Ok((bytes, descriptors)) => {
                    received.extend(bytes);
                    files.extend(descriptors);
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            while let Some(end) = received.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = received.drain(..=end).collect();
                if self.answer(stream, &serde_json::from_slice(&line).unwrap(), files.pop()).is_none() {
                    return;
                }
            }
        }
    }

    /// Carries out `request`; `None` when the connection is over.
    fn answer(&self, mut stream: &UnixStream, request: &Value, file: Option<File>) -> Option<()> {
        let mut model = self.model.lock().unwrap();
        let command = request["execute"].as_str().unwrap();
        let fault = match model.fault {
            Some((at, fault)) if at == model.log.len() => Some(fault),
            _ => None,
        };
        model.log.push(command.to_owned());
        let outcome = match fault {
            Some(Fault::Refuse) => Err("refused by the script".to_owned()),
            _ => model.execute(command, &request["arguments"], file),
        };
        if model.ended {
            return None;
        }
        let answer = match outcome {
            Ok(value) => json!({ "return": value, "id": request["id"] }),
            Err(reason) => {
                json!({ "error": { "class": "GenericError", "desc": reason }, "id": request["id"] })
            }
        };
        match fault {
            None | Some(Fault::Refuse) => {
                let event = json!({ "event": "MIGRATION", "data": {} });
                let bytes = format!("{event}\r\n{answer}\r\n").into_bytes();
                let (first, second) = bytes.split_at(bytes.len() / 2);
                stream.write_all(first).ok()?;
                std::thread::yield_now();
                stream.write_all(second).ok()
            }
            Some(Fault::Hang) => {
                model.cancel.iter().for_each(Cancel::cancel);
                Some(())
            }
            Some(Fault::Cut) => None,
            Some(Fault::Garbage) => stream.write_all(b"\x00\xff no JSON at all\n").ok(),
            Some(Fault::Endless) => {
                while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
                None
            }
        }
    }
}
