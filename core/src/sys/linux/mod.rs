//! Linux.

pub(crate) mod affinity;
pub(super) mod beneath;
pub(crate) mod clone;
pub(super) mod facts;
pub(super) mod flush;
pub(crate) mod host;
pub(super) mod locks;
pub(crate) mod memfd;
pub(super) mod nameless;
pub(crate) mod pidfd;
pub(crate) mod priority;
pub(crate) mod process;
pub(super) mod rename;
pub(super) mod sockets;
pub(crate) mod sparse;
pub(crate) mod watch;
