//! What cloud-hypervisor answers, as far as we read it.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::hypervisor::RunState;

/// The words of an answer that are shown where they are none of the known forms.
const WORDS: usize = 400;

/// The answer to `vmm.ping`.
#[derive(Debug, Deserialize)]
pub(super) struct Ping {
    /// `53.0.0`; a development build has the number of the release after it.
    pub(super) version: String,
    /// `v53.0` or `v53.0-246-gae44c2971`.
    #[serde(default)]
    pub(super) build_version: String,
}

/// The answer to `vm.info`.
#[derive(Debug, Deserialize)]
pub(super) struct Info {
    pub(super) state: String,
    pub(super) config: Config,
    #[serde(default)]
    pub(super) memory_actual_size: u64,
}

impl Info {
    pub(super) fn run_state(&self) -> RunState {
        match self.state.as_str() {
            "Running" => RunState::Running,
            "Paused" => RunState::Paused { after_capture: false },
            // Configured, but not booted; or shut down.
            "Created" => RunState::NotStarted,
            "Shutdown" => RunState::Shutdown,
            _ => RunState::Other,
        }
    }
}

/// A VM's configuration: what may stand in the way of a snapshot.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) disks: Option<Vec<Disk>>,
    #[serde(default)]
    pub(super) memory: Memory,
    /// VFIO.
    #[serde(default)]
    pub(super) devices: Option<Vec<IgnoredAny>>,
    /// vfio-user.
    #[serde(default)]
    pub(super) user_devices: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    pub(super) vdpa: Option<Vec<IgnoredAny>>,
    /// virtio-fs, whose daemon has the guest's memory.
    #[serde(default)]
    pub(super) fs: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    pub(super) generic_vhost_user: Option<Vec<IgnoredAny>>,
    #[serde(default)]
    pub(super) net: Option<Vec<Net>>,
    #[serde(default)]
    pub(super) landlock_enable: bool,
    #[serde(default)]
    pub(super) landlock_rules: Option<Vec<LandlockRule>>,
}

impl Config {
    /// Whether another process, or a device, reads the memory of the guest past the VMM.
    pub(super) fn shares_memory(&self) -> bool {
        let some = |list: &Option<Vec<IgnoredAny>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let disks = self.disks.iter().flatten().any(|disk| disk.vhost_socket.is_some());
        let nets = self.net.iter().flatten().any(|net| net.vhost_user);
        let lists = [&self.devices, &self.user_devices, &self.vdpa, &self.fs, &self.generic_vhost_user];
        disks || nets || lists.into_iter().any(some)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Net {
    #[serde(default)]
    pub(super) vhost_user: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disk {
    /// None where another process has it (vhost-user).
    #[serde(default)]
    pub(super) path: Option<PathBuf>,
    #[serde(default)]
    pub(super) readonly: bool,
    #[serde(default)]
    pub(super) vhost_socket: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Memory {
    #[serde(default)]
    pub(super) shared: bool,
    #[serde(default)]
    pub(super) hugepages: bool,
    #[serde(default)]
    pub(super) prefault: bool,
    #[serde(default)]
    pub(super) zones: Option<Vec<MemoryZone>>,
}

impl Memory {
    /// Whether all of it is in files without a name, of pages of the usual size: only those are handed from one process
    /// to another.
    pub(super) fn can_be_handed_over(&self) -> bool {
        self.shared && !self.hugepages && self.zones.is_none()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct MemoryZone {
    #[serde(default)]
    pub(super) file: Option<PathBuf>,
    #[serde(default)]
    pub(super) shared: bool,
}

/// What the process may open beside the files of its configuration.
#[derive(Debug, Deserialize)]
pub(super) struct LandlockRule {
    pub(super) path: PathBuf,
    /// `rw`, `r` or `w`.
    pub(super) access: String,
}

/// The VMM's own words for an error: an array of strings, outermost first, or an object from its HTTP server that has
/// raw line feeds in its text.
pub(super) fn words(body: &[u8]) -> String {
    let printable: Vec<u8> = body.iter().map(|&byte| if byte < b' ' { b' ' } else { byte }).collect();
    let told = match serde_json::from_slice::<Value>(&printable) {
        Ok(Value::Array(causes)) => {
            let causes: Vec<_> = causes.iter().filter_map(Value::as_str).collect();
            causes.join(": ")
        }
        Ok(Value::Object(object)) => {
            object.get("error").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        _ => String::from_utf8_lossy(&printable).trim().chars().take(WORDS).collect(),
    };
    if told.is_empty() { "it gives no reason; look at its log".to_owned() } else { told }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_vmm_are_read_in_every_form() {
        for (body, told) in [
            (&br#"["Error from API","VM is not running"]"#[..], "Error from API: VM is not running"),
            (b"{ \"error\": \"Invalid request.\nAll dropped.\" }", "Invalid request. All dropped."),
            (b"plain text\n", "plain text"),
            (b"", "it gives no reason; look at its log"),
            (b"{}", "it gives no reason; look at its log"),
        ] {
            assert_eq!(words(body), told);
        }
        assert!(words(&[b'x'; 100_000]).len() < 1000);
    }
}
