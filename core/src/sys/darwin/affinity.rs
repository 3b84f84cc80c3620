//! Which CPUs a thread may run on.

/// Refuses: threads cannot be bound to CPUs here.
pub(crate) fn pin_this_thread(_cpus: &[u32]) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
