//! A QEMU of paper: it keeps the rules of run states, migrations and descriptors as the real one does, serves one
//! client at a time, tears every answer into two packets with an event before it, and fails where it is told to.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::call::Cancel;

/// What goes wrong at one command. But for `Refuse`, the command itself is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer ever comes to it; the call's token is cancelled if there is one.
    Hang,
    Refuse,
    Cut,
    Garbage,
    /// An answer whose line never ends.
    Endless,
}

impl Fault {
    pub(super) const ALL: [Self; 5] = [Self::Hang, Self::Refuse, Self::Cut, Self::Garbage, Self::Endless];
}

/// What this QEMU is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) status: &'static str,
    pub(super) migration: &'static str,
    /// Looks at a migration until it is complete.
    pub(super) looks_left: u32,
    /// Why migrations fail.
    pub(super) fails_with: Option<&'static str>,
    pub(super) writes: &'static [u8],
    pub(super) capabilities: BTreeMap<&'static str, bool>,
    pub(super) max_bandwidth: u64,
    descriptors: BTreeMap<String, File>,
    /// Every command, in order.
    pub(super) log: Vec<String>,
    /// What the real QEMU would have aborted at.
    pub(super) aborted: Option<String>,
    /// The command, counted from 0, at which something goes wrong once.
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) cancel: Option<Cancel>,
}

impl Model {
    fn new(version: Version) -> Self {
        let mut capabilities = BTreeMap::from([("events", false), ("x-ignore-shared", true)]);
        if version == Version::Ten {
            capabilities.insert("mapped-ram", false);
        }
        Self {
            status: "running",
            migration: "",
            looks_left: 3,
            fails_with: None,
            writes: b"QEVM",
            capabilities,
            max_bandwidth: 128 << 20,
            descriptors: BTreeMap::new(),
            log: Vec::new(),
            aborted: None,
            fault: None,
            cancel: None,
        }
    }

    /// What others would see of it: nothing of ours is left when this is as at first.
    pub(super) fn traces(&self) -> (BTreeMap<&'static str, bool>, u64, Vec<String>) {
        (self.capabilities.clone(), self.max_bandwidth, self.descriptors.keys().cloned().collect())
    }

    fn execute(&mut self, command: &str, arguments: &Value, file: Option<File>) -> Result<Value, String> {
        match command {
            "qmp_capabilities" => {}
            "query-status" => {
                let now = self.status;
                if now == "finish-migrate" {
                    self.status = "postmigrate";
                }
                return Ok(json!({ "status": now, "running": now == "running" }));
            }
            "stop" if self.status == "running" => self.status = "paused",
            "stop" => {}
            "cont" => {
                if self.migration == "active" || self.status == "finish-migrate" {
                    self.aborted = Some(format!("cont in {} with migration {}", self.status, self.migration));
                }
                self.status = "running";
            }
            "query-memory-size-summary" => {
                return Ok(json!({ "base-memory": 64 << 20, "plugged-memory": 0 }));
            }
            "query-migrate-parameters" => return Ok(json!({ "max-bandwidth": self.max_bandwidth })),
            "query-migrate-capabilities" => {
                let row = |(name, state): (&&str, &bool)| json!({ "capability": name, "state": state });
                return Ok(self.capabilities.iter().map(row).collect());
            }
            "migrate-set-parameters" => self.max_bandwidth = arguments["max-bandwidth"].as_u64().unwrap(),
            "migrate-set-capabilities" => {
                if self.migration == "active" {
                    return Err("There's a migration process in progress".to_owned());
                }
                for row in arguments["capabilities"].as_array().unwrap() {
                    let name = row["capability"].as_str().unwrap();
                    *self.capabilities.get_mut(name).unwrap() = row["state"].as_bool().unwrap();
                }
            }
            "getfd" => {
                self.descriptors
                    .insert(format!("fd:{}", arguments["fdname"].as_str().unwrap()), file.unwrap());
            }
            "add-fd" => {
                let id = &arguments["fdset-id"];
                self.descriptors.insert(format!("file:/dev/fdset/{id}"), file.unwrap());
                return Ok(json!({ "fdset-id": id, "fd": 12 }));
            }
            "closefd" | "remove-fd" => {
                if self.descriptors.pop_first().is_none() {
                    return Err("File descriptor not found".to_owned());
                }
            }
            "migrate" => return self.migrate(arguments["uri"].as_str().unwrap()),
            "query-migrate" => return Ok(self.look_at_migration()),
            "migrate_cancel" if self.migration == "active" => self.migration = "cancelled",
            "migrate_cancel" => {}
            _ => return Err(format!("The command {command} has not been found")),
        }
        Ok(json!({}))
    }

    fn migrate(&mut self, uri: &str) -> Result<Value, String> {
        if self.capabilities["x-ignore-shared"] {
            self.aborted = Some("a migration without memory".to_owned());
        }
        let mut file = match uri.starts_with("fd:") {
            true => self.descriptors.remove(uri),
            false => self.descriptors.get(uri).map(|file| file.try_clone().unwrap()),
        }
        .ok_or(format!("no descriptor for {uri}"))?;
        file.write_all(self.writes).unwrap();
        self.migration = "active";
        Ok(json!({}))
    }

    fn look_at_migration(&mut self) -> Value {
        if self.migration == "active" {
            self.looks_left = self.looks_left.saturating_sub(1);
            if self.looks_left == 0 {
                self.migration = if self.fails_with.is_some() { "failed" } else { "completed" };
                self.status = if self.fails_with.is_some() { self.status } else { "finish-migrate" };
            }
        }
        let mut answer = json!({ "ram": { "transferred": 4096, "total": 64 << 20 } });
        if !self.migration.is_empty() {
            answer["status"] = self.migration.into();
        }
        if let Some(reason) = self.fails_with {
            answer["error-desc"] = reason.into();
        }
        answer
    }
}

/// Which QEMU is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Seven,
    Ten,
}

/// The paper QEMU at its socket. Its thread ends with this value.
pub(super) struct Scripted {
    root: TempDir,
    model: Arc<Mutex<Model>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Scripted {
    pub(super) fn start(version: Version) -> Self {
        let root = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(root.path().join("qmp")).unwrap();
        let model = Arc::new(Mutex::new(Model::new(version)));
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
        while !self.over.load(Ordering::Acquire) && receive(stream, &mut received, &mut files) {
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

/// Reads what has come; `false` when the client is gone.
fn receive(stream: &UnixStream, received: &mut Vec<u8>, files: &mut Vec<File>) -> bool {
    let mut chunk = [0; 4096];
    let mut control = nix::cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(&mut chunk)];
    let message = match recvmsg::<()>(stream.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::empty())
    {
        Ok(message) => message,
        Err(Errno::EAGAIN | Errno::EINTR) => return true,
        Err(_) => return false,
    };
    for rights in message.cmsgs().unwrap() {
        if let ControlMessageOwned::ScmRights(descriptors) = rights {
            // SAFETY: the kernel has just made these descriptors for us, and no one else knows them.
            files.extend(descriptors.into_iter().map(|fd| unsafe { File::from_raw_fd(fd) }));
        }
    }
    let count = message.bytes;
    received.extend_from_slice(&chunk[..count]);
    count > 0
}
