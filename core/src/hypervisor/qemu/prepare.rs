//! Refusing, while the guest still runs, what QEMU would refuse when it is paused; the settings that it has.

use serde_json::json;

use super::Qemu;
use super::message::{Capability, MemorySize, Migration, Parameters};
use crate::call::Limit;
use crate::error::{Kind, Result};
use crate::hypervisor::patience;

/// What a capture or a load has to know of the VM.
#[derive(Debug)]
pub(super) struct Plan {
    /// Every migration capability of this QEMU, and whether it was on.
    pub(super) capabilities: Vec<Capability>,
    /// As it was, in bytes a second.
    pub(super) max_bandwidth: u64,
}

impl Plan {
    /// Whether this QEMU writes guest memory page by page to fixed places of a file (9.0 and later).
    pub(super) fn has_mapped_ram(&self) -> bool {
        self.capabilities.iter().any(|known| known.capability == "mapped-ram")
    }
}

impl Qemu {
    pub(super) fn plan(&mut self, limit: &Limit) -> Result<Plan> {
        let migration: Migration = self.qmp.ask("query-migrate", json!({}), limit)?;
        if migration.is_active() {
            let message =
                "another migration of this VM is under way; wait for its end, or cancel it (migrate_cancel)";
            return Err(self.qmp.error(Kind::Busy, message.to_owned()));
        }
        if !migration.blocked_reasons.is_empty() {
            let reasons = migration.blocked_reasons.join("; ");
            let message =
                format!("QEMU cannot save this VM: {reasons}; remove what blocks it, or stop the VM first");
            return Err(self.qmp.error(Kind::NotSupported, message));
        }
        if self.status(limit)? == "postmigrate" {
            // It may have moved to another host: going on here, even for a moment, would ruin its disks.
            let message = "the VM stands where its memory was last saved or migrated away, and QEMU saves it from \
                           there no second time; if it has not moved to another host, resume and pause it first";
            return Err(self.qmp.error(Kind::InvalidState, message.to_owned()));
        }
        self.look_at_settings(limit)
    }

    /// Reads what is changed for a capture or a load. From here on QEMU has the time that its memory takes.
    pub(super) fn look_at_settings(&mut self, limit: &Limit) -> Result<Plan> {
        let memory: MemorySize = self.qmp.ask("query-memory-size-summary", json!({}), limit)?;
        self.qmp.patience = patience(memory.base_memory.saturating_add(memory.plugged_memory));
        // What a killed process of ours left is no one's wish: taken for that, it would be given back, and stay for ever.
        self.give_all_back(limit)?;
        let capabilities = self.qmp.ask("query-migrate-capabilities", json!({}), limit)?;
        let parameters: Parameters = self.qmp.ask("query-migrate-parameters", json!({}), limit)?;
        Ok(Plan { capabilities, max_bandwidth: parameters.max_bandwidth })
    }
}
