//! The handle: open a data directory, shut it down, close it.

use std::ffi::{CString, c_char, c_void};
use std::mem::MaybeUninit;
use std::num::NonZeroUsize;
use std::ptr;

use hypeman_core::{Durability, Hypeman, Result};

use crate::border::{answer, c_path, free, hand_out, invalid, look, path, required, text};
use crate::call::{CallOptions, call};
use crate::compression::{Compression, compression};
use crate::error::Error;
use crate::log::{self, LogCallback};
use crate::options::{self, Options};
use crate::requests::check_reserved;
use crate::status::Status;

/// An open data directory. Any number of threads may use it at once.
pub struct Handle {
    hm: Hypeman,
    data_dir: CString,
}

/// How to open a data directory. Start from HYPEMAN_OPEN_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OpenOptions {
    /// sizeof(hypeman_open_options)
    pub struct_size: usize,
    /// Not 0: open for reading only. Nothing is created, recovered or resumed, and every write is refused.
    pub read_only: i32,
    /// Not 0: write to a data directory on a network file system, where locks cannot be trusted.
    pub allow_network_fs: i32,
    /// Not 0: no server of the vendor's runs on this data directory, so that running instances of its making may
    /// be paused and captured.
    pub owns_server_instances: i32,
    /// Most threads for one call or job, to 256; 0: the number of CPUs that this process may use.
    pub threads: u32,
    /// Compression of snapshots for which neither the request nor the instance says anything; NULL: off.
    pub compression: *const Compression,
    /// "full": what is acknowledged survives a power cut; "relaxed": the end of the process, but not a power cut.
    /// NULL: full.
    pub durability: *const c_char,
    /// Hears of what happens in the background, and of what no call reports; NULL: no one does.
    pub log: LogCallback,
    /// Passed to log as it is; it must stay valid until hypeman_close returns.
    pub log_user: *mut c_void,
    /// Not 0: guest memory of cloud-hypervisor VMs with shared memory goes straight into and out of its compressed form
    /// where it can, and is never written raw. A create then needs as much memory as the guest has.
    pub offload_memory: i32,
    /// Must be 0.
    pub reserved: u32,
}

// SAFETY: repr(C), the size first; its ints fill words, four and two together; integers and pointers.
unsafe impl Options for OpenOptions {
    const FIRST_BYTES: usize = size_of::<usize>() + 4 * size_of::<i32>() + 2 * size_of::<*const c_char>();
}

/// Opens a data directory, creating it (mode 0700) where it is missing, and finishes what a dead opener left:
/// resumes VMs that it had paused, clears its stages, resumes its compression jobs.
///
/// data_dir: a path; NULL for $HYPEMAN_DATA_DIR, else /var/lib/hypeman. options: NULL for the defaults.
/// out: a handle for hypeman_close.
///
/// Errors: permission when it cannot be written (open it read-only), not_supported on a network file system,
/// invalid_request for a wrong option, not_found when it is missing and read_only is set, no_space, io.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_open(
    data_dir: *const c_char,
    options: *const OpenOptions,
    out: Option<&mut MaybeUninit<Option<Box<Handle>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: both are NULL or valid, as the header asks.
        let (data_dir, options) = unsafe { (path(data_dir), core_options(options)?) };
        let hm = Hypeman::open_with(data_dir.unwrap_or_else(Hypeman::default_data_dir), options)?;
        let data_dir = c_path(hm.data_dir());
        Ok(Handle { hm, data_dir })
    })
}

/// # Safety
/// `given` is NULL or valid options.
unsafe fn core_options(given: *const OpenOptions) -> Result<hypeman_core::Options> {
    // SAFETY: what the caller promises.
    let OpenOptions {
        struct_size: _,
        read_only,
        allow_network_fs,
        owns_server_instances,
        threads,
        compression: default_compression,
        durability,
        log: listener,
        log_user,
        offload_memory,
        reserved,
    } = unsafe { options::read(given) }?;
    check_reserved(reserved)?;
    let threads = usize::try_from(threads).map_err(|_| invalid(format!("threads cannot be {threads}")))?;
    // SAFETY: options that are valid point to NULL or what is valid.
    let (compression, durability) =
        unsafe { (compression(default_compression)?, text(durability, "durability")?) };
    Ok(hypeman_core::Options {
        read_only: read_only != 0,
        compression,
        durability: durability.map_or(Ok(Durability::default()), Durability::parse)?,
        threads: NonZeroUsize::new(threads),
        allow_network_fs: allow_network_fs != 0,
        owns_server_instances: owns_server_instances != 0,
        log: listener.map(|listener| log::to(listener, log_user)).unwrap_or_default(),
        offload_memory: offload_memory != 0,
    })
}

/// Returns the data directory as an absolute path, in bytes. Borrowed from the handle; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_data_dir(handle: Option<&Handle>) -> *const c_char {
    look(handle, ptr::null(), |handle| handle.data_dir.as_ptr())
}

/// Waits until what a handle does in the background has ended: compression, checksums, and what it carries on for
/// handles that ended before. A program that is over soon calls it before hypeman_close, else the next opener begins
/// that work anew. How each came out, its snapshot says.
///
/// options: NULL for the defaults.
///
/// Errors: timeout, cancelled, closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_finish(
    handle: Option<&Handle>,
    options: *const CallOptions,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    answer(err, || {
        // SAFETY: NULL or valid, as the header asks.
        let call = unsafe { call(options) }?;
        opened(handle)?.finish(call)
    })
}

/// Shuts a handle down while other threads may still be in calls with it: later calls, of any thread, answer
/// HYPEMAN_STATUS_CLOSED, those that run come to their own end, and pagers and compression jobs stop; the latter are
/// resumed by the next opener. The handle still has to be closed. NULL, and twice, are fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_shutdown(handle: Option<&Handle>) {
    look(handle, (), |handle| handle.hm.close());
}

/// Shuts a handle down and frees it. No other thread may be in a call with it, and no one may use it later. Objects
/// that were made with it stay valid. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_close(handle: Option<Box<Handle>>) {
    look(handle.as_deref(), (), |handle| handle.hm.close());
    free(handle);
}

/// The library behind `handle`.
pub(crate) fn opened(handle: Option<&Handle>) -> Result<&Hypeman> {
    required(handle, "the handle").map(|handle| &handle.hm)
}

/// The library behind `handle`, and the id that a call of it was given.
///
/// # Safety
/// `id` is NULL or a text that is valid as long as `handle` is.
pub(crate) unsafe fn opened_for(handle: Option<&Handle>, id: *const c_char) -> Result<(&Hypeman, &str)> {
    // SAFETY: what the caller promises.
    let id = required(unsafe { text(id, "id") }?, "id")?;
    Ok((opened(handle)?, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_host_may_share_what_the_header_says_they_may() {
        fn shared<T: Send + Sync>() {}
        shared::<Handle>();
        shared::<crate::call::Cancel>();
        shared::<Error>();
    }
}
