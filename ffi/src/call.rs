//! What a long call takes: a cancel token, a time limit and a progress callback.

use std::ffi::{c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::time::Duration;

use hypeman_core::{Phase, Result};

use crate::border::free;
use crate::options::{self, Options};

/// Ends running calls. The one object that is made to be used from several threads at once.
pub struct Cancel(hypeman_core::Cancel);

/// Makes a token that has not been cancelled. To be freed with hypeman_cancel_free; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_cancel_new() -> Option<Box<Cancel>> {
    Some(Box::new(Cancel(hypeman_core::Cancel::new())))
}

/// Asks every call that was given this token, and every later one, to end with HYPEMAN_STATUS_CANCELLED. It cannot
/// be taken back. Any thread, at any time; safe in a signal handler. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_cancel_request(cancel: Option<&Cancel>) {
    // Without the border: it may install a panic hook, which no signal handler may; one atomic store cannot panic.
    if let Some(cancel) = cancel {
        cancel.0.cancel();
    }
}

/// Frees a token. Calls that were given it go on and can then no longer be cancelled by it. NULL is fine.
#[unsafe(no_mangle)]
pub extern "C" fn hypeman_cancel_free(cancel: Option<Box<Cancel>>) {
    free(cancel);
}

/// A part of a call.
///
/// For hypeman_snapshot_create in the order of their numbers; COMPRESSING is reported by hypeman_snapshot_wait.
#[repr(i32)]
#[derive(Clone, Copy)]
pub enum ProgressPhase {
    /// Checks, locks, and copies of what the guest does not write. The VM runs.
    Preparing = 1,
    /// The VMM writes the guest's memory. The VM is paused.
    SavingMemory = 2,
    /// Disks are cloned or copied. The VM is paused.
    CopyingDisks = 3,
    /// The snapshot is made durable. The VM runs again.
    Syncing = 4,
    /// Memory is being compressed.
    Compressing = 5,
    /// Files are read and compared with their checksums.
    Verifying = 6,
}

impl From<Phase> for ProgressPhase {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Preparing => Self::Preparing,
            Phase::SavingMemory => Self::SavingMemory,
            Phase::CopyingDisks => Self::CopyingDisks,
            Phase::Syncing => Self::Syncing,
            Phase::Compressing => Self::Compressing,
            Phase::Verifying => Self::Verifying,
        }
    }
}

/// How far a call has come. Lent for the time of the callback; later versions may add fields at its end.
#[repr(C)]
pub struct Progress {
    /// One of HYPEMAN_PHASE_...
    pub phase: i32,
    /// 0.
    pub reserved: u32,
    /// Bytes of this phase that are done.
    pub bytes_done: u64,
    /// Bytes of this phase in all; 0 while unknown.
    pub bytes_total: u64,
}

/// Hears how far a call has come: on the thread that makes the call, a few times a second at most. Returning
/// non-zero cancels the call. It must return: no exception and no longjmp may leave it.
pub type ProgressCallback =
    Option<unsafe extern "C" fn(progress: *const Progress, user: *mut c_void) -> c_int>;

/// How one long call is watched and ended. Start from HYPEMAN_CALL_OPTIONS_INIT.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CallOptions {
    /// sizeof(hypeman_call_options)
    pub struct_size: usize,
    /// Time limit in milliseconds, after which the call answers HYPEMAN_STATUS_TIMEOUT. 0: no limit;
    /// HYPEMAN_TIMEOUT_AT_ONCE: a limit that is over at once.
    pub timeout_ms: u64,
    /// Token that ends the call, or NULL.
    pub cancel: *const Cancel,
    /// Hears how far the call has come, or NULL.
    pub progress: ProgressCallback,
    /// Passed to progress as it is.
    pub user: *mut c_void,
}

// SAFETY: repr(C), the size first; a size, a number, pointers and a nullable function, all of one size.
unsafe impl Options for CallOptions {
    const FIRST_BYTES: usize = size_of::<usize>() + size_of::<u64>() + 3 * size_of::<*const c_char>();
}

/// In hypeman_call_options.timeout_ms: a limit that is over at once. hypeman_snapshot_wait then only looks.
pub const HYPEMAN_TIMEOUT_AT_ONCE: u64 = u64::MAX;

/// What core needs to know of `given`.
///
/// # Safety
/// `given` is NULL or valid options, whose token is NULL or valid, and whose callback may be called with `user` on
/// this thread until the call returns.
pub(crate) unsafe fn call<'c>(given: *const CallOptions) -> Result<hypeman_core::Call<'c>> {
    // SAFETY: the caller promises options that are NULL or valid.
    let CallOptions { struct_size: _, timeout_ms, cancel, progress, user } = unsafe { options::read(given) }?;
    let mut call = hypeman_core::Call::default();
    // SAFETY: the caller promises a token that is NULL or valid; it is looked at here alone, and cloned.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        call = call.cancel(&cancel.0);
    }
    match timeout_ms {
        0 => {}
        HYPEMAN_TIMEOUT_AT_ONCE => call = call.timeout(Duration::ZERO),
        _ => call = call.timeout(Duration::from_millis(timeout_ms)),
    }
    if let Some(tell) = progress {
        let listener = Listener { tell, user };
        call = call.progress(move |progress| listener.hear(progress));
    }
    Ok(call)
}

struct Listener {
    tell: unsafe extern "C" fn(*const Progress, *mut c_void) -> c_int,
    user: *mut c_void,
}

// SAFETY: core runs a progress callback on the calling thread only, so `user` never leaves the thread it came from.
unsafe impl Send for Listener {}

impl Listener {
    fn hear(&self, progress: hypeman_core::Progress) -> ControlFlow<()> {
        let hypeman_core::Progress { phase, bytes_done, bytes_total } = progress;
        let told =
            Progress { phase: ProgressPhase::from(phase) as i32, reserved: 0, bytes_done, bytes_total };
        // SAFETY: the caller of the C function promised a callback that takes its `user` and returns.
        match unsafe { (self.tell)(&raw const told, self.user) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }
}
