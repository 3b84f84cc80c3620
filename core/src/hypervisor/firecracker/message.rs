//! What Firecracker answers, as far as we read it. Later versions say more.

use serde::Deserialize;

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
    machine_config: MachineSettings,
    #[serde(default)]
    memory_hotplug: Option<HotplugSettings>,
}

#[derive(Debug, Deserialize)]
struct MachineSettings {
    mem_size_mib: u64,
}

#[derive(Debug, Deserialize)]
struct HotplugSettings {
    total_size_mib: u64,
}

impl Settings {
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
