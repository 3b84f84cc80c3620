//! What the scripted QEMU is: the rules of run states, migrations and descriptors, as the real one keeps them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::call::Cancel;

/// Which QEMU is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Seven,
    Ten,
}

/// What goes wrong at one command. But for `Refuse`, the command itself is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// No answer ever comes to it; the call's token is cancelled if there is one.
    Hang,
    Refuse,
    /// The connection ends before the answer, or within its line.
    Cut,
    CutInside,
    Garbage,
    /// An answer whose line never ends.
    Endless,
}

impl Fault {
    pub(super) const ALL: [Self; 6] =
        [Self::Hang, Self::Refuse, Self::Cut, Self::CutInside, Self::Garbage, Self::Endless];
}

/// What this QEMU is and has seen.
#[derive(Debug)]
pub(super) struct Model {
    version: Version,
    /// It was started with `-incoming defer`.
    incoming: bool,
    /// A `stop` came while it waited: what it loads does not run by itself.
    stays_paused: bool,
    /// No such `stop` came, and what it loaded ran.
    pub(super) ran_by_itself: bool,
    /// The process is over.
    pub(super) ended: bool,
    pub(super) status: &'static str,
    pub(super) migration: &'static str,
    /// How many were begun: no two take the same time.
    migrations: u64,
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
    pub(super) fn new(version: Version) -> Self {
        let mut capabilities = BTreeMap::from([("events", false), ("x-ignore-shared", true)]);
        if version == Version::Ten {
            capabilities.insert("mapped-ram", false);
        }
        Self {
            version,
            incoming: false,
            stays_paused: false,
            ran_by_itself: false,
            ended: false,
            status: "running",
            migration: "",
            migrations: 0,
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

    /// One that was started with `-incoming defer`.
    pub(super) fn waiting(version: Version) -> Self {
        Self { status: "inmigrate", incoming: true, ..Self::new(version) }
    }

    /// What others would see of it: nothing of ours is left when this is as at first.
    pub(super) fn traces(&self) -> (BTreeMap<&'static str, bool>, u64, Vec<String>) {
        (self.capabilities.clone(), self.max_bandwidth, self.descriptors.keys().cloned().collect())
    }

    pub(super) fn execute(
        &mut self,
        command: &str,
        arguments: &Value,
        file: Option<File>,
    ) -> Result<Value, String> {
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
            "stop" => self.stays_paused = true,
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
            "query-fdsets" => {
                let ids = self.descriptors.keys().filter_map(|uri| uri.strip_prefix("file:/dev/fdset/"));
                let sets = ids.map(|id| {
                    json!({ "fdset-id": id.parse::<u32>().unwrap(), "fds": [{ "fd": 12, "opaque": "libhypeman" }] })
                });
                return Ok(sets.collect());
            }
            "closefd" | "remove-fd" => {
                if self.descriptors.pop_first().is_none() {
                    return Err("File descriptor not found".to_owned());
                }
            }
            "migrate" => return self.migrate(arguments["uri"].as_str().unwrap()),
            "query-block" => return Ok(json!([])),
            "qom-get" => return Ok(json!("pc-q35-10.0-machine")),
            "migrate-incoming"
                if arguments.get("exit-on-error").is_some() && self.version == Version::Seven =>
            {
                return Err("Parameter 'exit-on-error' is unexpected".to_owned());
            }
            "migrate-incoming" => return self.migrate_in(arguments["uri"].as_str().unwrap()),
            "query-migrate" => return Ok(self.look_at_migration()),
            "migrate_cancel" if self.migration == "active" && !self.incoming => self.migration = "cancelled",
            "migrate_cancel" => {}
            _ => return Err(format!("The command {command} has not been found")),
        }
        Ok(json!({}))
    }

    fn migrate(&mut self, uri: &str) -> Result<Value, String> {
        if self.capabilities["x-ignore-shared"] {
            self.aborted = Some("a migration without memory".to_owned());
        }
        self.take(uri)?.write_all(self.writes).unwrap();
        self.begin_migration();
        Ok(json!({}))
    }

    /// As another client may have it, too.
    pub(super) fn begin_migration(&mut self) {
        self.migration = "active";
        self.migrations += 1;
    }

    fn migrate_in(&mut self, uri: &str) -> Result<Value, String> {
        if !self.incoming || !self.migration.is_empty() {
            return Err("The incoming migration has already been started".to_owned());
        }
        let mut file = self.take(uri)?;
        let mut read = Vec::new();
        file.read_to_end(&mut read).unwrap();
        let mapped = read.ends_with(b"mapped");
        if self.capabilities["x-ignore-shared"]
            || self.capabilities.get("mapped-ram").is_some_and(|&on| on != mapped)
        {
            self.fails_with = Some("received capability is off");
        }
        self.migration = "active";
        Ok(json!({}))
    }

    /// The file behind `uri`: a named one is handed over, one in a set is copied.
    fn take(&mut self, uri: &str) -> Result<File, String> {
        match uri.starts_with("fd:") {
            true => self.descriptors.remove(uri),
            false => self.descriptors.get(uri).map(|file| file.try_clone().unwrap()),
        }
        .ok_or(format!("no descriptor for {uri}"))
    }

    fn look_at_migration(&mut self) -> Value {
        if self.migration == "active" {
            self.looks_left = self.looks_left.saturating_sub(1);
            if self.looks_left == 0 {
                self.migration = if self.fails_with.is_some() { "failed" } else { "completed" };
                self.status = match (self.fails_with, self.incoming) {
                    (Some(_), _) => self.status,
                    (None, true) if self.stays_paused => "paused",
                    (None, true) => {
                        self.ran_by_itself = true;
                        "running"
                    }
                    (None, false) => "finish-migrate",
                };
                // No one asked it to live on.
                self.ended = self.incoming && self.fails_with.is_some() && self.version == Version::Seven;
            }
        }
        let mut answer = json!({ "ram": { "transferred": 4096, "total": 64 << 20 } });
        if !self.migration.is_empty() {
            answer["status"] = self.migration.into();
        }
        if self.migration == "completed" {
            answer["total-time"] = (100 + self.migrations).into();
        }
        if let Some(reason) = self.fails_with {
            answer["error-desc"] = reason.into();
        }
        answer
    }
}
