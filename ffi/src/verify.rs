//! Verify: the call.

use std::ffi::c_char;
use std::mem::MaybeUninit;

use crate::border::hand_out;
use crate::call::{CallOptions, call};
use crate::error::Error;
use crate::handle::{Handle, opened_for};
use crate::status::Status;
use crate::verification::Verification;

/// Reads every byte of the payload of a snapshot and compares it with the checksums that were made after its capture.
/// Blocks. Damage is what the report is for, not an error.
///
/// options: NULL for the defaults. out: a report for hypeman_verification_free.
///
/// Errors: not_found, busy when its files are being removed, corrupt when it has no payload at all, timeout,
/// cancelled, closed, errors of the disk.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_verify(
    handle: Option<&Handle>,
    id: *const c_char,
    options: *const CallOptions,
    out: Option<&mut MaybeUninit<Option<Box<Verification>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid, as the header asks.
        let (call, (hm, id)) = unsafe { (call(options)?, opened_for(handle, id)?) };
        hm.snapshots().verify(id, call).map(Verification::from)
    })
}
