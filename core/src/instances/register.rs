//! `instances.register`

use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use super::REGISTRY_PATIENCE;
use super::find::{Found, all};
use super::state::state;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::store::Store;
use crate::store::registry::Registration;
use crate::types::{Instance, RegisterInstance, Timestamp, new_id};

pub(super) fn register(hm: &Hypeman, request: &RegisterInstance) -> Result<Instance> {
    let store = hm.writable_store()?;
    request.check()?;
    check_paths(store, request)?;

    let found = enter(store, request)?;
    // Asked without the registry: a slow VMM must not keep others from registering.
    let state = state(store, &found);
    Ok(found.with_state(state))
}

/// Finds the instance that was registered so before, or registers it.
fn enter(store: &Store, request: &RegisterInstance) -> Result<Found> {
    let _registry = store.registry_lock(Call::default().timeout(REGISTRY_PATIENCE).limit())?;
    for other in all(store)? {
        let same_id = request.id.as_deref() == Some(other.id.as_str());
        if other.name != request.name && !same_id {
            continue;
        }
        if is_same(&other, request) {
            return Ok(other);
        }
        let what = if same_id { "id" } else { "name" };
        return Err(Error::new(
            Kind::Conflict,
            format!(
                "the {what} is taken by instance {} named {:?}, which differs; unregister it first, or choose another {what}",
                other.id, other.name
            ),
        )
        .about(&other.id));
    }

    let RegisterInstance {
        name,
        hypervisor,
        id,
        api_socket,
        directory,
        disks,
        compression,
        staging_directory,
        staging_directory_in_vmm,
        exclusive_snapshots,
    } = request.clone();
    let registration = Registration {
        id: id.map_or_else(new_id, Ok)?,
        name,
        hypervisor,
        created_at: Timestamp::now(),
        api_socket,
        directory,
        disks,
        compression,
        forked_from: None,
        staging_directory,
        staging_directory_in_vmm,
        exclusive_snapshots,
    };
    store.write_registration(&registration)?;
    Ok(Found::registered(registration))
}

fn is_same(other: &Found, request: &RegisterInstance) -> bool {
    let RegisterInstance {
        name,
        hypervisor,
        id,
        api_socket,
        directory,
        disks,
        compression,
        staging_directory,
        staging_directory_in_vmm,
        exclusive_snapshots,
    } = request;
    other.server.is_none()
        && other.name == *name
        && other.hypervisor == *hypervisor
        && id.as_ref().is_none_or(|id| *id == other.id)
        && other.api_socket == *api_socket
        && other.directory == *directory
        && other.disks == *disks
        && other.compression == *compression
        && other.staging_directory == *staging_directory
        && other.staging_directory_in_vmm == *staging_directory_in_vmm
        && other.exclusive_snapshots == *exclusive_snapshots
}

/// Checks what the host says of files. A socket may come later: a VM that is not running has none.
fn check_paths(store: &Store, request: &RegisterInstance) -> Result<()> {
    let refuse = |path: &Path, what: &str| {
        Err(Error::new(Kind::InvalidRequest, format!("{}: {what}", path.display())).at(path))
    };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let all = request
        .api_socket
        .iter()
        .chain(&request.directory)
        .chain(&request.staging_directory)
        .chain(&request.staging_directory_in_vmm)
        .chain(request.disks.iter().map(|disk| &disk.path));
    for path in all {
        if path.to_str().is_none() {
            return refuse(path, "a path that is not UTF-8 cannot be kept in a record");
        }
    }
    if let Some(directory) = &request.directory {
        match directory.metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return refuse(directory, "the instance directory must be a directory"),
            Err(e) => return refuse(directory, &format!("the instance directory must exist: {e}")),
        }
        if real(store.path()).starts_with(real(directory)) {
            return refuse(
                directory,
                "the instance directory must not hold the data directory: it would capture its own snapshots",
            );
        }
    }
    let snapshots = real(&store.path().join("snapshots"));
    for path in request.directory.iter().chain(request.disks.iter().map(|disk| &disk.path)) {
        if real(path).starts_with(&snapshots) {
            return refuse(
                path,
                "it lies among the snapshots, which a VM must not change; restore or fork one",
            );
        }
    }
    if let Some(staging) = &request.staging_directory {
        match staging.metadata() {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return refuse(staging, "the staging directory must be a directory"),
            Err(e) => return refuse(staging, &format!("the staging directory must exist: {e}")),
        }
        let kept = request.directory.iter().map(|path| real(path)).chain([real(store.path())]);
        if kept.into_iter().any(|kept| real(staging).starts_with(kept)) {
            return refuse(
                staging,
                "the staging directory must lie outside the instance directory and the data directory",
            );
        }
    }
    for disk in &request.disks {
        match disk.path.metadata() {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return refuse(&disk.path, "a disk must be a regular file"),
            Err(e) => return refuse(&disk.path, &format!("the disk must exist: {e}")),
        }
    }
    if let Some(socket) = &request.api_socket
        && let Ok(metadata) = socket.metadata()
        && !metadata.file_type().is_socket()
    {
        return refuse(socket, "the API socket must be a socket");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::{Disk, Hypeman, Kind, RegisterInstance};

    #[test]
    fn what_is_stored_is_no_place_for_a_vm() {
        let temp = tempfile::tempdir().unwrap();
        let hm = Hypeman::open(temp.path()).unwrap();
        let stored = temp.path().join("snapshots/a/guest");
        fs::create_dir_all(&stored).unwrap();
        fs::write(stored.join("overlay.raw"), "disk").unwrap();
        let disk = Disk { path: stored.join("overlay.raw"), readonly: false };
        for vm in [
            RegisterInstance { directory: Some(stored.clone()), ..RegisterInstance::new("web", "qemu") },
            RegisterInstance { disks: vec![disk], ..RegisterInstance::new("web", "qemu") },
        ] {
            let refused = hm.instances().register(&vm).unwrap_err();
            assert_eq!(refused.kind(), Kind::InvalidRequest, "{refused}");
            assert!(refused.message().contains("among the snapshots"), "{refused}");
        }
    }
}
