//! What QEMU sends: the four kinds of QMP messages, and the answers of which we read more than their coming.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A message of QEMU's.
#[derive(Debug)]
pub(super) enum Message {
    /// With the version of the server.
    Greeting(Value),
    Event(String),
    Return {
        id: u64,
        value: Value,
    },
    /// The id is missing where QEMU could not read the command.
    Refusal {
        id: Option<u64>,
        reason: String,
    },
}

/// Reads one line, or says why it is no message of QMP.
pub(super) fn parse(line: &[u8]) -> Result<Message, String> {
    let mut object: Map<String, Value> = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    let id = object.get("id").and_then(Value::as_u64);
    if let Some(greeting) = object.get("QMP") {
        return Ok(Message::Greeting(greeting.get("version").cloned().unwrap_or_default()));
    }
    if let Some(event) = object.get("event") {
        return Ok(Message::Event(event.as_str().unwrap_or_default().to_owned()));
    }
    if let Some(value) = object.remove("return") {
        let id = id.ok_or("an answer without an id")?;
        return Ok(Message::Return { id, value });
    }
    let refusal = object.get("error").ok_or("an object without return, error or event")?;
    let reason = refusal.get("desc").and_then(Value::as_str).unwrap_or("no reason given");
    Ok(Message::Refusal { id, reason: reason.to_owned() })
}

/// `7.2.22` of a greeting's version.
pub(super) fn version_of(version: &Value) -> String {
    let part = |name: &str| version.get("qemu").and_then(|numbers| numbers.get(name)).and_then(Value::as_u64);
    let [major, minor, micro] = ["major", "minor", "micro"].map(|name| part(name).unwrap_or(0));
    format!("{major}.{minor}.{micro}")
}

/// The answer to `query-status`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) status: String,
}

/// The answer to `query-migrate`. An empty object where there never was a migration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct Migration {
    pub(super) status: String,
    pub(super) error_desc: String,
    /// Why this VM cannot be migrated, in QEMU's words; since 6.0.
    pub(super) blocked_reasons: Vec<String>,
    pub(super) ram: Ram,
}

/// Guest memory, as a migration counts it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ram {
    /// Bytes written so far: less than `total` at the end, since zero pages take hardly any.
    pub(super) transferred: u64,
    pub(super) total: u64,
}

impl Migration {
    /// Whether it is under way, in any of the many states in which it can be (they grow with QEMU's versions).
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.status.as_str(), "" | "none" | "completed" | "failed" | "cancelled")
    }
}

/// A row of `query-migrate-capabilities`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Capability {
    pub(super) capability: String,
    pub(super) state: bool,
}

/// What we read of `query-migrate-parameters`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Parameters {
    /// Bytes a second.
    pub(super) max_bandwidth: u64,
}

/// The answer to `query-memory-size-summary`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct MemorySize {
    pub(super) base_memory: u64,
    pub(super) plugged_memory: u64,
}

/// A row of `query-block`: a drive of the guest, with or without a medium.
#[derive(Debug, Deserialize)]
pub(super) struct Drive {
    #[serde(default)]
    pub(super) inserted: Option<Medium>,
}

/// What is in a drive.
#[derive(Debug, Deserialize)]
pub(super) struct Medium {
    pub(super) file: String,
    /// Whether the guest cannot write to it.
    pub(super) ro: bool,
}

/// A row of `query-fdsets`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct DescriptorSet {
    pub(super) fdset_id: i64,
    fds: Vec<Descriptor>,
}

/// A descriptor in a set, with the words of the one who put it there.
#[derive(Debug, Deserialize)]
struct Descriptor {
    /// Its number in QEMU.
    fd: i32,
    #[serde(default)]
    opaque: String,
}

impl DescriptorSet {
    /// The number of a descriptor in it; all are of one file.
    pub(super) fn first(&self) -> Option<i32> {
        self.fds.first().map(|one| one.fd)
    }

    /// Whether every descriptor in it was put there with the words `mark`.
    pub(super) fn has_mark(&self, mark: &str) -> bool {
        !self.fds.is_empty() && self.fds.iter().all(|one| one.opaque == mark)
    }
}
