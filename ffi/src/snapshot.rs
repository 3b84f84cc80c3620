//! A snapshot, and lists of them: getters.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;

use hypeman_core::SnapshotKind;

use crate::border::{c_string, free, json, lend, look, present};
use crate::compression::{Compression, Lent};

/// What a snapshot captures.
#[repr(i32)]
pub enum Kind {
    /// Guest memory, device state and disks; the source is Running, Paused or Standby.
    Standby = 1,
    /// Disks only; the source is Stopped.
    Stopped = 2,
}

/// A snapshot: the 14 fields of the API. Immutable; any thread may read it; outlives the handle.
pub struct Snapshot {
    id: CString,
    created_at: CString,
    created_at_unix_ms: i64,
    kind: i32,
    kind_name: CString,
    size_bytes: u64,
    source_hypervisor: CString,
    source_instance_id: CString,
    source_instance_name: CString,
    compressed_size_bytes: Option<u64>,
    compression: Option<Lent>,
    compression_error: Option<CString>,
    compression_state: Option<CString>,
    name: Option<CString>,
    tags: Vec<(CString, CString)>,
    uncompressed_size_bytes: Option<u64>,
    whole: hypeman_core::Snapshot,
}

impl From<hypeman_core::Snapshot> for Snapshot {
    fn from(whole: hypeman_core::Snapshot) -> Self {
        let hypeman_core::Snapshot {
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
        } = whole.clone();
        let tags = tags.unwrap_or_default().into_iter();
        Self {
            id: c_string(id),
            created_at: c_string(created_at.to_string()),
            created_at_unix_ms: i64::try_from(created_at.unix_nanos().div_euclid(1_000_000))
                .unwrap_or_default(),
            kind: match kind {
                SnapshotKind::Standby => Kind::Standby as i32,
                SnapshotKind::Stopped => Kind::Stopped as i32,
                SnapshotKind::Other(_) => 0,
            },
            kind_name: c_string(kind.as_str()),
            size_bytes,
            source_hypervisor: c_string(source_hypervisor.as_str()),
            source_instance_id: c_string(source_instance_id),
            source_instance_name: c_string(source_instance_name),
            compressed_size_bytes,
            compression: compression.map(Lent::from),
            compression_error: compression_error.map(c_string),
            compression_state: compression_state.map(|state| c_string(state.as_str())),
            name: name.map(c_string),
            tags: tags.map(|(key, value)| (c_string(key), c_string(value))).collect(),
            uncompressed_size_bytes,
            whole,
        }
    }
}

/// Returns the unique id: 24 characters. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_id(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.id.as_ptr())
}

/// Returns when the capture ended: RFC 3339 in UTC. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_created_at(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.created_at.as_ptr())
}

/// Returns when the capture ended, in milliseconds since 1970-01-01T00:00:00Z.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_created_at_unix_ms(snapshot: Option<&Snapshot>) -> i64 {
    look(snapshot, 0, |snapshot| snapshot.created_at_unix_ms)
}

/// Returns what was captured: HYPEMAN_KIND_STANDBY or HYPEMAN_KIND_STOPPED; 0 for a kind that this version does not
/// know.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_kind(snapshot: Option<&Snapshot>) -> i32 {
    look(snapshot, 0, |snapshot| snapshot.kind)
}

/// Returns what was captured, as text: "Standby", "Stopped", or what a newer version wrote. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_kind_name(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.kind_name.as_ptr())
}

/// Returns the total payload size: the apparent sizes of its files, in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_size_bytes(snapshot: Option<&Snapshot>) -> u64 {
    look(snapshot, 0, |snapshot| snapshot.size_bytes)
}

/// Returns the source's hypervisor at capture. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_source_hypervisor(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.source_hypervisor.as_ptr())
}

/// Returns the source's id at capture. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_source_instance_id(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.source_instance_id.as_ptr())
}

/// Returns the source's name at capture. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_source_instance_name(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| snapshot.source_instance_name.as_ptr())
}

/// Puts the size of the compressed memory into bytes_out and returns 1, or returns 0 where it is not compressed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_compressed_size_bytes(
    snapshot: Option<&Snapshot>,
    bytes_out: Option<&mut MaybeUninit<u64>>,
) -> i32 {
    present(bytes_out, look(snapshot, None, |snapshot| snapshot.compressed_size_bytes))
}

/// Returns the compression settings that run or ran, or NULL when off. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_compression(snapshot: Option<&Snapshot>) -> *const Compression {
    look(snapshot, ptr::null(), |snapshot| {
        snapshot.compression.as_ref().map_or(ptr::null(), |lent| lent.settings())
    })
}

/// Returns why compression failed, or NULL where it did not. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_compression_error(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| lend(snapshot.compression_error.as_ref()))
}

/// Returns where compression stands: "none", "compressing", "compressed", "error", or what a newer version wrote;
/// NULL where nothing is said. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_compression_state(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| lend(snapshot.compression_state.as_ref()))
}

/// Returns the name, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_name(snapshot: Option<&Snapshot>) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| lend(snapshot.name.as_ref()))
}

/// Returns the number of tags.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_tag_count(snapshot: Option<&Snapshot>) -> usize {
    look(snapshot, 0, |snapshot| snapshot.tags.len())
}

/// Returns the key of a tag, in the order of keys, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_tag_key(snapshot: Option<&Snapshot>, index: usize) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| lend(snapshot.tags.get(index).map(|(key, _)| key)))
}

/// Returns the value of a tag, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_tag_value(snapshot: Option<&Snapshot>, index: usize) -> *const c_char {
    look(snapshot, ptr::null(), |snapshot| lend(snapshot.tags.get(index).map(|(_, value)| value)))
}

/// Puts the apparent size of the memory before compression into bytes_out and returns 1, or returns 0 where it is
/// not compressed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_uncompressed_size_bytes(
    snapshot: Option<&Snapshot>,
    bytes_out: Option<&mut MaybeUninit<u64>>,
) -> i32 {
    present(bytes_out, look(snapshot, None, |snapshot| snapshot.uncompressed_size_bytes))
}

/// Returns every field as JSON, absent ones left out; fields of newer versions, too. To be freed with
/// hypeman_string_free; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_to_json(snapshot: Option<&Snapshot>) -> *mut c_char {
    json(snapshot, |snapshot| serde_json::to_string(&snapshot.whole))
}

/// Frees a snapshot that a call handed out; not one of a list. What is on the disk stays. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshot_free(snapshot: Option<Box<Snapshot>>) {
    free(snapshot);
}

/// A list of snapshots, which it owns. Immutable; any thread may read it; outlives the handle.
pub struct Snapshots(Vec<Snapshot>);

impl From<Vec<Arc<hypeman_core::Snapshot>>> for Snapshots {
    fn from(snapshots: Vec<Arc<hypeman_core::Snapshot>>) -> Self {
        Self(snapshots.into_iter().map(Arc::unwrap_or_clone).map(Snapshot::from).collect())
    }
}

/// Returns the number of snapshots in a list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshots_count(snapshots: Option<&Snapshots>) -> usize {
    look(snapshots, 0, |snapshots| snapshots.0.len())
}

/// Returns a snapshot of a list, or NULL past the last. Borrowed from the list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshots_at(snapshots: Option<&Snapshots>, index: usize) -> *const Snapshot {
    look(snapshots, ptr::null(), |snapshots| snapshots.0.get(index).map_or(ptr::null(), ptr::from_ref))
}

/// Frees a list and its snapshots. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_snapshots_free(snapshots: Option<Box<Snapshots>>) {
    free(snapshots);
}
