//! Where a scene lies, and what is in its files.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hypeman_core::{Hypeman, Options, SnapshotKind};

/// The directory of a scene, wherever it lies.
pub const SCENE: &str = "/proc/self/cwd";
pub const VM: &str = "vm-a";
pub const MEMORY: &str = "snapshots/snapshot-latest/memory";

/// There where the instance is a VM that runs.
pub const IS_LIVE: &str = "live";

pub fn path(below: &str) -> PathBuf {
    Path::new(SCENE).join(below)
}

/// Opens the scene's data directory, with one thread for a call: there is little to do, many times.
pub fn open() -> hypeman_core::Result<Hypeman> {
    Hypeman::open_with(path("data"), Options { threads: NonZeroUsize::new(1), ..Options::default() })
}

/// Waits until no job runs: until its thread, the only one beside ours, has ended. What a job could not bring to its
/// end leaves its note.
pub fn settle() {
    let has_note =
        || fs::read_dir(path("data/snapshots/.libhypeman/jobs")).is_ok_and(|mut jobs| jobs.next().is_some());
    while has_note() && fs::read_dir("/proc/self/task").unwrap().count() > 1 {
        thread::sleep(Duration::from_micros(100));
    }
}

/// Bytes that are `content`'s own: noise, zeros, and runs.
pub fn bytes(content: u8, salt: u8, len: usize) -> Vec<u8> {
    let mut random = crate::disk::Random(u64::from(content) << 8 | u64::from(salt));
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        match (bytes.len() / 4096) % 4 {
            1 => bytes.extend([0; 4096]),
            2 => bytes.extend([content; 4096]),
            _ => (0..512).for_each(|_| bytes.extend(random.next().to_le_bytes())),
        }
    }
    bytes.truncate(len);
    bytes
}

/// The files of an instance that holds `content`, beneath its directory.
pub fn files(content: u8, has_memory: bool) -> Vec<(&'static str, Vec<u8>)> {
    let mut files =
        vec![("overlay.raw", bytes(content, 1, 9000)), ("config/deep/net.json", bytes(content, 2, 700))];
    if has_memory {
        files.push((MEMORY, bytes(content, 3, 40 << 10)));
    }
    files
}

/// The disk of an instance that holds `content`.
pub fn extra(content: u8) -> Vec<u8> {
    bytes(content, 4, 5000)
}

pub fn kind(has_memory: bool) -> SnapshotKind {
    if has_memory { SnapshotKind::Standby } else { SnapshotKind::Stopped }
}
