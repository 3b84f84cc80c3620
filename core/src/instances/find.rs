//! Which instance a caller means, and all that is known of it without asking its VMM.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::store::registry::{ForkedFrom, Registration, ServerMetadata, unless_damaged};
use crate::types::{CompressionConfig, Disk, HypervisorKind, Instance, InstanceState, Origin, Timestamp};

/// An instance that was found, not yet asked for its state.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) hypervisor: HypervisorKind,
    pub(crate) created_at: Timestamp,
    pub(crate) api_socket: Option<PathBuf>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) disks: Vec<Disk>,
    pub(crate) compression: Option<CompressionConfig>,
    pub(crate) forked_from: Option<ForkedFrom>,
    pub(crate) staging_directory: Option<PathBuf>,
    pub(crate) staging_directory_in_vmm: Option<PathBuf>,
    pub(crate) exclusive_snapshots: bool,
    /// The vendor's metadata, where its server made the instance.
    pub(crate) server: Option<Box<(ServerMetadata, Value)>>,
}

impl Found {
    pub(crate) fn registered(registration: Registration) -> Self {
        let Registration {
            id,
            name,
            hypervisor,
            created_at,
            api_socket,
            directory,
            disks,
            compression,
            forked_from,
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        } = registration;
        Self {
            id,
            name,
            hypervisor,
            created_at,
            api_socket,
            directory,
            disks,
            compression,
            forked_from,
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
            server: None,
        }
    }

    fn of_server(store: &Store, metadata: ServerMetadata, whole: Value) -> Self {
        let directory = store.path().join("guests").join(&metadata.id);
        // The only files that the guest writes (upstream.md 2.2); the rest is copied before the pause.
        let overlays = (metadata.volumes.iter().flatten())
            .map(|volume| directory.join("vol-overlays").join(format!("{}.raw", volume.volume_id)));
        let disks = [directory.join("overlay.raw")].into_iter().chain(overlays).filter(|path| path.is_file());
        Self {
            id: metadata.id.clone(),
            name: metadata.name.clone(),
            hypervisor: metadata.hypervisor_type.clone(),
            created_at: metadata.created_at,
            api_socket: Some(metadata.socket_path.clone()).filter(|path| path.is_absolute()),
            disks: disks.map(|path| Disk { path, readonly: false }).collect(),
            directory: Some(directory),
            compression: metadata.snapshot_policy.as_ref().and_then(|policy| policy.compression.clone()),
            forked_from: None,
            staging_directory: None,
            staging_directory_in_vmm: None,
            exclusive_snapshots: false,
            server: Some(Box::new((metadata, whole))),
        }
    }

    pub(crate) fn with_state(self, state: InstanceState) -> Instance {
        let Self {
            id,
            name,
            hypervisor,
            created_at,
            api_socket,
            directory,
            disks,
            compression,
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots: _,
            forked_from: _,
            server,
        } = self;
        let origin = if server.is_some() { Origin::Server } else { Origin::Registered };
        Instance {
            id,
            name,
            hypervisor,
            state,
            origin,
            created_at,
            api_socket,
            directory,
            disks,
            compression,
            generation: None,
            staging_directory,
            staging_directory_in_vmm,
        }
    }

    /// Where a disk from outside the directory is whose path was `source` at capture; `None` where it lies in the
    /// directory, as in a fork for which the host named no other place.
    pub(crate) fn outside_path(&self, source: &Path) -> Option<PathBuf> {
        match &self.forked_from {
            None => Some(source.to_owned()),
            Some(fork) => fork.disks.get(source).cloned(),
        }
    }

    /// The source's metadata as the vendor's records keep it (upstream.md 2.3): its server lists and shows by it.
    pub(crate) fn stored_metadata(&self) -> Value {
        if let Some(server) = &self.server {
            let mut whole = server.1.clone();
            if let Value::Object(object) = &mut whole {
                object.remove("PendingStandbyCompression");
            }
            return whole;
        }
        json!({
            "Id": self.id,
            "Name": self.name,
            "Image": "",
            "Env": {},
            "Tags": {},
            "CreatedAt": self.created_at,
            "StartedAt": null,
            "StoppedAt": null,
            "HypervisorType": self.hypervisor,
            "HypervisorVersion": "",
            "HypervisorPID": null,
            "SocketPath": self.api_socket.as_deref().unwrap_or("".as_ref()),
            "DataDir": self.directory.as_deref().unwrap_or("".as_ref()),
            "SkipGuestAgent": true,
        })
    }
}

/// Every instance that can be read, registered ones first.
pub(crate) fn all(store: &Store) -> Result<Vec<Found>> {
    let mut found: Vec<_> = store.registrations()?.into_iter().map(Found::registered).collect();
    for id in store.guest_ids()? {
        if let Some((metadata, whole)) = unless_damaged(store.server_metadata(&id))? {
            found.push(Found::of_server(store, metadata, whole));
        }
    }
    Ok(found)
}

/// Finds an instance by exact id, then exact name, then unique id prefix.
pub(crate) fn find(store: &Store, wanted: &str) -> Result<Found> {
    if wanted.is_empty() {
        return Err(Error::new(Kind::InvalidRequest, "the instance id must not be empty"));
    }
    // Damage is told of the one that is asked for by its id, and passed over in all others.
    store.server_metadata(wanted).map_err(|error| error.about(wanted))?;
    let mut all = all(store)?;
    let exact =
        all.iter().position(|one| one.id == wanted).or_else(|| all.iter().position(|one| one.name == wanted));
    if let Some(place) = exact {
        return Ok(all.swap_remove(place));
    }
    all.retain(|one| one.id.starts_with(wanted));
    match all.len() {
        1 => Ok(all.swap_remove(0)),
        0 => Err(Error::new(
            Kind::NotFound,
            format!("instance not found: {wanted:?}; register it first, or see instances.list"),
        )
        .about(wanted)),
        several => Err(Error::new(
            Kind::Conflict,
            format!("ambiguous: {several} instances match {wanted:?}, use the full id"),
        )
        .about(wanted)),
    }
}
