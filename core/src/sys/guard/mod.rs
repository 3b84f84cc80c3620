//! A process of our own that ends the VMs of this one, should this one die: it has descriptors of them, and nothing else.
//!
//! Where page faults are answered by a process that was killed, they are answered by no one: the VMM has the descriptor,
//! too, so that the kernel waits for an answer for ever. The guard is a child without a program: `linux.rs` makes it and
//! speaks to it, `child.rs` is all that it does, `sweep.rs` what it does to a VM.

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod actors;
#[cfg(target_os = "linux")]
mod child;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod keep;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod sweep;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Guard;
#[cfg(target_os = "linux")]
pub(crate) use linux::Guard;

/// The most VMs of one guard: those of several pagers. More are not guarded.
#[cfg(target_os = "linux")]
const MOST_VMS: usize = 8192;
/// The most pieces that the memory of one VM may have.
pub(crate) const MOST_AREAS: usize = 64;

/// Memory of a VMM whose faults its userfaultfd tells.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) bytes: u64,
    pub(crate) page_bytes: u64,
}
