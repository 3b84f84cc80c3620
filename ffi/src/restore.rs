//! Restore: what C asks of it, and the call.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::mem::MaybeUninit;

use hypeman_core::{Duplicates, InstanceState, RestoreSnapshot, Result};

use crate::border::{array, hand_out, invalid, path, required, text};
use crate::call::{CallOptions, call};
use crate::error::Error;
use crate::handle::{Handle, opened};
use crate::instance::Instance;
use crate::options::{self, Options};
use crate::status::Status;

/// A network interface of the guest that gets another device of the host.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NetworkOverride {
    /// Its id in the guest's configuration; each at most once.
    pub interface_id: *const c_char,
    /// The name of the device on the host.
    pub host_device: *const c_char,
}

/// How to restore a snapshot. Start from HYPEMAN_RESTORE_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RestoreOptions {
    /// sizeof(hypeman_restore_options)
    pub struct_size: usize,
    /// What the instance is to be then. For a Standby snapshot "Running", "Standby" or "Stopped", for a Stopped one
    /// "Stopped". NULL: "Stopped" for a Stopped one, else "Running" where api_socket is given, else "Standby".
    pub target_state: *const c_char,
    /// Absolute path of the API socket of a VMM that was started for this and has no VM yet; NULL: the instance's own.
    pub api_socket: *const c_char,
    /// Network interfaces that get another device of the host (cloud-hypervisor, firecracker), or NULL.
    pub network_overrides: *const NetworkOverride,
    /// The number of overrides.
    pub network_override_count: usize,
    /// Not 0: the guest runs while the VMM still reads its memory, page by page (cloud-hypervisor 52 and later).
    pub on_demand: i32,
    /// Not 0: restore although the VMM or the host differs from what was recorded.
    pub allow_incompatible: i32,
    /// Absolute path of the socket of a userfaultfd server that gives the VMM its memory (firecracker), or NULL.
    pub uffd_socket: *const c_char,
    /// Cancel token, time limit and progress, or NULL.
    pub call: *const CallOptions,
    /// "allow" (also NULL): memory that was handed out before may be so again. "deny": it is refused (conflict).
    pub duplicates: *const c_char,
}

// SAFETY: repr(C), the size first; two ints together fill a word; integers and pointers.
unsafe impl Options for RestoreOptions {
    const FIRST_BYTES: usize = 7 * size_of::<usize>() + 2 * size_of::<i32>();
}

/// Restores a snapshot onto the instance that it was taken of, found as by hypeman_instance_get. Blocks.
///
/// With target "Standby" or "Stopped" the files are put into place, all or none; what no snapshot holds (logs/,
/// sockets) stays. With target "Running" the image is loaded into a VMM that the host has started and that has no VM
/// yet, and the guest goes on. QEMU opens its disks when it starts: restore to "Standby", start it with -incoming
/// defer, then restore to "Running". cloud-hypervisor and firecracker take both in one call.
///
/// options: NULL for the defaults. out: the instance as it is then, for hypeman_instance_free.
///
/// Errors: invalid_request, not_found, conflict (handed out before, with duplicates "deny"), invalid_state (a live
/// guest, a VMM with a VM, files not in place), incompatible (each mismatch is named), not_supported, busy, corrupt, hypervisor, no_space, permission, timeout,
/// cancelled, closed, io. When files could not be put into place, the instance is as it was.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_restore(
    handle: Option<&Handle>,
    snapshot_id: *const c_char,
    instance: *const c_char,
    options: *const RestoreOptions,
    out: Option<&mut MaybeUninit<Option<Box<Instance>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid texts, as the header asks.
        let ids = unsafe { (text(snapshot_id, "snapshot_id")?, text(instance, "instance")?) };
        // SAFETY: NULL or valid options, as the header asks.
        let (request, call) = unsafe { restoration(options) }?;
        let (snapshot_id, instance) = (required(ids.0, "snapshot_id")?, required(ids.1, "instance")?);
        let snapshots = opened(handle)?.instances().snapshots();
        snapshots.restore(snapshot_id, instance, &request, call).map(Instance::from)
    })
}

/// Reads how to restore, and how the call is watched.
///
/// # Safety
/// `given` is NULL or valid options.
pub(crate) unsafe fn restoration<'c>(
    given: *const RestoreOptions,
) -> Result<(RestoreSnapshot, hypeman_core::Call<'c>)> {
    // SAFETY: what the caller promises.
    let RestoreOptions {
        struct_size: _,
        target_state,
        api_socket,
        network_overrides,
        network_override_count,
        on_demand,
        allow_incompatible,
        uffd_socket,
        call: watched,
        duplicates,
    } = unsafe { options::read(given) }?;
    // SAFETY: options that are valid point to NULL or what is valid.
    unsafe {
        let request = RestoreSnapshot {
            target_state: text(target_state, "target_state")?.map(InstanceState::parse).transpose()?,
            api_socket: path(api_socket),
            network_overrides: overrides(network_overrides, network_override_count)?,
            on_demand: on_demand != 0,
            uffd_socket: path(uffd_socket),
            allow_incompatible: allow_incompatible != 0,
            duplicates: text(duplicates, "duplicates")?
                .map(Duplicates::parse)
                .transpose()?
                .unwrap_or_default(),
        };
        Ok((request, call(watched)?))
    }
}

/// # Safety
/// `first` is NULL or points to `count` overrides of valid texts.
unsafe fn overrides(first: *const NetworkOverride, count: usize) -> Result<BTreeMap<String, String>> {
    // SAFETY: what the caller promises.
    let given = unsafe { array(first, count, "network_overrides") }?;
    let mut overrides = BTreeMap::new();
    for NetworkOverride { interface_id, host_device } in given.unwrap_or_default() {
        // SAFETY: what the caller promises.
        let (id, device) =
            unsafe { (text(*interface_id, "interface_id")?, text(*host_device, "host_device")?) };
        let (id, device) = (required(id, "interface_id")?, required(device, "host_device")?);
        if overrides.insert(id.to_owned(), device.to_owned()).is_some() {
            return Err(invalid(format!("network interface {id:?} is given twice")));
        }
    }
    Ok(overrides)
}
