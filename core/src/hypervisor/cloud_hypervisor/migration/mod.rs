//! Guest memory handed over by descriptor, in the protocol of a migration to another process of this host.
//!
//! For a capture we are the destination: cloud-hypervisor sends configuration and memory while its guest runs, then, once
//! we have confirmed the configuration, pauses it, and sends its state. Whatever fails, also our own end, it lets the
//! guest run again by itself; after a success the guest is paused. For a load we are the source.

mod door;
mod parts;
mod receive;
mod send;
mod wire;

use crate::hypervisor::Peer;
use crate::sys::process;

pub(super) use receive::Handover;

/// The first release that keeps the source of such a migration. Those before it know no `preserve_source`, would
/// ignore it, and end.
const SINCE: u32 = 54;

/// Whether the process at the other end outlives its migration to us. With the C library of GNU, the thread that
/// migrates makes a system call (`newfstatat`) that its own seccomp filter punishes with the end of the process: seen in
/// 54.0 before its release, and not told by any version. Where it cannot be looked at, it may be so.
pub(super) fn outlives(peer: &Peer) -> bool {
    let is_free = |is: Option<bool>| is == Some(false);
    is_free(process::is_filtered(peer.pid)) || is_free(process::uses_glibc(peer.pid))
}
