//! The priority of a thread: background work yields to the host and its guests.

/// Lowers the quality of service of the calling thread to that of long work that no one waits for, its input and output too, for as
/// long as it lives.
///
/// Only for threads that this library owns. Only a hint: a refusal changes nothing.
pub(crate) fn lower_this_thread() {
    // SAFETY: takes plain values, and changes the calling thread alone.
    unsafe { libc::pthread_set_qos_class_self_np(libc::qos_class_t::QOS_CLASS_UTILITY, 0) };
}
