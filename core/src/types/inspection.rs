//! What the 14 fields cannot say.

use serde::{Deserialize, Serialize};

use super::{InstanceState, Snapshot};

/// A snapshot from inside: its files, and how it was captured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The 14 fields.
    pub snapshot: Snapshot,
    /// Every regular file of the payload, by path.
    pub files: Vec<PayloadFile>,
    /// Bytes that the payload occupies on the disk; less than `size_bytes` where files are sparse. Blocks that are
    /// shared with other files count here, too.
    pub allocated_bytes: u64,
    /// How it was captured; absent for snapshots that libhypeman did not make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// How often its memory was handed out, by restores and forks. Each of those VMs has a number of its own, from 1
    /// to this.
    pub generation: u64,
}

/// A file of a payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PayloadFile {
    /// Path beneath `guest/`.
    pub path: String,
    /// Apparent size.
    pub size_bytes: u64,
    /// Bytes that it occupies on the disk.
    pub allocated_bytes: u64,
}

/// How a snapshot was captured. Kept in its sidecar, `libhypeman.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// What the source did when the capture began.
    pub source_state: String,
    /// How long the guest did not run for our sake, in milliseconds: from the answer to the pause to the answer to
    /// the resume. Absent where the VM was not paused by us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_ms: Option<f64>,
    /// The part of the pause in which the VMM wrote its state and memory, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saving_memory_ms: Option<f64>,
    /// The part of the pause in which disks were cloned or copied, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copying_disks_ms: Option<f64>,
    /// The version that the VMM gave of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor_version: Option<String>,
    /// What the memory file is: `qemu-stream`, `qemu-mapped-ram`, `cloud-hypervisor-ranges` (the ranges of guest memory
    /// one after the other, as `state.json` beside it lists them), `raw`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_format: Option<String>,
    /// The path of the memory file beneath `guest/`, without the suffix of a compressed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_file: Option<String>,
    /// The version of the form of the VMM's own state, where that tells it (firecracker).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_format: Option<String>,
    /// The machine on which it was captured.
    pub host: Host,
    /// The libhypeman that captured it.
    pub libhypeman_version: String,
}

/// The machine on which a snapshot was captured: a restore elsewhere compares these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Release of the kernel.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Model of the CPU, as the kernel names it.
    pub cpu_model: String,
    /// Maker of the CPU; empty in snapshots that were captured before this was noted.
    #[serde(default)]
    pub cpu_vendor: String,
    /// What the CPU can do: the kernel's names of it, with a space between any two.
    #[serde(default)]
    pub cpu_flags: String,
}

impl Capture {
    /// A capture of a source in `state`, of which nothing else is known yet.
    pub(crate) fn of(state: InstanceState, host: Host) -> Self {
        Self {
            source_state: state.as_str().to_owned(),
            paused_ms: None,
            saving_memory_ms: None,
            copying_disks_ms: None,
            hypervisor_version: None,
            memory_format: None,
            memory_file: None,
            state_format: None,
            host,
            libhypeman_version: crate::VERSION.to_owned(),
        }
    }
}
