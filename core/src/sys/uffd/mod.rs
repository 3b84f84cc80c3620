//! userfaultfd: whoever holds the descriptor answers the page faults of the process that made it.

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod client;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::{IS_THERE, Uffd};
#[cfg(target_os = "linux")]
pub(super) use linux::{Change, EVENT_BYTES, EVENT_PAGEFAULT, Span, UFFDIO};
#[cfg(target_os = "linux")]
pub(crate) use linux::{IS_THERE, Uffd};

/// What the kernel tells of the memory behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "nothing tells of any"))]
pub(crate) enum Event {
    /// A thread waits for the page with this address, which is missing.
    Missing(u64),
    /// A page was touched in a way that nobody answers here: it is write-protected, or in a page cache already.
    OtherFault(u64),
    /// The pages of this range were given back. Whoever did so goes on once this was read.
    Removed(u64, u64),
    /// A fork or a move of memory.
    Other(u8),
}

/// The facts about a descriptor that its maker decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) tells_removes: bool,
    pub(crate) tells_forks_or_moves: bool,
}
