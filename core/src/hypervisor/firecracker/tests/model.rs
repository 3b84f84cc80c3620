//! What the scripted Firecracker is: the rules of states and snapshots, and the words of the real one.

use std::fs;
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

/// What this Firecracker is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) state: &'static str,
    pub(super) app_name: &'static str,
    pub(super) memory_mib: u64,
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
            memory_mib: 2,
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
                "id": "scripted", "state": self.state, "vmm_version": "1.17.0", "app_name": self.app_name
            }))),
            "GET /vm/config" => Ok(Some(json!({
                "drives": [],
                "machine-config": {
                    "vcpu_count": 1, "mem_size_mib": self.memory_mib, "track_dirty_pages": false
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

    fn create(&self, body: &Value) -> Result<(), String> {
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
        write("mem_file_path", &vec![7; usize::try_from(total - self.lost_bytes).unwrap()]);
        Ok(())
    }

    fn load(&mut self, body: &Value) -> Result<(), String> {
        only(body, &["snapshot_path", "mem_backend", "resume_vm", "network_overrides"])?;
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
