//! A pager: start, metrics, wait, stop.

use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ptr;

use hypeman_core::{PagerMetrics, Result, ServeMemory};

use crate::border::{
    answer, array, c_path, c_string, free, hand_out, invalid, json, lend, look, path, required,
};
use crate::call::{CallOptions, call};
use crate::error::Error;
use crate::handle::{Handle, opened_for};
use crate::options::{self, Options};
use crate::status::Status;

/// How to serve the memory of a snapshot. Start from HYPEMAN_SERVE_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ServeOptions {
    /// sizeof(hypeman_serve_options)
    pub struct_size: usize,
    /// Absolute path, of at most 107 bytes, at which to listen and at which nothing lies yet; NULL: one of the
    /// library's own in the directory for temporary files.
    pub socket: *const c_char,
    /// The most decoded memory that is kept for the next VM that wants it; 0: 64 MiB.
    pub cache_bytes: u64,
    /// The CPUs that the threads of the pager may run on, or NULL: all.
    pub cpus: *const u32,
    /// The number of CPUs.
    pub cpu_count: usize,
    /// For how many microseconds after a fault a CPU is kept busy with waiting for the next one, at most (up to 1000).
    /// 0: 30; negative: not at all.
    pub spin_us: i32,
    /// Not 0: do not install what an earlier VM wanted first ahead of the guest, and do not find out what that is.
    pub no_prefetch: i32,
    /// Not 0: install all other memory, too, in the background. A VM that has all of it needs no pager any more.
    pub fill: i32,
    /// 0.
    pub reserved: u32,
}

// SAFETY: repr(C), the size first; two pairs of four bytes fill two words; integers and pointers.
unsafe impl Options for ServeOptions {
    const FIRST_BYTES: usize = 4 * size_of::<usize>() + size_of::<u64>() + 4 * size_of::<i32>();
}

/// Serves the guest memory of a snapshot to VMs that run already. Any thread may use it. It ends with
/// hypeman_pager_stop, hypeman_pager_free, hypeman_shutdown or hypeman_close.
pub struct Pager {
    pager: hypeman_core::Pager,
    snapshot_id: CString,
    socket: CString,
}

impl From<hypeman_core::Pager> for Pager {
    fn from(pager: hypeman_core::Pager) -> Self {
        Self { snapshot_id: c_string(pager.snapshot_id()), socket: c_path(pager.socket()), pager }
    }
}

/// What a pager has done so far. Immutable; any thread may read it.
pub struct Metrics {
    metrics: PagerMetrics,
    last_error: Option<CString>,
}

impl From<PagerMetrics> for Metrics {
    fn from(metrics: PagerMetrics) -> Self {
        // Taken apart in full: a new one fails this build until there is a function for it.
        let PagerMetrics {
            vms: _,
            vms_seen: _,
            vms_whole: _,
            faults: _,
            copied_bytes: _,
            zero_bytes: _,
            prefetched_bytes: _,
            filled_bytes: _,
            fault_us: _,
            errors: _,
            last_error,
        } = &metrics;
        Self { last_error: last_error.clone().map(c_string), metrics }
    }
}

/// Serves the guest memory of a snapshot to VMs that run already, page by page as they touch it, straight from its
/// file, compressed or not. Any number of firecrackers may be given hypeman_pager_socket as a Uffd memory backend
/// (hypeman_restore_options.uffd_socket).
///
/// A VM that has not got all of its memory when the pager is stopped stands still at the next page that it misses, for
/// ever. When the process dies instead, a child process of the library's, which no wait without __WALL sees, ends that VM
/// there by SIGBUS. So does the pager itself when a guest touches a page that is damaged: to the process that connected.
/// While the pager runs, the snapshot cannot be deleted (busy).
///
/// options: NULL for the defaults. out: a pager for hypeman_pager_free.
///
/// Errors: invalid_request, not_found, invalid_state when it has no memory, not_supported (QEMU's and vz's memory,
/// compressed files that can only be read from their start, other systems than Linux), conflict when something lies at
/// the socket's path, busy, corrupt, closed, errors of the system.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_snapshot_serve_memory(
    handle: Option<&Handle>,
    id: *const c_char,
    options: *const ServeOptions,
    out: Option<&mut MaybeUninit<Option<Box<Pager>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || {
        // SAFETY: NULL or valid options and text, as the header asks.
        let (request, (hm, id)) = unsafe { (serving(options)?, opened_for(handle, id)?) };
        hm.snapshots().serve_memory(id, &request).map(Pager::from)
    })
}

/// Reads how to serve.
///
/// # Safety
/// `given` is NULL or valid options.
unsafe fn serving(given: *const ServeOptions) -> Result<ServeMemory> {
    // SAFETY: what the caller promises.
    let ServeOptions {
        struct_size: _,
        socket,
        cache_bytes,
        cpus,
        cpu_count,
        spin_us,
        no_prefetch,
        fill,
        reserved,
    } = unsafe { options::read(given) }?;
    if reserved != 0 {
        return Err(invalid("reserved must be 0; start from HYPEMAN_SERVE_OPTIONS_INIT"));
    }
    let defaults = ServeMemory::default();
    // SAFETY: options that are valid point to NULL or what is valid.
    let (socket, cpus) = unsafe { (path(socket), array(cpus, cpu_count, "cpus")?) };
    Ok(ServeMemory {
        socket,
        cache_bytes: if cache_bytes == 0 { defaults.cache_bytes } else { cache_bytes },
        prefetch: no_prefetch == 0,
        fill: fill != 0,
        spin_us: if spin_us == 0 { defaults.spin_us } else { u32::try_from(spin_us).unwrap_or(0) },
        cpus: cpus.unwrap_or_default().to_vec(),
    })
}

/// Returns the id of the snapshot. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_pager_snapshot_id(pager: Option<&Pager>) -> *const c_char {
    look(pager, ptr::null(), |pager| pager.snapshot_id.as_ptr())
}

/// Returns the path of the socket that VMs connect to, in bytes. Only this user may, unless the host changes owner or
/// mode of the file. Borrowed; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_pager_socket(pager: Option<&Pager>) -> *const c_char {
    look(pager, ptr::null(), |pager| pager.socket.as_ptr())
}

/// Tells what a pager has done so far; after its end, too.
///
/// out: for hypeman_metrics_free.
///
/// Errors: closed in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_pager_metrics(
    pager: Option<&Pager>,
    out: Option<&mut MaybeUninit<Option<Box<Metrics>>>>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    hand_out(out, err, || opened_pager(pager)?.metrics().map(Metrics::from))
}

/// Waits until at least one VM has connected, and each that did is gone or has all of its memory. Without fill none
/// ever has that.
///
/// options: NULL for no limit.
///
/// Errors: timeout, cancelled, closed once it was stopped.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn hypeman_pager_wait(
    pager: Option<&Pager>,
    options: *const CallOptions,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    answer(err, || {
        // SAFETY: NULL or valid options, as the header asks.
        let call = unsafe { call(options) }?;
        opened_pager(pager)?.wait(call)
    })
}

/// Stops serving, and returns when that is done. Stopping twice is fine.
///
/// Errors: closed in a forked child.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_pager_stop(
    pager: Option<&Pager>,
    err: Option<&mut MaybeUninit<Option<Box<Error>>>>,
) -> Status {
    answer(err, || opened_pager(pager)?.stop())
}

/// Stops a pager and frees it. No other thread may be using it. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_pager_free(pager: Option<Box<Pager>>) {
    free(pager);
}

fn opened_pager(pager: Option<&Pager>) -> Result<&hypeman_core::Pager> {
    required(pager, "the pager").map(|pager| &pager.pager)
}

/// Returns how many VMs are connected now.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_vms(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.vms)
}

/// Returns how many VMs ever were.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_vms_seen(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.vms_seen)
}

/// Returns how many VMs were given all of their memory, and need the pager no more.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_vms_whole(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.vms_whole)
}

/// Returns how many page faults were answered.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_faults(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.faults)
}

/// Returns the bytes that were copied into VMs.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_copied_bytes(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.copied_bytes)
}

/// Returns the bytes of zeros that VMs were given, which take no memory.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_zero_bytes(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.zero_bytes)
}

/// Returns the bytes, copied or zeros, that were installed because a VM before wanted them first.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_prefetched_bytes(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.prefetched_bytes)
}

/// Returns the bytes, copied or zeros, that were installed in the background.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_filled_bytes(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.filled_bytes)
}

/// Returns how many page faults took less than 2^index microseconds, and no less than half of that (index 0: less than
/// one); the last index counts all longer ones. 0 past the last, which is 19.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_fault_us(metrics: Option<&Metrics>, index: usize) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.fault_us.get(index).copied().unwrap_or_default())
}

/// Returns how many errors there were: damaged frames, VMs that were refused.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_errors(metrics: Option<&Metrics>) -> u64 {
    look(metrics, 0, |metrics| metrics.metrics.errors)
}

/// Returns what the last error said, or NULL where there was none. Borrowed.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_last_error(metrics: Option<&Metrics>) -> *const c_char {
    look(metrics, ptr::null(), |metrics| lend(metrics.last_error.as_ref()))
}

/// Returns every number as JSON. To be freed with hypeman_string_free; NULL for NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_to_json(metrics: Option<&Metrics>) -> *mut c_char {
    json(metrics, |metrics| serde_json::to_string(&metrics.metrics))
}

/// Frees metrics. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_metrics_free(metrics: Option<Box<Metrics>>) {
    free(metrics);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_a_host_may_use_a_pager_at_once() {
        fn shared<T: Send + Sync>() {}
        shared::<Pager>();
        shared::<Metrics>();
    }

    #[test]
    fn zeros_mean_the_defaults_of_the_core() {
        // SAFETY: NULL.
        assert_eq!(unsafe { serving(ptr::null()) }.unwrap(), ServeMemory::default());
    }
}
