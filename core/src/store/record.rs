//! The record of a snapshot, `snapshot.json`, in the vendor's keys (upstream.md 2.4).
//!
//! Keys that we do not know are kept as they are, in their order: a newer server's, and all of `stored_metadata`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{RECORD, json as strict};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::sys::version::Version;
use crate::types::{CompressionConfig, CompressionState, HypervisorKind, Snapshot, SnapshotKind, Timestamp};

/// A record as read, or as about to be written.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) snapshot: Snapshot,
    /// The whole file as it was read; the snapshot's fields are put over it on writing.
    file: Map<String, Value>,
}

/// The vendor's keys. Its hypervisor field has no JSON tag, so that its server writes and reads exactly this name.
#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    id: String,
    #[serde(default)]
    name: String,
    kind: SnapshotKind,
    tags: Option<BTreeMap<String, String>>,
    /// Records of March 2026 have their tags under this key.
    metadata: Option<BTreeMap<String, String>>,
    source_instance_id: String,
    #[serde(default)]
    source_instance_name: String,
    #[serde(rename = "SourceHypervisor")]
    source_hypervisor: HypervisorKind,
    created_at: Timestamp,
    #[serde(default)]
    size_bytes: u64,
    compression_state: Option<CompressionState>,
    compression_error: Option<String>,
    compression: Option<CompressionConfig>,
    compressed_size_bytes: Option<u64>,
    uncompressed_size_bytes: Option<u64>,
}

/// Every key of [`Wire`].
const KEYS: [&str; 15] = [
    "id",
    "name",
    "kind",
    "tags",
    "metadata",
    "source_instance_id",
    "source_instance_name",
    "SourceHypervisor",
    "created_at",
    "size_bytes",
    "compression_state",
    "compression_error",
    "compression",
    "compressed_size_bytes",
    "uncompressed_size_bytes",
];

impl Record {
    /// A new record. `stored_metadata` is the source's metadata at capture, in the vendor's form.
    pub(crate) fn new(snapshot: Snapshot, stored_metadata: Value) -> Self {
        let file = Map::from_iter([
            ("snapshot".to_owned(), json!({})),
            ("stored_metadata".to_owned(), stored_metadata),
        ]);
        Self { snapshot, file }
    }

    /// Reads the record of the snapshot in `dir`, whose name is `id`.
    ///
    /// # Errors
    /// `corrupt` when it is missing, damaged, or names another snapshot; errors of the disk.
    pub(crate) fn read(dir: &Dir, id: &str) -> Result<Self> {
        Self::read_versioned(dir, id).1
    }

    /// As [`Record::read`], and the version that was read, if every change from now on will show in it: looked at before
    /// reading, so that a change in between shows as a difference later.
    pub(super) fn read_versioned(dir: &Dir, id: &str) -> (Option<Version>, Result<Self>) {
        let now_ns = Timestamp::now().unix_nanos();
        let about = |error: Error| error.about(id);
        let file = match dir.read_if_any(RECORD) {
            Ok(Some(file)) => file,
            Err(error) => return (None, Err(about(error))),
            Ok(None) => {
                let path = dir.join(RECORD);
                let why = format!(
                    "snapshot {id} has no record: {} is missing; delete it, or put its record back",
                    path.display()
                );
                return (None, Err(Error::new(Kind::Corrupt, why).at(path).about(id)));
            }
        };
        let version = Version::of(&file).filter(|version| version.is_settled(now_ns));
        let path = dir.join(RECORD);
        let record = strict::read(&file, &path).and_then(|value| Self::parse(value, id, &path));
        (version, record.map_err(about))
    }

    fn parse(value: Value, id: &str, path: &Path) -> Result<Self> {
        let damaged = |why: &dyn std::fmt::Display| strict::damaged(path, why);
        let Value::Object(file) = value else { return Err(damaged(&"it is not an object")) };
        strict::refuse_case_twins(&file).map_err(|why| damaged(&why))?;
        for key in ["snapshot", "stored_metadata"] {
            if let Some(Value::Object(object)) = file.get(key) {
                strict::refuse_case_twins(object).map_err(|why| damaged(&why))?;
            }
        }
        if let Some(Value::Object(object)) = file.get("snapshot") {
            refuse_case_cousins(object).map_err(|why| damaged(&why))?;
        }
        let wire: Wire = field(&file, "snapshot").map_err(|e| damaged(&e))?;
        if !wire.id.is_empty() && wire.id != id {
            return Err(damaged(&format!("it says that it is the record of {:?}", wire.id)));
        }
        let sizes = [Some(wire.size_bytes), wire.compressed_size_bytes, wire.uncompressed_size_bytes];
        if let Some(size) = sizes.into_iter().flatten().find(|size| i64::try_from(*size).is_err()) {
            // The API's sizes are int64: whoever takes them at their word could not read this.
            return Err(damaged(&format!("no size can be {size} bytes")));
        }
        let snapshot = Snapshot {
            id: id.to_owned(),
            created_at: wire.created_at,
            kind: wire.kind,
            size_bytes: wire.size_bytes,
            source_hypervisor: wire.source_hypervisor,
            source_instance_id: wire.source_instance_id,
            source_instance_name: wire.source_instance_name,
            compressed_size_bytes: wire.compressed_size_bytes.filter(|bytes| *bytes != 0),
            compression: wire.compression,
            compression_error: wire.compression_error.filter(|text| !text.is_empty()),
            compression_state: wire.compression_state.filter(|state| !state.as_str().is_empty()),
            name: Some(wire.name).filter(|name| !name.is_empty()),
            tags: wire.tags.or(wire.metadata).filter(|tags| !tags.is_empty()),
            uncompressed_size_bytes: wire.uncompressed_size_bytes.filter(|bytes| *bytes != 0),
        };
        Ok(Self { snapshot, file })
    }

    /// Where the source's directory was, as the record says: a text that anyone may have written.
    pub(crate) fn source_directory(&self) -> Option<PathBuf> {
        let path = Path::new(self.file.get("stored_metadata")?.get("DataDir")?.as_str()?);
        path.is_absolute().then(|| path.to_owned())
    }

    /// The bytes to write: two-space JSON, as the vendor's.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let Snapshot {
            id,
            created_at,
            kind,
            size_bytes,
            source_hypervisor,
            source_instance_id,
            source_instance_name,
            compressed_size_bytes,
            compression,
            compression_error,
            compression_state,
            name,
            tags,
            uncompressed_size_bytes,
        } = &self.snapshot;
        // In the vendor's order. `name` is always there; `null` stands for a key that is left out.
        let fields = [
            ("id", json!(id)),
            ("name", json!(name.as_deref().unwrap_or_default())),
            ("kind", json!(kind)),
            ("tags", json!(tags)),
            ("source_instance_id", json!(source_instance_id)),
            ("source_instance_name", json!(source_instance_name)),
            ("SourceHypervisor", json!(source_hypervisor)),
            ("created_at", json!(created_at)),
            ("size_bytes", json!(size_bytes)),
            ("compression_state", json!(compression_state)),
            ("compression_error", json!(compression_error)),
            ("compression", json!(compression)),
            ("compressed_size_bytes", json!(compressed_size_bytes)),
            ("uncompressed_size_bytes", json!(uncompressed_size_bytes)),
        ];
        let mut file = self.file.clone();
        let mut object = match file.get_mut("snapshot").map(Value::take) {
            Some(Value::Object(object)) => object,
            _ => Map::new(),
        };
        // Read as tags, written as tags.
        object.shift_remove("metadata");
        for (key, value) in fields {
            if value.is_null() {
                object.shift_remove(key);
            } else {
                object.insert(key.to_owned(), value);
            }
        }
        file.insert("snapshot".to_owned(), Value::Object(object));
        serde_json::to_vec_pretty(&file)
            .map_err(|e| Error::new(Kind::Internal, format!("cannot write a record: {e}")))
    }
}

/// Refuses a key that Go's decoder would take for one of the record's, and ours would not.
fn refuse_case_cousins(object: &Map<String, Value>) -> Result<(), String> {
    let is_cousin = |key: &&String| KEYS.iter().any(|known| known.eq_ignore_ascii_case(key) && known != key);
    match object.keys().find(is_cousin) {
        Some(key) => Err(format!("the key {key:?} differs from one of a record's in its case only")),
        None => Ok(()),
    }
}

fn field<T: DeserializeOwned>(object: &Map<String, Value>, key: &str) -> Result<T, String> {
    let value = object.get(key).ok_or_else(|| format!("it has no {key:?}"))?;
    T::deserialize(value).map_err(|e| format!("{key}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VENDOR: &str = r#"{
      "snapshot": {
        "id": "abc", "name": "", "kind": "Standby", "source_instance_id": "i1", "source_instance_name": "web",
        "SourceHypervisor": "cloud-hypervisor", "created_at": "2026-08-17T11:25:15.123456789-04:00",
        "size_bytes": 123, "compression_state": "none", "Newer": {"deep": [1, 2]}
      },
      "stored_metadata": {"Id": "i1", "Env": {"PATH": "/bin", "path": "x"}, "HypervisorPID": null}
    }"#;

    fn parse(text: &str) -> Result<Record> {
        Record::parse(serde_json::from_str(text).unwrap(), "abc", Path::new("snapshot.json"))
    }

    #[test]
    fn a_record_of_the_vendors_is_read_and_what_we_do_not_know_is_kept() {
        let mut record = parse(VENDOR).unwrap();
        assert_eq!(record.snapshot.source_hypervisor, HypervisorKind::CloudHypervisor);
        assert_eq!(record.snapshot.name, None);
        record.snapshot.compression_state = Some(CompressionState::Compressing);
        let written: Value = serde_json::from_slice(&record.to_bytes().unwrap()).unwrap();
        let mut expected: Value = serde_json::from_str(VENDOR).unwrap();
        expected["snapshot"]["compression_state"] = json!("compressing");
        expected["snapshot"]["created_at"] = json!("2026-08-17T15:25:15.123456789Z");
        assert_eq!(written, expected);
    }

    #[test]
    fn tags_under_the_old_key_are_read_and_written_under_the_new_one() {
        let old = VENDOR.replace("\"size_bytes\"", "\"metadata\": {\"a\": \"b\"}, \"size_bytes\"");
        let record = parse(&old).unwrap();
        assert_eq!(record.snapshot.tags, Some(BTreeMap::from([("a".into(), "b".into())])));
        let written: Value = serde_json::from_slice(&record.to_bytes().unwrap()).unwrap();
        assert_eq!(written["snapshot"]["tags"], json!({"a": "b"}));
        assert_eq!(written["snapshot"].get("metadata"), None);
    }

    #[test]
    fn a_record_of_another_snapshot_or_without_its_parts_is_corrupt() {
        for bad in [
            VENDOR.replace("\"id\": \"abc\"", "\"id\": \"evil\""),
            VENDOR.replace("\"SourceHypervisor\"", "\"source_hypervisor\""),
            VENDOR.replace("\"size_bytes\": 123", "\"size_bytes\": -1"),
            VENDOR.replace("\"size_bytes\": 123", "\"size_bytes\": 9223372036854775808"),
            VENDOR.replace("\"Newer\"", "\"ID\""),
            VENDOR.replace("\"id\": \"abc\"", "\"ID\": \"abc\""),
            "[]".to_owned(),
            "{}".to_owned(),
        ] {
            assert_eq!(parse(&bad).unwrap_err().kind(), Kind::Corrupt, "{bad}");
        }
        // An empty id stands for the name of the directory.
        parse(&VENDOR.replace("\"id\": \"abc\"", "\"id\": \"\"")).unwrap();
    }
}
