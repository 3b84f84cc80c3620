//! `libhypeman.json`: what the vendor's record has no place for. It lies beside `guest/`, never in it: everything in
//! there is copied into instances and counted in `size_bytes`. A snapshot without one is fine.

use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use twox_hash::XxHash3_64;

use super::checksums::Checksums;
use super::{RECORD, SIDECAR, Store, json};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::types::{Capture, Disk, WorkingSet};

const FORMAT: u32 = 1;
/// What stands in front of the seal, whose digits are zeros while it is made. No text within JSON can hold it.
const SEAL: &str = "\"sidecar_xxh3\": \"";
const UNSEALED: &str = "0000000000000000";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    /// The form of this file.
    pub(crate) format: u32,
    pub(crate) capture: Capture,
    /// Disks from outside the instance directory: where they lie in the payload and where they came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<OutsideDisk>,
    /// Disks in the instance directory that the host had named, by their paths in it and so in the payload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) inside_disks: Vec<Disk>,
    /// Bytes of the memory file when it was captured, raw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
    /// Of every file of the payload; absent until they are made, after the acknowledgement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checksums: Option<Checksums>,
    /// What a VM wanted first after a restore, once one was served page by page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) working_set: Option<WorkingSet>,
    /// The xxh3-64 of the record as libhypeman wrote it last, and before that: a power cut between the two writes
    /// leaves either.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    record_xxh3: Vec<String>,
    /// The xxh3-64 of this file.
    #[serde(default)]
    sidecar_xxh3: String,
    /// Keys of newer versions.
    #[serde(flatten)]
    pub(crate) others: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutsideDisk {
    /// Path beneath `guest/`.
    pub(crate) payload: String,
    /// Absolute path at capture.
    pub(crate) source: String,
    pub(crate) readonly: bool,
}

impl Sidecar {
    pub(crate) fn new(capture: Capture, disks: Vec<OutsideDisk>, inside_disks: Vec<Disk>) -> Self {
        let (memory_bytes, record_xxh3, checksums, working_set, others) =
            (None, Vec::new(), None, None, Map::new());
        Self {
            format: FORMAT,
            capture,
            disks,
            inside_disks,
            memory_bytes,
            record_xxh3,
            checksums,
            working_set,
            sidecar_xxh3: UNSEALED.to_owned(),
            others,
        }
    }

    /// Reads the sidecar of the snapshot in `dir`, if it has one.
    pub(crate) fn read(dir: &Dir) -> Result<Option<Self>> {
        let Some(file) = dir.read_if_any(SIDECAR)? else { return Ok(None) };
        let path = dir.join(SIDECAR);
        let sidecar: Self =
            serde_json::from_value(json::read(&file, &path)?).map_err(|e| json::damaged(&path, e))?;
        if sidecar.format > FORMAT {
            let why = format!("{} was written by a newer libhypeman; update this one", path.display());
            return Err(Error::new(Kind::Incompatible, why).at(path));
        }
        match sidecar.stray_path() {
            None => Ok(Some(sidecar)),
            Some(stray) => {
                let why = format!("it names the disk {stray:?}, which is no path within a payload");
                Err(json::damaged(&path, why))
            }
        }
    }

    /// A path that leads out of the payload. A fork takes such paths for those of its own disks, and whoever wrote this
    /// file would choose files of this host for it.
    fn stray_path(&self) -> Option<&Path> {
        let outside = self.disks.iter().map(|disk| Path::new(&disk.payload));
        let mut paths = outside.chain(self.inside_disks.iter().map(|disk| disk.path.as_path()));
        paths.find(|path| {
            let is_within = path.components().all(|part| matches!(part, Component::Normal(_)));
            !is_within || path.as_os_str().is_empty()
        })
    }

    /// Compares the sidecar of the snapshot in `dir`, if it has one, with its seal.
    ///
    /// # Errors
    /// `corrupt` where it is not as it was written; errors of the disk.
    pub(crate) fn check_seal(dir: &Dir) -> Result<()> {
        let Some(file) = dir.read_if_any(SIDECAR)? else { return Ok(()) };
        let path = dir.join(SIDECAR);
        let mut text = json::read_text(&file, &path)?;
        let seal = take_seal(&mut text).ok_or_else(|| json::damaged(&path, "it has lost its checksum"))?;
        if seal == digits(text.as_bytes()) {
            Ok(())
        } else {
            Err(json::damaged(&path, "its checksum does not match"))
        }
    }

    /// Reads the sidecar of the snapshot in `dir`, if it has one, and compares it with its seal.
    ///
    /// # Errors
    /// As [`Sidecar::check_seal`].
    pub(crate) fn read_sealed(dir: &Dir) -> Result<Option<Self>> {
        Self::check_seal(dir)?;
        Self::read(dir)
    }

    /// Notes that the record may be `new` from now on, beside what it is now.
    pub(crate) fn admit_record(&mut self, now: Option<&[u8]>, new: &[u8]) {
        self.record_xxh3 = now.into_iter().chain([new]).map(digits).collect();
        self.record_xxh3.dedup();
    }

    /// Compares the record of the snapshot in `dir` with what libhypeman wrote. A snapshot of someone else's has
    /// nothing to compare with.
    ///
    /// # Errors
    /// `corrupt` where it is not as it was written; errors of the disk.
    pub(crate) fn check_record(dir: &Dir) -> Result<()> {
        let mut written = Vec::new();
        loop {
            let now = Self::read_sealed(dir)?.map(|sidecar| sidecar.record_xxh3).unwrap_or_default();
            let path = dir.join(RECORD);
            let record = dir.read_if_any(RECORD)?.map(|file| json::read_bytes(&file, &path)).transpose()?;
            let is_known = record.is_none_or(|record| now.contains(&digits(&record)));
            if now.is_empty() || is_known {
                return Ok(());
            }
            // Unless someone rewrote both between our two looks.
            if now == written {
                let why = "its bytes are not what libhypeman wrote: they were damaged, or changed by another program";
                return Err(json::damaged(&path, why));
            }
            written = now;
        }
    }

    /// The bytes to write: JSON, sealed.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed = |why: String| Error::new(Kind::Internal, format!("cannot write a sidecar: {why}"));
        let mut text = serde_json::to_string_pretty(self).map_err(|e| failed(e.to_string()))?;
        take_seal(&mut text).ok_or_else(|| failed("it has no place for its checksum".to_owned()))?;
        let sealed = format!("{SEAL}{}", digits(text.as_bytes()));
        Ok(text.replacen(&format!("{SEAL}{UNSEALED}"), &sealed, 1).into_bytes())
    }
}

impl Store {
    /// Replaces the sidecar of the snapshot in `dir`, whose job the caller has.
    pub(crate) fn replace_sidecar(&self, dir: &Dir, id: &str, sidecar: &Sidecar) -> Result<()> {
        let scratch = &self.private()?.staging;
        self.durable.replace(dir, SIDECAR, &sidecar.to_bytes()?, scratch, &format!("{id}.json"))
    }
}

/// Puts zeros in the place of the seal, which is returned; `None` where there is none.
fn take_seal(text: &mut String) -> Option<String> {
    let start = text.find(SEAL)? + SEAL.len();
    let end = start.checked_add(UNSEALED.len())?;
    let seal = text.get(start..end)?.to_owned();
    text.replace_range(start..end, UNSEALED);
    Some(seal)
}

fn digits(bytes: &[u8]) -> String {
    format!("{:016x}", XxHash3_64::oneshot(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::checksums::FileChecksums;
    use crate::types::{Host, InstanceState};

    #[test]
    fn disks_that_lie_outside_the_payload_are_no_disks_of_a_snapshot() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let read = |inside: &str, outside: &str| {
            let capture = Capture::of(InstanceState::Running, Host::default());
            let disk = OutsideDisk { payload: outside.into(), source: "/vms/a".into(), readonly: false };
            let inside = Disk { path: inside.into(), readonly: false };
            let sidecar = Sidecar::new(capture, vec![disk], vec![inside]);
            std::fs::write(temp.path().join(SIDECAR), sidecar.to_bytes().unwrap()).unwrap();
            Sidecar::read_sealed(&dir).map(drop)
        };
        read("overlay.raw", "disks/0-a").unwrap();
        for stray in ["/etc/hostname", "../other/overlay.raw", "a/../../b", ""] {
            assert_eq!(read(stray, "disks/0-a").unwrap_err().kind(), Kind::Corrupt, "{stray:?}");
            assert_eq!(read("overlay.raw", stray).unwrap_err().kind(), Kind::Corrupt, "{stray:?}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_sidecar_breaks_its_seal_and_newer_keys_are_kept() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let mut sidecar =
            Sidecar::new(Capture::of(InstanceState::Running, Host::default()), Vec::new(), Vec::new());
        sidecar.others.insert("newer".to_owned(), serde_json::json!({"sidecar_xxh3": "of something else"}));
        let mut checksums = Checksums::new([3].into_iter());
        checksums.files.push(FileChecksums::new("disk", 3, &[7]));
        sidecar.checksums = Some(checksums);
        let path = temp.path().join(SIDECAR);
        let bytes = sidecar.to_bytes().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        Sidecar::check_seal(&dir).unwrap();
        let read = Sidecar::read(&dir).unwrap().unwrap();
        assert_eq!((&read.checksums, &read.others), (&sidecar.checksums, &sidecar.others));
        std::fs::write(&path, read.to_bytes().unwrap()).unwrap();
        Sidecar::check_seal(&dir).unwrap();

        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(Sidecar::check_seal(&dir).unwrap_err().kind(), Kind::Corrupt, "bit {bit}");
        }
    }
}
