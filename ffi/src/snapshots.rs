//! Snapshots: create, list, get, delete, wait, compress, cancel_compression, inspect.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use crate::border::{answer, hand_out, required, text};
use crate::call::{CallOptions, call};
use crate::compression::{Compression, compression};
use crate::error::Error;
use crate::handle::{Handle, opened, opened_for};
use crate::inspection::Inspection;
use crate::requests::{CreateOptions, ListOptions, creation, filter};
use crate::snapshot::{Snapshot, Snapshots};
use crate::status::Status;

/// Captures a snapshot of an instance, found as by hypeman_instance_get. Blocks; a running VM is paused and resumed,
/// whatever happens. The snapshot is on the disk when this returns; compression goes on in the background (see
/// hypeman_snapshot_wait).
///
/// out: a snapshot for hypeman_snapshot_free.
///
/// Errors: invalid_request, not_found, conflict (name taken), invalid_state, busy, hypervisor, no_space, permission,
/// timeout, cancelled, closed, io. After each, nothing is left and the VM runs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_create(
    handle: Option<&Handle>,
    instance: *const c_char,
    options: *const CreateOptions,
    out: Option<&mut MaybeUninit<Option<Box<Snapshot>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid, as the header asks.
        let (instance, (request, call)) = unsafe { (text(instance, "instance")?, creation(options)?) };
        let instance = required(instance, "instance")?;
        opened(handle)?.instances().snapshots().create(instance, &request, call).map(Snapshot::from)
    })
}

/// Lists the snapshots that match, newest first, then by id. Damaged records are left out and never hide others.
///
/// options: NULL for every snapshot. out: a list for hypeman_snapshots_free.
///
/// Errors: invalid_request for an unknown kind, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_list(
    handle: Option<&Handle>,
    options: *const ListOptions,
    out: Option<&mut MaybeUninit<Option<Box<Snapshots>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid options, as the header asks.
        let filter = unsafe { filter(options) }?;
        opened(handle)?.snapshots().list(&filter).map(Snapshots::from)
    })
}

/// Gets a snapshot by its id, always fresh from its record. Names and prefixes are not looked for.
///
/// out: a snapshot for hypeman_snapshot_free.
///
/// Errors: not_found, corrupt when its record is damaged, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_get(
    handle: Option<&Handle>,
    id: *const c_char,
    out: Option<&mut MaybeUninit<Option<Box<Snapshot>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.snapshots().get(id).map(Snapshot::from)
    })
}

/// Deletes a snapshot by its id, a damaged one too. Its compression job is stopped first. Objects of it stay valid.
///
/// Errors: not_found, busy while someone reads it, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_delete(
    handle: Option<&Handle>,
    id: *const c_char,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    answer(err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.snapshots().delete(id)
    })
}

/// Waits until the compression of a snapshot has ended, well or not, in whichever process it runs. A job whose owner
/// died is taken over.
///
/// options: NULL for the defaults. out: the snapshot as it is then, for hypeman_snapshot_free.
///
/// Errors: not_found, timeout, cancelled, corrupt, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_wait(
    handle: Option<&Handle>,
    id: *const c_char,
    options: *const CallOptions,
    out: Option<&mut MaybeUninit<Option<Box<Snapshot>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid, as the header asks.
        let (call, (hm, id)) = unsafe { (call(options)?, opened_for(handle, id)?) };
        hm.snapshots().wait(id, call).map(Snapshot::from)
    })
}

/// Starts compressing the raw memory of a snapshot in the background: again after an error or a cancel, or for the
/// first time.
///
/// settings: NULL repeats those of the snapshot. out: the snapshot as it is then, for hypeman_snapshot_free.
///
/// Errors: invalid_request, not_found, invalid_state when it is compressed already or has no memory, busy when it is
/// being compressed, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_compress(
    handle: Option<&Handle>,
    id: *const c_char,
    settings: *const Compression,
    out: Option<&mut MaybeUninit<Option<Box<Snapshot>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid, as the header asks.
        let (settings, (hm, id)) = unsafe { (compression(settings)?, opened_for(handle, id)?) };
        hm.snapshots().compress(id, settings.as_ref()).map(Snapshot::from)
    })
}

/// Stops the compression of a snapshot, if one runs: its state is "none" then, its memory raw.
///
/// out: the snapshot as it is then, for hypeman_snapshot_free.
///
/// Errors: not_found, busy when another process compresses it, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_cancel_compression(
    handle: Option<&Handle>,
    id: *const c_char,
    out: Option<&mut MaybeUninit<Option<Box<Snapshot>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.snapshots().cancel_compression(id).map(Snapshot::from)
    })
}

/// Tells what the 14 fields cannot say: files, sizes on disk, how it was captured.
///
/// out: an inspection for hypeman_inspection_free.
///
/// Errors: not_found, corrupt, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_inspect(
    handle: Option<&Handle>,
    id: *const c_char,
    out: Option<&mut MaybeUninit<Option<Box<Inspection>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or a valid text, as the header asks.
        let (hm, id) = unsafe { opened_for(handle, id) }?;
        hm.snapshots().inspect(id).map(Inspection::from)
    })
}
