//! Which disks the guest writes to, as QEMU names them: a path, a protocol, or JSON with either somewhere inside.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Qemu;
use super::message::{DescriptorSet, Drive};
use crate::call::Limit;
use crate::error::Result;
use crate::hypervisor::{WrittenDisk, reach};

/// What QEMU calls a set of descriptors that it was given.
const DESCRIPTOR_SETS: &str = "/dev/fdset/";

/// Where a disk's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Nowhere: a disk of zeros that forgets what it is told.
    Nowhere,
    /// In a file, by QEMU's own root and working directory.
    File(String),
    /// On another machine, or in what only QEMU understands.
    Elsewhere,
}

impl Qemu {
    pub(super) fn disks_written(&mut self, limit: &Limit) -> Result<Vec<WrittenDisk>> {
        let drives: Vec<Drive> = self.qmp.ask("query-block", json!({}), limit)?;
        let mut disks = Vec::new();
        for medium in drives.into_iter().filter_map(|drive| drive.inserted).filter(|medium| !medium.ro) {
            let (name, path) = match place_of(&medium.file) {
                Place::Nowhere => continue,
                Place::Elsewhere => (medium.file, None),
                Place::File(name) => {
                    let path = match name.strip_prefix(DESCRIPTOR_SETS) {
                        Some(set) => self.path_of_set(set, limit)?,
                        None => Some(reach::seen_by(self.qmp.peer(), Path::new(&name))),
                    };
                    (name, path)
                }
            };
            disks.push(WrittenDisk { name, path });
        }
        Ok(disks)
    }

    fn path_of_set(&mut self, id: &str, limit: &Limit) -> Result<Option<PathBuf>> {
        let sets: Vec<DescriptorSet> = self.qmp.ask("query-fdsets", json!({}), limit)?;
        let found = sets.iter().find(|set| set.fdset_id.to_string() == id);
        let descriptor = found.and_then(DescriptorSet::first);
        Ok(descriptor.map(|number| Path::new("/proc").join(format!("{}/fd/{number}", self.qmp.peer().pid))))
    }
}

/// Reads QEMU's name for a disk.
fn place_of(name: &str) -> Place {
    if let Some(described) = name.strip_prefix("json:") {
        return serde_json::from_str(described).map_or(Place::Elsewhere, |disk| place_described(&disk));
    }
    if name.starts_with("null-co:") || name.starts_with("null-aio:") {
        return Place::Nowhere;
    }
    let first = name.split('/').next().unwrap_or_default();
    if name.is_empty() || first.contains(':') { Place::Elsewhere } else { Place::File(name.to_owned()) }
}

/// Follows the layers of a format down to what holds the bytes.
fn place_described(mut disk: &Value) -> Place {
    while let Some(beneath) = disk.get("file") {
        disk = beneath;
    }
    let text = |key| disk.get(key).and_then(Value::as_str);
    match (text("driver"), text("filename")) {
        (Some("null-co" | "null-aio"), _) => Place::Nowhere,
        (Some("file" | "host_device"), Some(name)) => Place::File(name.to_owned()),
        _ => disk.as_str().map_or(Place::Elsewhere, place_of),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_disks_are_read_as_real_qemus_write_them() {
        let file = |name: &str| Place::File(name.to_owned());
        for (name, place) in [
            ("/vms/a/disk.raw", file("/vms/a/disk.raw")),
            ("/vms/a:b/disk,1.raw", file("/vms/a:b/disk,1.raw")),
            ("disk.raw", file("disk.raw")),
            ("/dev/fdset/7", file("/dev/fdset/7")),
            (
                r#"json:{"offset": "512", "driver": "raw", "file": {"driver": "file", "filename": "a.raw"}}"#,
                file("a.raw"),
            ),
            (
                r#"json:{"backing": {"driver": "raw", "file": {"driver": "file", "filename": "/base.raw"}}, "driver": "qcow2", "file": {"driver": "file", "filename": "/var/tmp/vl.B1MCZ3"}}"#,
                file("/var/tmp/vl.B1MCZ3"),
            ),
            (r#"json:{"driver": "raw", "file": "nbd:localhost:10809"}"#, Place::Elsewhere),
            (r#"json:{"driver": "rbd", "pool": "vms", "image": "a"}"#, Place::Elsewhere),
            ("json:{broken", Place::Elsewhere),
            ("", Place::Elsewhere),
            ("nbd://host/disk", Place::Elsewhere),
            ("null-co://", Place::Nowhere),
            (r#"json:{"read-zeroes": true, "driver": "null-co", "size": 1048576}"#, Place::Nowhere),
        ] {
            assert_eq!(place_of(name), place, "{name}");
        }
    }
}
