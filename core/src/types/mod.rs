//! Every public data type, and the rules on it: the only definition of each, for every language.

mod compression;
mod fork;
mod hypervisor;
mod id;
mod inspection;
mod instance;
mod memory;
mod name;
mod pager;
mod path;
mod restore;
mod snapshot;
mod tags;
mod timestamp;
mod verification;

pub use compression::CompressionConfig;
pub(crate) use compression::{Algorithm, CompressionSettings};
pub use fork::ForkSnapshot;
pub use hypervisor::HypervisorKind;
pub(crate) use id::{is_safe_id, new_id};
pub use inspection::{Capture, Host, Inspection, PayloadFile};
pub use instance::{Disk, Instance, InstanceState, Origin, RegisterInstance};
pub use memory::{ExtentKind, MemoryExtent, MemoryRange};
pub(crate) use name::check_name;
pub(crate) use pager::{AskedMemory, AskedRegion, WorkingSet};
pub use pager::{PagerMetrics, ServeMemory};
pub(crate) use path::check_path;
pub(crate) use restore::RestoreTarget;
pub use restore::{Duplicates, RestoreSnapshot};
pub use snapshot::{CompressionState, CreateSnapshot, Snapshot, SnapshotFilter, SnapshotKind};
pub use timestamp::Timestamp;
pub use verification::{Defect, DefectKind, FileStatus, VerifiedFile, VerifyReport};
