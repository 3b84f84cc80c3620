//! Writing the paused guest's memory and device state into one file.

use std::fs::File;
use std::time::Instant;

use serde_json::{Value, json};

use super::image::MEMORY_FILE;
use super::message::Migration;
use super::settings::Form;
use super::{POLL, Qemu};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::full_disk::no_space_or;
use crate::hypervisor::{CaptureTarget, Captured};
use crate::sys::disk;

/// A capture that only waits for the pause.
#[derive(Debug)]
pub(super) struct Armed {
    file: File,
    form: Form,
    uri: String,
}

impl Qemu {
    /// Makes the file, and sets up QEMU to write it: a handful of commands that need no paused guest.
    pub(super) fn arm_for(&mut self, target: &CaptureTarget<'_>, limit: &Limit) -> Result<Armed> {
        let path = target.directory.join(MEMORY_FILE);
        let file = disk::create_for_writing(target.directory_fd, MEMORY_FILE)
            .map_err(|e| Error::io("create", &path, &e))?;
        let plan = match self.plan.take() {
            Some(plan) => plan,
            None => self.plan(limit)?,
        };
        let form =
            if plan.has_mapped_ram() && !target.vendor_forms_only { Form::MappedRam } else { Form::Stream };
        self.borrow_settings(&plan, form, limit)?;
        let uri = self.lend(&file, &plan, limit)?;
        Ok(Armed { file, form, uri })
    }

    pub(super) fn capture_to(
        &mut self,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<Captured> {
        let Armed { file, form, uri } = match self.armed.take() {
            Some(armed) => armed,
            None => self.arm_for(target, limit)?,
        };
        self.migrate(&uri, target, limit, progress)?;
        // What is borrowed is given back by whoever resumes or settles: not while the guest waits.
        let path = target.directory.join(MEMORY_FILE);
        let size_bytes = file.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
        if size_bytes == 0 {
            let message = format!("QEMU reports success, but wrote nothing to {}", path.display());
            return Err(self.qmp.error(Kind::Hypervisor, message));
        }
        Ok(Captured { memory_file: Some(MEMORY_FILE), memory_format: form.name() })
    }

    fn migrate(
        &mut self,
        uri: &str,
        target: &CaptureTarget<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let until = Instant::now() + self.qmp.patience;
        self.qmp.forget_events();
        self.migrating = true;
        if let Err(error) = self.qmp.ask::<Value>("migrate", json!({ "uri": uri }), limit) {
            return Err(no_space_or(error, target, MEMORY_FILE));
        }
        let total = loop {
            let migration: Migration = self.qmp.ask("query-migrate", json!({}), limit)?;
            let total = migration.ram.total;
            if migration.status == "completed" {
                break total;
            }
            if !migration.is_active() {
                self.migrating = false;
                return Err(no_space_or(self.failure(&migration), target, MEMORY_FILE));
            }
            progress(migration.ram.transferred.min(total), total)?;
            if Instant::now() >= until {
                let seconds = self.qmp.patience.as_secs();
                let message = format!("QEMU did not save the memory of the VM within {seconds} s");
                return Err(self.qmp.error(Kind::Timeout, message));
            }
            self.qmp.wait_for_event("MIGRATION", POLL, limit)?;
        };
        self.wait_for_standstill(limit)?;
        self.migrating = false;
        progress(total, total)
    }

    fn failure(&self, migration: &Migration) -> Error {
        let reason = match (migration.status.as_str(), migration.error_desc.as_str()) {
            ("cancelled", _) => "someone cancelled its migration; try again",
            (_, "") => "it gives no reason; look at its log",
            (_, reason) => reason,
        };
        self.qmp.error(Kind::Hypervisor, format!("QEMU could not save the memory of the VM: {reason}"))
    }
}
