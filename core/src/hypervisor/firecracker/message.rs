//! What Firecracker answers, as far as we read it. Later versions say more.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

/// The answer to `GET /`.
#[derive(Debug, Deserialize)]
pub(super) struct Instance {
    /// `Not started`, `Running` or `Paused`.
    pub(super) state: String,
    pub(super) vmm_version: String,
    /// Tells this server from others that answer with JSON.
    pub(super) app_name: String,
}

/// The answer to `GET /vm/config`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) drives: Vec<Drive>,
    machine_config: MachineSettings,
    #[serde(default)]
    memory_hotplug: Option<HotplugSettings>,
    #[serde(default)]
    balloon: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Drive {
    pub(super) drive_id: String,
    /// None where another process has it (vhost-user).
    #[serde(default)]
    pub(super) path_on_host: Option<PathBuf>,
    #[serde(default)]
    pub(super) is_read_only: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct MachineSettings {
    mem_size_mib: u64,
    #[serde(default)]
    track_dirty_pages: bool,
}

#[derive(Debug, Deserialize)]
struct HotplugSettings {
    total_size_mib: u64,
}

impl Settings {
    /// Whether the log of dirty pages is kept and has all that changes: pages that a guest gives back to the host change
    /// without it.
    pub(super) fn tracks_changes(&self) -> bool {
        self.machine_config.track_dirty_pages && self.memory_hotplug.is_none() && self.balloon.is_none()
    }

    /// Bytes of guest memory, and of the file that holds it: memory that is not plugged in has its place there, too.
    pub(super) fn memory_bytes(&self) -> u64 {
        let hotplug_mib = self.memory_hotplug.as_ref().map_or(0, |hotplug| hotplug.total_size_mib);
        self.machine_config.mem_size_mib.saturating_add(hotplug_mib).saturating_mul(1 << 20)
    }
}

/// The body of every refusal.
#[derive(Debug, Deserialize)]
pub(super) struct Fault {
    pub(super) fault_message: String,
}
