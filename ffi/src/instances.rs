//! Instances: register, get, list, unregister.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use hypeman_core::{HypervisorKind, RegisterInstance, Result};

use crate::border::{answer, array, hand_out, invalid, path, required, text};
use crate::compression::{Compression, compression};
use crate::error::Error;
use crate::handle::{Handle, opened, opened_for};
use crate::instance::{Instance, Instances};
use crate::options::{self, Options};
use crate::status::Status;

/// A disk of a VM: a regular file on the host.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Disk {
    /// Absolute path of the file, in bytes.
    pub path: *const c_char,
    /// Not 0: the guest can only read it; then it is copied before the pause.
    pub readonly: i32,
    /// Must be 0.
    pub reserved: u32,
}

/// What the host tells of a VM that it runs. Start from HYPEMAN_REGISTER_OPTIONS_INIT; name and hypervisor are
/// required.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RegisterOptions {
    /// sizeof(hypeman_register_options)
    pub struct_size: usize,
    /// 1 to 63 of [a-z0-9-], no dash at either end, unique among instances.
    pub name: *const c_char,
    /// "cloud-hypervisor", "firecracker", "qemu", "qemu-microvm" or "vz".
    pub hypervisor: *const c_char,
    /// An id to keep; NULL to have one made.
    pub id: *const c_char,
    /// Absolute path of the VMM's API socket, or NULL. QEMU: a -qmp socket that no one else uses.
    pub api_socket: *const c_char,
    /// Absolute path of the instance directory, or NULL. All of it is captured, but for sockets and logs/.
    pub directory: *const c_char,
    /// Its disks, inside the directory or not; NULL: every file of the directory is taken for one.
    pub disks: *const Disk,
    /// The number of disks.
    pub disk_count: usize,
    /// Default compression of its snapshots, or NULL.
    pub compression: *const Compression,
    /// For a VMM that runs as another user or in a jail: absolute path of a directory that it can reach, too, or NULL.
    /// What it writes is moved from there into the snapshot, and what it loads is put there.
    pub staging_directory: *const c_char,
    /// The path of that directory as the VMM sees it; NULL: the same.
    pub staging_directory_in_vmm: *const c_char,
    /// Not 0: the promise that no other program, and no other data directory, takes snapshots of this VM as long as its
    /// VMM lives. Then firecracker, where it tracks dirty pages, writes only what changed since its last snapshot, over a
    /// copy of that one. Were it broken, such a snapshot would lack changes, and nothing could show it.
    pub exclusive_snapshots: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), the size first; sizes, pointers, and two integers of four bytes each: no padding.
unsafe impl Options for RegisterOptions {
    const FIRST_BYTES: usize = 9 * size_of::<usize>();
}

/// Tells the store of a VM. Telling it the same again is fine and gives the same instance.
///
/// out: an instance for hypeman_instance_free.
///
/// Errors: invalid_request, conflict when the name or id stands for something else, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_instance_register(
    handle: Option<&Handle>,
    options: *const RegisterOptions,
    out: Option<&mut MaybeUninit<Option<Box<Instance>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid options, as the header asks.
        let request = unsafe { registration(options) }?;
        opened(handle)?.instances().register(&request).map(Instance::from)
    })
}

/// # Safety
/// `given` is NULL or valid options.
unsafe fn registration(given: *const RegisterOptions) -> Result<RegisterInstance> {
    // SAFETY: what the caller promises.
    let RegisterOptions {
        struct_size: _,
        name,
        hypervisor,
        id,
        api_socket,
        directory,
        disks,
        disk_count,
        compression: default_compression,
        staging_directory,
        staging_directory_in_vmm,
        exclusive_snapshots,
        reserved,
    } = unsafe { options::read(given) }?;
    if reserved != 0 {
        return Err(invalid("the reserved field of the register options must be 0"));
    }
    // SAFETY: options that are valid point to NULL or what is valid.
    unsafe {
        Ok(RegisterInstance {
            name: required(text(name, "name")?, "name")?.to_owned(),
            hypervisor: HypervisorKind::from(required(text(hypervisor, "hypervisor")?, "hypervisor")?),
            id: text(id, "id")?.map(str::to_owned),
            api_socket: path(api_socket),
            directory: path(directory),
            disks: array(disks, disk_count, "disks")?
                .unwrap_or_default()
                .iter()
                .map(|disk| core_disk(*disk))
                .collect::<Result<_>>()?,
            compression: compression(default_compression)?,
            staging_directory: path(staging_directory),
            staging_directory_in_vmm: path(staging_directory_in_vmm),
            exclusive_snapshots: exclusive_snapshots != 0,
        })
    }
}

/// # Safety
/// The path of the disk is NULL or a valid text.
unsafe fn core_disk(disk: Disk) -> Result<hypeman_core::Disk> {
    let Disk { path: file, readonly, reserved } = disk;
    if reserved != 0 {
        return Err(invalid("the reserved field of a disk must be 0"));
    }
    // SAFETY: what the caller promises.
    let file = required(unsafe { path(file) }, "the path of a disk")?;
    Ok(hypeman_core::Disk { path: file, readonly: readonly != 0 })
}

/// Finds an instance by exact id, then exact name, then unique id prefix.
///
/// out: an instance for hypeman_instance_free.
///
/// Errors: not_found, conflict when several ids begin so, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_instance_get(
    handle: Option<&Handle>,
    id: *const c_char,
    out: Option<&mut MaybeUninit<Option<Box<Instance>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.instances().get(id).map(Instance::from)
    })
}

/// Lists every instance, by name.
///
/// out: a list for hypeman_instances_free.
///
/// Errors: closed, errors of the disk.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_instance_list(
    handle: Option<&Handle>,
    out: Option<&mut MaybeUninit<Option<Box<Instances>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || opened(handle)?.instances().list().map(Instances::from))
}

/// Forgets a registered instance, found as by hypeman_instance_get. The VM, its files and its snapshots stay as
/// they are.
///
/// Errors: as hypeman_instance_get; invalid_state for an instance of the vendor's server; busy during a capture.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_instance_unregister(
    handle: Option<&Handle>,
    id: *const c_char,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    answer(err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.instances().unregister(id)
    })
}
