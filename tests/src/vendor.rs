//! What the vendor's server needs of the snapshots that we write: its keys and no others, and a payload that is as
//! large as the record says. A second reader, written from the shape of the server's files alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

/// `snapshot.json`, as the server's structs have it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    snapshot: Fields,
    stored_metadata: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "the server reads them; here it matters that they are there and of that type")]
struct Fields {
    id: String,
    name: String,
    kind: Kind,
    tags: Option<BTreeMap<String, String>>,
    source_instance_id: String,
    source_instance_name: String,
    #[serde(rename = "SourceHypervisor")]
    source_hypervisor: String,
    created_at: hypeman_core::Timestamp,
    size_bytes: u64,
    compression_state: State,
    compression_error: Option<String>,
    compression: Option<Compression>,
    compressed_size_bytes: Option<u64>,
    uncompressed_size_bytes: Option<u64>,
}

#[derive(Deserialize)]
enum Kind {
    Standby,
    Stopped,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum State {
    None,
    Compressing,
    Compressed,
    Error,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "as above")]
struct Compression {
    enabled: bool,
    algorithm: String,
    level: i64,
}

/// The names of the snapshots in `data`.
pub fn snapshots(data: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(data.join("snapshots")) else { return BTreeSet::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().expect("an id is text"));
    names.filter(|name| name != ".libhypeman").collect()
}

/// Checks what the server would read of snapshot `id`.
///
/// # Errors
/// Says what the server would stumble over.
pub fn check(data: &Path, id: &str) -> Result<(), String> {
    let directory = data.join("snapshots").join(id);
    let text = fs::read_to_string(directory.join("snapshot.json")).map_err(|e| format!("{id}: {e}"))?;
    let record: Record = serde_json::from_str(&text).map_err(|e| format!("{id}: {e}: {text}"))?;
    let Record { snapshot, stored_metadata } = record;
    let refuse = |what: &str| Err(format!("{id}: {what}: {text}"));
    if snapshot.id != id {
        return refuse("the id is not the directory's");
    }
    for (key, value) in [
        ("Id", &snapshot.source_instance_id),
        ("Name", &snapshot.source_instance_name),
        ("HypervisorType", &snapshot.source_hypervisor),
    ] {
        if stored_metadata.get(key).and_then(Value::as_str) != Some(value) {
            return refuse(&format!("stored_metadata.{key} is not the source's"));
        }
    }
    if stored_metadata.get("PendingStandbyCompression").is_some_and(|plan| !plan.is_null()) {
        return refuse("the source's pending compression is not the snapshot's");
    }
    if matches!(snapshot.kind, Kind::Stopped) && snapshot.compression_state != State::None {
        return refuse("a Stopped snapshot has nothing to compress");
    }
    let compressed = snapshot.compression_state == State::Compressed;
    if compressed != snapshot.compressed_size_bytes.is_some() {
        return refuse("a compressed size is there if and only if it is compressed");
    }
    // While it is compressed, both forms may lie there; the size is counted anew at the end.
    if snapshot.compression_state != State::Compressing {
        let bytes: u64 =
            files(&directory.join("guest")).iter().map(|path| path.metadata().unwrap().len()).sum();
        if bytes != snapshot.size_bytes {
            return refuse(&format!("the payload has {bytes} bytes"));
        }
    }
    Ok(())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display())) {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
