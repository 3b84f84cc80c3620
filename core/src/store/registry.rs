//! Registered instances: a file each. And the vendor's, as its server left them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, json};
use crate::error::{Error, Kind, Result};
use crate::types::{CompressionConfig, Disk, HypervisorKind, Timestamp, is_safe_id};

/// A registered instance, as on the disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Registration {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hypervisor: HypervisorKind,
    pub(crate) created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) api_socket: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) directory: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) disks: Vec<Disk>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) compression: Option<CompressionConfig>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) forked_from: Option<ForkedFrom>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) staging_directory: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) staging_directory_in_vmm: Option<PathBuf>,
    #[serde(default)]
    pub(crate) exclusive_snapshots: bool,
}

/// Where a fork comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForkedFrom {
    pub(crate) snapshot_id: String,
    /// Where disks from outside the source's directory are, by their paths at capture; the others are in the fork's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) disks: BTreeMap<PathBuf, PathBuf>,
}

/// What we need of the vendor's `guests/{id}/metadata.json`; its keys are Go field names.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerMetadata {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hypervisor_type: HypervisorKind,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) socket_path: PathBuf,
    pub(crate) program_started_at: Option<Timestamp>,
    pub(crate) guest_agent_ready_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) skip_guest_agent: bool,
    #[serde(default)]
    pub(crate) volumes: Option<Vec<ServerVolume>>,
    pub(crate) snapshot_policy: Option<ServerPolicy>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerVolume {
    #[serde(rename = "VolumeID", default)]
    pub(crate) volume_id: String,
    #[serde(default)]
    pub(crate) readonly: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ServerPolicy {
    pub(crate) compression: Option<CompressionConfig>,
}

/// A registration in the making.
const SCRATCH: &str = ".scratch";

pub(crate) const SERVER_METADATA: &str = "metadata.json";

/// A damaged entry never hides the others, nor does one that is another user's. Anything else may concern all of them:
/// an instance that could not be read just now must not be taken for one that is not there.
pub(crate) fn unless_damaged<T>(read: Result<Option<T>>) -> Result<Option<T>> {
    read.or_else(|error| match (error.kind(), error.errno()) {
        (Kind::Corrupt, _) | (_, Some(libc::EACCES | libc::EPERM | libc::ENOTDIR)) => Ok(None),
        _ => Err(error),
    })
}

impl Store {
    /// Every registered instance that can be read, by id.
    pub(crate) fn registrations(&self) -> Result<Vec<Registration>> {
        let Some(private) = &self.private else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        for entry in private.instances.entries()? {
            let Some(id) = entry.name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            found.extend(unless_damaged(self.registration(id))?);
        }
        Ok(found)
    }

    /// The instance that is registered as `id`, if there is one.
    pub(crate) fn registration(&self, id: &str) -> Result<Option<Registration>> {
        let Some(private) = self.private.as_ref().filter(|_| is_safe_id(id)) else { return Ok(None) };
        let instances = &private.instances;
        let name = format!("{id}.json");
        let Some(file) = instances.read_if_any(&name)? else { return Ok(None) };
        let path = instances.join(&name);
        let found: Registration =
            serde_json::from_value(json::read(&file, &path)?).map_err(|e| json::damaged(&path, e))?;
        if found.id == id { Ok(Some(found)) } else { Err(json::damaged(&path, "it is of another instance")) }
    }

    /// Tells whether `id` is registered, readable or not.
    pub(crate) fn is_registered(&self, id: &str) -> Result<bool> {
        Ok(self.private()?.instances.stat(format!("{id}.json"))?.is_some())
    }

    /// Makes a registration durable. The caller has the registry lock.
    pub(crate) fn write_registration(&self, registration: &Registration) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(registration)
            .map_err(|e| Error::new(Kind::Internal, format!("cannot write a registration: {e}")))?;
        let instances = &self.private()?.instances;
        self.durable.replace(instances, &format!("{}.json", registration.id), &bytes, instances, SCRATCH)
    }

    /// Makes durable what is seen of registrations: who wrote or removed one may have died before its flush.
    pub(crate) fn flush_registrations(&self) -> Result<()> {
        self.durable.dir(&self.private()?.instances)
    }

    /// Removes a registration that a dead writer had not finished.
    pub(crate) fn clear_dead_registration(&self) -> Result<()> {
        let instances = &self.private()?.instances;
        if instances.stat(SCRATCH)?.is_some()
            && let Some(_registry) = self.try_registry_lock()?
        {
            instances.unlink(SCRATCH)?;
        }
        Ok(())
    }

    /// Removes a registration, durably. The caller has the registry lock.
    pub(crate) fn remove_registration(&self, id: &str) -> Result<()> {
        let instances = &self.private()?.instances;
        instances.unlink(format!("{id}.json"))?;
        self.durable.dir(instances)
    }

    /// Reads the metadata of the vendor's instance `id`: what we need of it, and all of it.
    pub(crate) fn server_metadata(&self, id: &str) -> Result<Option<(ServerMetadata, Value)>> {
        let Some(dir) = self.guest_dir(id)? else { return Ok(None) };
        let Some(file) = dir.read_if_any(SERVER_METADATA)? else { return Ok(None) };
        let path = dir.join(SERVER_METADATA);
        let value = json::read(&file, &path)?;
        if let Value::Object(object) = &value {
            json::refuse_case_twins(object).map_err(|why| json::damaged(&path, why))?;
        }
        let metadata = ServerMetadata::deserialize(&value).map_err(|e| json::damaged(&path, e))?;
        if metadata.id != id {
            return Err(
                json::damaged(&path, format!("it says that it is of instance {:?}", metadata.id)).about(id)
            );
        }
        Ok(Some((metadata, value)))
    }
}
