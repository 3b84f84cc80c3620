//! What the scripted Firecracker is: the rules of states and snapshots, and the words of the real one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde_json::{Value, json};

use super::super::state_file::tests::sealed;
use crate::call::Cancel;

/// What goes wrong at one request. But for `Refuse`, the request itself is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer ever comes to it; the call's token is cancelled if there is one.
    Hang,
    Refuse,
    /// The connection ends before the answer, within its head, or within its body where it has one.
    Cut,
    CutHead,
    CutBody,
    Garbage,
    /// An answer that does not end.
    Huge,
}

impl Fault {
    pub(super) const ALL: [Self; 7] =
        [Self::Hang, Self::Refuse, Self::Cut, Self::CutHead, Self::CutBody, Self::Garbage, Self::Huge];
}

const PAGE: u64 = 4096;

/// What this Firecracker is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) state: &'static str,
    pub(super) app_name: &'static str,
    pub(super) version: &'static str,
    pub(super) memory_mib: u64,
    /// Guest memory, as far as it is not 7, and which of it has changed since the last snapshot: page and byte.
    pub(super) pages: BTreeMap<u64, u8>,
    pub(super) dirty: BTreeMap<u64, u8>,
    pub(super) tracks_changes: bool,
    pub(super) balloon: Option<Value>,
    pub(super) drives: Value,
    /// MiB that could be plugged in, where the machine is made for it.
    pub(super) hotplug_mib: Option<u64>,
    /// Why snapshots fail.
    pub(super) fails_with: Option<&'static str>,
    /// Bytes by which the memory file comes out too short.
    pub(super) lost_bytes: u64,
    /// A request that does nothing though it is accepted.
    pub(super) ignores: Option<&'static str>,
    /// Every request, in order: method, target, body.
    pub(super) log: Vec<(String, Value)>,
    /// The request, counted from 0, at which something goes wrong once.
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) cancel: Option<Cancel>,
}

const NOT_STARTED: &str = "The requested operation is not supported before starting the microVM.";

impl Model {
    pub(super) fn new(state: &'static str) -> Self {
        Self {
            state,
            app_name: "Firecracker",
            version: "1.17.0",
            memory_mib: 2,
            pages: BTreeMap::new(),
            dirty: BTreeMap::new(),
            tracks_changes: false,
            balloon: None,
            drives: json!([]),
            hotplug_mib: None,
            fails_with: None,
            lost_bytes: 0,
            ignores: None,
            log: Vec::new(),
            fault: None,
            cancel: None,
        }
    }

    pub(super) fn requests(&self) -> Vec<&str> {
        self.log.iter().map(|(request, _)| request.as_str()).collect()
    }

    /// The body of the last `request`.
    pub(super) fn body_of(&self, request: &str) -> Value {
        self.log.iter().rev().find(|(found, _)| found == request).unwrap().1.clone()
    }

    /// Carries out one request; its answer, or the words of its refusal.
    pub(super) fn execute(&mut self, request: &str, body: &Value) -> Result<Option<Value>, String> {
        if self.ignores == Some(request) {
            return Ok(None);
        }
        match request {
            "GET /" => Ok(Some(json!({
                "id": "scripted", "state": self.state, "vmm_version": self.version, "app_name": self.app_name
            }))),
            "GET /vm/config" => Ok(Some(json!({
                "drives": self.drives,
                "balloon": self.balloon,
                "machine-config": {
                    "vcpu_count": 1, "mem_size_mib": self.memory_mib, "track_dirty_pages": self.tracks_changes
                },
                "memory-hotplug": self.hotplug_mib.map(|mib| json!({ "total_size_mib": mib })),
            }))),
            "PATCH /vm" => {
                only(body, &["state"])?;
                self.state = match (self.state, body["state"].as_str()) {
                    ("Not started", _) => return Err(NOT_STARTED.to_owned()),
                    (_, Some("Paused")) => "Paused",
                    (_, Some("Resumed")) => "Running",
                    (_, other) => return Err(format!("unknown variant {other:?}")),
                };
                Ok(None)
            }
            "PUT /snapshot/create" => self.create(body).map(|()| None),
            "PUT /snapshot/load" => self.load(body).map(|()| None),
            other => Err(format!("Invalid request method and/or path: {other}.")),
        }
    }

    /// The guest fills a page with `byte`.
    pub(super) fn write(&mut self, page: u64, byte: u8) {
        self.pages.insert(page, byte);
        self.dirty.insert(page, byte);
    }

    /// Guest memory as a Full has it.
    pub(super) fn memory(&self) -> Vec<u8> {
        let mut memory = vec![7; usize::try_from(self.memory_mib << 20).unwrap()];
        for (&page, &byte) in &self.pages {
            let start = usize::try_from(page * PAGE).unwrap();
            memory[start..start + PAGE as usize].fill(byte);
        }
        memory
    }

    fn create(&mut self, body: &Value) -> Result<(), String> {
        only(body, &["snapshot_type", "snapshot_path", "mem_file_path"])?;
        if self.state != "Paused" {
            return Err("Create snapshot error: Cannot save the microVM state: Operation not allowed: \
                        save/restore unavailable while running"
                .to_owned());
        }
        if let Some(reason) = self.fails_with {
            return Err(format!("Create snapshot error: {reason}"));
        }
        let total = (self.memory_mib + self.hotplug_mib.unwrap_or(0)) << 20;
        let write = |key: &str, bytes: &[u8]| fs::write(body[key].as_str().unwrap(), bytes).unwrap();
        write("snapshot_path", &sealed(b"\x0f/vms/a/disk.raw\x04eth0"));
        let dirty = std::mem::take(&mut self.dirty);
        if body["snapshot_type"] == json!("Diff") {
            let path = body["mem_file_path"].as_str().unwrap();
            let file = fs::File::options().write(true).create(true).truncate(false).open(path).unwrap();
            file.set_len(total).unwrap();
            for (page, byte) in dirty {
                file.write_all_at(&[byte; PAGE as usize], page * PAGE).unwrap();
            }
            return Ok(());
        }
        let mut memory = self.memory();
        memory.resize(usize::try_from(total - self.lost_bytes).unwrap(), 7);
        write("mem_file_path", &memory);
        Ok(())
    }

    fn load(&mut self, body: &Value) -> Result<(), String> {
        let tracking = if self.version == "1.12.0" { "enable_diff_snapshots" } else { "track_dirty_pages" };
        only(body, &["snapshot_path", "mem_backend", "resume_vm", "network_overrides", tracking])?;
        self.tracks_changes = body[tracking] == json!(true);
        only(&body["mem_backend"], &["backend_type", "backend_path"])?;
        if self.state != "Not started" {
            return Err("The requested operation is not supported after starting the microVM.".to_owned());
        }
        if let Some(reason) = self.fails_with {
            return Err(format!("Load snapshot error: {reason}"));
        }
        assert!(Path::new(body["snapshot_path"].as_str().unwrap()).is_absolute());
        self.state = if body["resume_vm"] == json!(true) { "Running" } else { "Paused" };
        Ok(())
    }
}

/// Refuses fields that are not known, as Firecracker does.
fn only(body: &Value, known: &[&str]) -> Result<(), String> {
    let unknown = body.as_object().unwrap().keys().find(|key| !known.contains(&key.as_str()));
    unknown.map_or(Ok(()), |key| {
        Err(format!("An error occurred when deserializing the json body of a request: unknown field `{key}`"))
    })
}
