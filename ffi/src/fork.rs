//! Fork: what C asks of it, and the call.

use std::collections::BTreeMap;
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use hypeman_core::{ForkSnapshot, Result};

use crate::border::{array, hand_out, invalid, path, required, text};
use crate::error::Error;
use crate::handle::{Handle, opened};
use crate::instance::Instance;
use crate::options::{self, Options};
use crate::restore::{RestoreOptions, restoration};
use crate::status::Status;

/// Where a disk from outside the source's directory goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct DiskPlace {
    /// Its path at capture; each at most once.
    pub from: *const c_char,
    /// Its path in the fork. Of a read-only disk it may be there: then it is used as it is.
    pub to: *const c_char,
}

/// Where a fork goes and what it is to be. Start from HYPEMAN_FORK_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ForkOptions {
    /// sizeof(hypeman_fork_options)
    pub struct_size: usize,
    /// The new directory, which is made; the one around it must be there. NULL: guests/ID in the data directory.
    pub directory: *const c_char,
    /// Places of disks from outside the source's directory, or NULL; the others go into disks/ of the new directory.
    pub disks: *const DiskPlace,
    /// The number of places.
    pub disk_count: usize,
    /// What it is to be then, how it is loaded, and how the call is watched; NULL for the defaults.
    pub restore: *const RestoreOptions,
}

// SAFETY: repr(C), the size first; integers and pointers.
unsafe impl Options for ForkOptions {
    const FIRST_BYTES: usize = 5 * size_of::<usize>();
}

/// Makes a new instance of a snapshot, with files of its own; where the file system reflinks, they share their blocks
/// with the snapshot, but for memory that is compressed there. The source may be gone, and the snapshot stays as it is.
/// Blocks.
///
/// The targets are those of hypeman_snapshot_restore. With "Running" the image is loaded into the VMM that waits at
/// api_socket (cloud-hypervisor, firecracker). QEMU opens its disks when it starts: fork to "Standby", start it with
/// the disks of the new instance, then restore the snapshot onto that. Paths in cloud-hypervisor's configuration are
/// rewritten; firecracker must find the fork's files where the source's were, by a mount namespace or a link.
///
/// name: 1 to 63 of [a-z0-9-], no dash at either end, unique among instances. options: NULL for the defaults. out: the
/// new instance, for hypeman_instance_free.
///
/// Errors: invalid_request, not_found, conflict (name or place taken; handed out before, with duplicates "deny"),
/// invalid_state (a VMM with a VM), incompatible (each mismatch is named), not_supported, busy, corrupt, hypervisor,
/// no_space, permission, timeout, cancelled, closed, io. After each there is no new instance.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_fork(
    handle: Option<&Handle>,
    snapshot_id: *const c_char,
    name: *const c_char,
    options: *const ForkOptions,
    out: Option<&mut MaybeUninit<Option<Box<Instance>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid texts, as the header asks.
        let texts = unsafe { (text(snapshot_id, "snapshot_id")?, text(name, "name")?) };
        // SAFETY: NULL or valid options, as the header asks.
        let ForkOptions { struct_size: _, directory, disks, disk_count, restore } =
            unsafe { options::read(options) }?;
        // SAFETY: options that are valid point to NULL or what is valid.
        let (directory, disks, (restore, call)) =
            unsafe { (path(directory), places(disks, disk_count)?, restoration(restore)?) };
        let (snapshot_id, name) = (required(texts.0, "snapshot_id")?, required(texts.1, "name")?);
        let request = ForkSnapshot { name: name.to_owned(), directory, disks, restore };
        opened(handle)?.snapshots().fork(snapshot_id, &request, call).map(Instance::from)
    })
}

/// # Safety
/// `first` is NULL or points to `count` places of valid paths.
unsafe fn places(first: *const DiskPlace, count: usize) -> Result<BTreeMap<PathBuf, PathBuf>> {
    // SAFETY: what the caller promises.
    let given = unsafe { array(first, count, "disks") }?;
    let mut places = BTreeMap::new();
    for DiskPlace { from, to } in given.unwrap_or_default() {
        // SAFETY: what the caller promises.
        let (from, to) = unsafe { (path(*from), path(*to)) };
        let (from, to) = (required(from, "disks: from")?, required(to, "disks: to")?);
        if places.insert(from.clone(), to).is_some() {
            return Err(invalid(format!("disk {} is given twice", from.display())));
        }
    }
    Ok(places)
}
