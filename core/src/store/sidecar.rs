//! `libhypeman.json`: what the vendor's record has no place for. It lies beside `guest/`, never in it: everything in
//! there is copied into instances and counted in `size_bytes`. A snapshot without one is fine.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{SIDECAR, json};
use crate::error::{Error, Kind, Result};
use crate::sys::dir::Dir;
use crate::types::Capture;

const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    /// The form of this file.
    pub(crate) format: u32,
    pub(crate) capture: Capture,
    /// Disks from outside the instance directory: where they lie in the payload and where they came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<OutsideDisk>,
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
    pub(crate) fn new(capture: Capture, disks: Vec<OutsideDisk>) -> Self {
        Self { format: FORMAT, capture, disks, others: Map::new() }
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
        Ok(Some(sidecar))
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self)
            .map_err(|e| Error::new(Kind::Internal, format!("cannot write a sidecar: {e}")))
    }
}
