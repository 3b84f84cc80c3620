//! Which instance a caller means, and all that is known of it without asking its VMM.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Error, Kind, Result};
use crate::store::Store;
use crate::store::registry::{Registration, ServerMetadata, unless_damaged};
use crate::types::{Disk, Instance, InstanceState, Origin};

/// An instance that was found, not yet asked for its state: what a registration says of it, or would say if the vendor's
/// server had registered it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    registration: Registration,
    /// The vendor's metadata, where its server made the instance.
    pub(crate) server: Option<Box<(ServerMetadata, Value)>>,
}

impl Deref for Found {
    type Target = Registration;

    fn deref(&self) -> &Registration {
        &self.registration
    }
}

impl Found {
    pub(crate) fn registered(registration: Registration) -> Self {
        Self { registration, server: None }
    }

    /// The same, with the VMM at another socket.
    pub(crate) fn at(mut self, api_socket: PathBuf) -> Self {
        self.registration.api_socket = Some(api_socket);
        self
    }

    fn of_server(store: &Store, metadata: ServerMetadata, whole: Value) -> Self {
        let directory = store.path().join("guests").join(&metadata.id);
        // The only files that the guest writes (upstream.md 2.2); the rest is copied before the pause.
        let overlays = (metadata.volumes.iter().flatten())
            .map(|volume| directory.join("vol-overlays").join(format!("{}.raw", volume.volume_id)));
        let disks = [directory.join("overlay.raw")].into_iter().chain(overlays).filter(|path| path.is_file());
        let registration = Registration {
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
        };
        Self { registration, server: Some(Box::new((metadata, whole))) }
    }

    pub(crate) fn with_state(self, state: InstanceState) -> Instance {
        let Registration {
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
        } = self.registration;
        let origin = if self.server.is_some() { Origin::Server } else { Origin::Registered };
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
    store.registration(wanted).map_err(|error| error.about(wanted))?;
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

#[cfg(test)]
mod tests {
    use crate::{Hypeman, Kind};

    #[test]
    fn a_damaged_registration_is_told_of_when_it_is_asked_for_by_its_id_and_hides_no_other() {
        let temp = tempfile::tempdir().unwrap();
        let hm = Hypeman::open(temp.path()).unwrap();
        let good = hm.instances().register(&crate::RegisterInstance::new("good", "qemu")).unwrap();
        let instances = temp.path().join("snapshots/.libhypeman/instances");
        std::fs::write(instances.join("damaged.json"), "{").unwrap();
        let refused = hm.instances().get("damaged").unwrap_err();
        assert_eq!(refused.kind(), Kind::Corrupt, "{refused}");
        assert!(refused.message().contains("damaged.json"), "{refused}");
        assert_eq!(hm.instances().get(&good.id).unwrap().name, "good");
        hm.instances().unregister("damaged").unwrap();
        for gone in ["damaged", "none"] {
            assert_eq!(hm.instances().get(gone).unwrap_err().kind(), Kind::NotFound);
        }
        assert_eq!(hm.instances().get("../good").unwrap_err().kind(), Kind::NotFound);
    }
}
