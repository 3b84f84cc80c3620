//! What the scripted cloud-hypervisor is: its states, its refusals word for word, and the files that it writes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::migration::{self, Break, Received, Step};
use crate::call::Cancel;

/// Which cloud-hypervisor is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    FiftyOne,
    FiftyFour,
}

/// What goes wrong at one request. But for `Refuse`, the request itself is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer ever comes to it; the call's token is cancelled if there is one.
    Hang,
    Refuse,
    /// The connection ends before the answer, in its head, or in its body.
    Cut(Place),
    Garbage,
    /// An answer that never ends.
    Endless,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Start,
    Head,
    End,
}

impl Fault {
    pub(super) const ALL: [Self; 7] = [
        Self::Hang,
        Self::Refuse,
        Self::Cut(Place::Start),
        Self::Cut(Place::Head),
        Self::Cut(Place::End),
        Self::Garbage,
        Self::Endless,
    ];
}

/// Bytes of guest memory, in two ranges.
pub(super) const MEMORY_BYTES: u64 = 3 << 20;

/// What this cloud-hypervisor is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    version: Version,
    /// `None` where there is no VM.
    pub(super) state: Option<&'static str>,
    pub(super) config: Value,
    /// Another reason than running to refuse a snapshot, outermost first.
    pub(super) refuses_snapshot: Option<&'static [&'static str]>,
    pub(super) refuses_restore: Option<&'static [&'static str]>,
    /// Bytes of memory that a snapshot lacks.
    pub(super) forgets_bytes: u64,
    /// A half-written `state.json`, as after a write that was cut short.
    pub(super) forgets_state: bool,
    /// A migration is under way, and was asked for with this URL.
    pub(super) migrates_to: Option<String>,
    /// Where the next migration to us breaks off.
    pub(super) breaks: Option<(Step, Break)>,
    /// Every action, in order.
    pub(super) log: Vec<String>,
    /// The body of the last `vm.restore`, and the configuration that it found.
    pub(super) restored: Option<(Value, Value)>,
    /// What the last `vm.receive-migration` brought.
    pub(super) received: Option<Received>,
    /// The request, counted from 0, at which something goes wrong once.
    pub(super) fault: Option<(usize, Fault)>,
    pub(super) cancel: Option<Cancel>,
}

type Answer = (u16, Value);

impl Model {
    pub(super) fn new(version: Version) -> Self {
        Self {
            version,
            state: Some("Running"),
            config: json!({ "disks": [{ "id": "_disk0", "path": "/vms/a/disk.raw" }], "net": [{ "id": "_net0" }] }),
            refuses_snapshot: None,
            refuses_restore: None,
            forgets_bytes: 0,
            forgets_state: false,
            migrates_to: None,
            breaks: None,
            log: Vec::new(),
            restored: None,
            received: None,
            fault: None,
            cancel: None,
        }
    }

    pub(super) fn execute(&mut self, method: &str, action: &str, body: &Value) -> Answer {
        let no_body = body.is_null();
        if self.migrates_to.is_some() && method == "PUT" {
            return refused(&["Error from API", "VM is currently migrating and can't be modified"]);
        }
        match (method, action) {
            ("GET", "vmm.ping") if self.version == Version::FiftyOne => {
                (200, json!({ "build_version": "v51.1", "version": "51.1.0", "pid": 1, "features": ["kvm"] }))
            }
            ("GET", "vmm.ping") => {
                let build = "v53.0-246-gae44c2971";
                (200, json!({ "build_version": build, "version": "54.0.0", "pid": 1, "features": ["kvm"] }))
            }
            ("GET", "vm.info") => self.info(),
            ("PUT", "vm.pause") if no_body => self.turn("vm.pause", "Running", "Paused"),
            ("PUT", "vm.resume") if no_body => self.turn("vm.resume", "Paused", "Running"),
            ("PUT", "vm.snapshot") => self.snapshot(body),
            ("PUT", "vm.restore") => self.restore(body),
            ("PUT", "vm.send-migration") => self.send_migration(body),
            ("PUT", "vm.receive-migration") => self.receive_migration(body),
            _ => (400, json!(["Bad Request"])),
        }
    }

    fn info(&self) -> Answer {
        let Some(state) = self.state else {
            let status = if self.version == Version::FiftyOne { 500 } else { 404 };
            return (status, json!(["Error from API", "The VM info is not available", "VM is not created"]));
        };
        (200, json!({ "config": self.config, "state": state, "memory_actual_size": MEMORY_BYTES }))
    }

    fn turn(&mut self, action: &str, from: &str, to: &'static str) -> Answer {
        match self.state {
            None | Some("Created") => {
                refused(&["Error from API", "The VM could not be paused", "VM is not running"])
            }
            Some(state) if state == from => {
                self.state = Some(to);
                (204, Value::Null)
            }
            Some(state) => {
                let transition = format!("Invalid transition: InvalidStateTransition({state}, {to})");
                refused(&["Error from API", action, &transition])
            }
        }
    }

    fn snapshot(&self, body: &Value) -> Answer {
        if let Some(words) = self.refuses_snapshot {
            return refused(words);
        }
        if self.state != Some("Paused") {
            return refused(&[
                "Error from API",
                "Cannot snapshot VM",
                "Trying to snapshot while VM is running",
            ]);
        }
        let directory = directory_of(&body["destination_url"]);
        if !directory.is_dir() {
            return refused(&["Error from API", &format!("Destination is not a directory: {directory:?}")]);
        }
        write_snapshot(&directory, &self.config, self.forgets_bytes);
        if self.forgets_state {
            fs::write(directory.join("state.json"), "{\"snapshots\":{").unwrap();
        }
        (204, Value::Null)
    }

    fn restore(&mut self, body: &Value) -> Answer {
        if self.state.is_some() {
            return refused(&["Error from API", "The VM could not be restored", "VM is already created"]);
        }
        if let Some(words) = self.refuses_restore {
            return refused(words);
        }
        let directory = directory_of(&body["source_url"]);
        let config = serde_json::from_slice(&fs::read(directory.join("config.json")).unwrap()).unwrap();
        assert_eq!(fs::read(directory.join("memory-ranges")).unwrap().len() as u64, MEMORY_BYTES);
        assert!(directory.join("state.json").is_file());
        self.restored = Some((body.clone(), config));
        self.state = Some("Paused");
        (204, Value::Null)
    }

    fn send_migration(&mut self, body: &Value) -> Answer {
        // Known since v54, and only then is its type looked at. Those before it migrate, and end.
        if self.version == Version::FiftyFour && !body["preserve_source"].is_boolean() {
            let words = format!("invalid type: string {}, expected a boolean", body["preserve_source"]);
            return (400, json!(["Failed to deserialize JSON", words]));
        }
        let url = body["destination_url"].as_str().unwrap();
        let Some(path) = url.strip_prefix("unix:") else {
            return refused(&["Error from API", "Invalid send migration configuration"]);
        };
        assert_eq!((&body["local"], &body["preserve_source"]), (&json!(true), &json!(true)));
        self.migrates_to = Some(path.to_owned());
        (204, Value::Null)
    }

    fn receive_migration(&mut self, body: &Value) -> Answer {
        let asks = match body["memory_mode"].as_str() {
            None => false,
            Some("Postcopy") => true,
            Some(other) => {
                return (
                    400,
                    json!([format!("unknown variant `{other}`, expected `Precopy` or `Postcopy`")]),
                );
            }
        };
        let path = body["receiver_url"].as_str().unwrap().strip_prefix("unix:").unwrap();
        match migration::receive(Path::new(path), self.breaks, asks) {
            Some(received) => {
                self.received = Some(received);
                self.state = Some("Paused");
                (204, Value::Null)
            }
            None => refused(&["Error from API", "Migration was aborted"]),
        }
    }
}

fn refused(words: &[&str]) -> Answer {
    (500, json!(words))
}

fn directory_of(url: &Value) -> PathBuf {
    url.as_str().unwrap().strip_prefix("file://").unwrap().into()
}

/// The three files of a snapshot, modes and all as the real one writes them.
pub(super) fn write_snapshot(directory: &Path, config: &Value, forgets_bytes: u64) {
    let create = |name: &str| File::create_new(directory.join(name)).unwrap();
    create("config.json").write_all(config.to_string().as_bytes()).unwrap();
    create("state.json").write_all(state().to_string().as_bytes()).unwrap();
    create("memory-ranges").set_len(MEMORY_BYTES - forgets_bytes).unwrap();
}

/// Two ranges; in the one file that backs both, the second comes first.
pub(super) fn state() -> Value {
    let ranges = json!([{ "gpa": 0, "length": 1 << 20 }, { "gpa": 1_u64 << 32, "length": 2 << 20 }]);
    let mappings = json!([
        { "slot": 0, "gpa": 0, "size": 1 << 20, "zone_id": "mem0", "virtio_mem": false, "file_offset": 2 << 20 },
        { "slot": 1, "gpa": 1_u64 << 32, "size": 2 << 20, "zone_id": "mem0", "virtio_mem": false, "file_offset": 0 },
    ]);
    let inner = json!({
        "memory_ranges": { "data": ranges }, "guest_ram_mappings": mappings, "boot_ram": MEMORY_BYTES,
    });
    json!({
        "snapshots": {
            "cpu-manager": { "snapshots": {}, "snapshot_data": null },
            "memory-manager": { "snapshots": {}, "snapshot_data": { "state": inner.to_string() } },
        },
        "snapshot_data": { "state": r#"{"clock":null,"common_cpuid":[{"function":7}]}"# },
    })
}
