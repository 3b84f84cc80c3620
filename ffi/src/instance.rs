//! An instance, and lists of them: getters.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use hypeman_core::Disk;

use crate::border::{c_path, c_string, free, json, lend, look, present};
use crate::compression::{Compression, Lent};

/// A VM, where it is and what it did when it was looked up. Immutable; any thread may read it; outlives the handle.
pub struct Instance {
    id: CString,
    name: CString,
    hypervisor: CString,
    state: CString,
    origin: CString,
    created_at: CString,
    api_socket: Option<CString>,
    directory: Option<CString>,
    disks: Vec<(CString, bool)>,
    compression: Option<Lent>,
    generation: Option<u64>,
    staging_directory: Option<CString>,
    staging_directory_in_vmm: Option<CString>,
    whole: hypeman_core::Instance,
}

impl From<hypeman_core::Instance> for Instance {
    fn from(whole: hypeman_core::Instance) -> Self {
        let hypeman_core::Instance {
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
            generation,
            staging_directory,
            staging_directory_in_vmm,
        } = whole.clone();
        let disk = |Disk { path, readonly }| (c_path(path), readonly);
        Self {
            id: c_string(id),
            name: c_string(name),
            hypervisor: c_string(hypervisor.as_str()),
            state: c_string(state.as_str()),
            origin: c_string(origin.as_str()),
            created_at: c_string(created_at.to_string()),
            api_socket: api_socket.map(c_path),
            directory: directory.map(c_path),
            disks: disks.into_iter().map(disk).collect(),
            compression: compression.map(Lent::from),
            generation,
            staging_directory: staging_directory.map(c_path),
            staging_directory_in_vmm: staging_directory_in_vmm.map(c_path),
            whole,
        }
    }
}

/// Returns the unique id. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_id(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.id.as_ptr())
}

/// Returns the unique name. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_name(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.name.as_ptr())
}

/// Returns the program that runs it: "cloud-hypervisor", "firecracker", "qemu", "qemu-microvm", "vz", or what a
/// newer version wrote. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_hypervisor(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.hypervisor.as_ptr())
}

/// Returns what it did when it was looked up: "Created", "Initializing", "Running", "Paused", "Shutdown",
/// "Standby", "Stopped" or "Unknown". Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_state(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.state.as_ptr())
}

/// Returns who told of it: "registered" (hypeman_instance_register) or "server" (the vendor's server). Borrowed;
/// NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_origin(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.origin.as_ptr())
}

/// Returns when it was registered, or created by the vendor's server: RFC 3339 in UTC. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_created_at(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| instance.created_at.as_ptr())
}

/// Returns the path of the VMM's API socket, in bytes, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_api_socket(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| lend(instance.api_socket.as_ref()))
}

/// Returns the path of the instance directory, in bytes, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_directory(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| lend(instance.directory.as_ref()))
}

/// Returns the number of disks.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_disk_count(instance: Option<&Instance>) -> usize {
    look(instance, 0, |instance| instance.disks.len())
}

/// Returns the path of a disk, in bytes, or NULL past the last. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_disk_path(instance: Option<&Instance>, index: usize) -> *const c_char {
    look(instance, ptr::null(), |instance| lend(instance.disks.get(index).map(|(path, _)| path)))
}

/// Returns 1 when the guest can only read a disk, else 0.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_disk_readonly(instance: Option<&Instance>, index: usize) -> i32 {
    look(instance, 0, |instance| instance.disks.get(index).is_some_and(|(_, readonly)| *readonly).into())
}

/// Returns the default compression of its snapshots, or NULL where there is none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_compression(instance: Option<&Instance>) -> *const Compression {
    look(instance, ptr::null(), |instance| {
        instance.compression.as_ref().map_or(ptr::null(), |lent| lent.settings())
    })
}

/// Puts into generation_out which copy of its snapshot's memory the instance has, counted from 1, and returns 1; or
/// returns 0 where that is not known: only the restore or fork that gave it the memory tells.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_generation(
    instance: Option<&Instance>,
    generation_out: Option<&mut MaybeUninit<u64>>,
) -> i32 {
    present(generation_out, look(instance, None, |instance| instance.generation))
}

/// Returns the path of the directory through which files pass between us and the VMM, in bytes, or NULL where there is
/// none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_staging_directory(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| lend(instance.staging_directory.as_ref()))
}

/// Returns the path of that directory as the VMM sees it, in bytes, or NULL where none was named. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_staging_directory_in_vmm(instance: Option<&Instance>) -> *const c_char {
    look(instance, ptr::null(), |instance| lend(instance.staging_directory_in_vmm.as_ref()))
}

/// Returns every field as JSON, absent ones left out. To be freed with hypeman_string_free; NULL for NULL, and
/// where a path is not UTF-8, which JSON cannot carry.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_to_json(instance: Option<&Instance>) -> *mut c_char {
    json(instance, |instance| serde_json::to_string(&instance.whole))
}

/// Frees an instance that a call handed out; not one of a list. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_free(instance: Option<Box<Instance>>) {
    free(instance);
}

/// A list of instances, which it owns. Immutable; any thread may read it; outlives the handle.
pub struct Instances(Vec<Instance>);

impl From<Vec<hypeman_core::Instance>> for Instances {
    fn from(instances: Vec<hypeman_core::Instance>) -> Self {
        Self(instances.into_iter().map(Instance::from).collect())
    }
}

/// Returns the number of instances in a list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instances_count(instances: Option<&Instances>) -> usize {
    look(instances, 0, |instances| instances.0.len())
}

/// Returns an instance of a list, or NULL past the last. Borrowed from the list.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instances_at(instances: Option<&Instances>, index: usize) -> *const Instance {
    look(instances, ptr::null(), |instances| instances.0.get(index).map_or(ptr::null(), ptr::from_ref))
}

/// Frees a list and its instances. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instances_free(instances: Option<Box<Instances>>) {
    free(instances);
}
