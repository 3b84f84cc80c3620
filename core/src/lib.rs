//! hypeman-core: an embedded VM snapshot engine.
//!
//! A host program opens a data directory and, in its own process, creates, lists and fetches snapshots of the
//! virtual machines that it runs under cloud-hypervisor, firecracker, qemu or vz.
//!
//! ```no_run
//! use hypeman_core::{Call, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind};
//!
//! # fn main() -> hypeman_core::Result<()> {
//! let hm = Hypeman::open("/var/lib/hypeman")?;
//! let vm = hm.instances().register(&RegisterInstance {
//!     api_socket: Some("/run/nginx1.qmp".into()),
//!     directory: Some("/vms/nginx1".into()),
//!     ..RegisterInstance::new("nginx1", "qemu")
//! })?;
//! let snapshot =
//!     hm.instances().snapshots().create(&vm.id, &CreateSnapshot::new(SnapshotKind::Standby), Call::default())?;
//! assert_eq!(hm.snapshots().get(&snapshot.id)?.source_instance_name, "nginx1");
//! # Ok(()) }
//! ```
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod call;
mod copy;
mod error;
mod hypeman;
mod hypervisor;
mod instances;
mod log;
mod memory;
pub mod panic;
mod snapshots;
mod store;
mod sys;
mod types;

pub use call::{Call, Cancel, Phase, Progress};
pub use error::{Error, Kind, Result};
pub use hypeman::{Durability, Hypeman, Options};
pub use instances::{InstanceSnapshots, Instances};
pub use log::{Log, LogEvent, LogLevel};
pub use snapshots::{MemoryImage, Pager, Snapshots};
pub use types::{
    Capture, CompressionConfig, CompressionState, CreateSnapshot, Defect, DefectKind, Disk, Duplicates,
    ExtentKind, FileStatus, ForkSnapshot, Host, HypervisorKind, Inspection, Instance, InstanceState,
    MemoryExtent, MemoryRange, Origin, PagerMetrics, PayloadFile, RegisterInstance, RestoreSnapshot,
    ServeMemory, Snapshot, SnapshotFilter, SnapshotKind, Timestamp, VerifiedFile, VerifyReport,
};

/// The version of this library, as in its manifest.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
