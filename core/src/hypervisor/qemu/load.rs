//! Loading an image into a QEMU that waits for one (`-incoming defer`).
//!
//! What QEMU would find wrong is looked for first: before 9.1 it ends over an image that it cannot load, and tells
//! why only on its standard error.

use std::io::Seek;
use std::time::Instant;

use serde_json::{Value, json};

use super::image::Image;
use super::message::Migration;
use super::prepare::Plan;
use super::settings::Form;
use super::{POLL, Qemu};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{LoadSource, MemoryBackend, Vmm};

impl Qemu {
    pub(super) fn load_from(
        &mut self,
        source: &LoadSource<'_>,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        self.refuse_wishes(source)?;
        self.refuse_unless_waiting(limit)?;
        let image = Image::open(source)?;
        let plan = self.look_at_settings(limit)?;
        let form = self.form_of(source, &plan)?;
        self.refuse_other_machine(&image, limit)?;

        self.lending(&image.file, &plan, form, limit, |qemu, uri| {
            qemu.read_in(uri, &image, limit, progress).map_err(|error| qemu.of_load(error, &image))
        })?;
        // Also if another client had it run once loaded.
        self.pause(limit)
    }

    fn refuse_wishes(&self, source: &LoadSource<'_>) -> Result<()> {
        let refuse = |what: &str| Err(self.qmp.error(Kind::NotSupported, what.to_owned()));
        if source.memory != MemoryBackend::File {
            return refuse("QEMU loads all of the memory before the guest runs; ask for no lazy memory");
        }
        if !source.network_overrides.is_empty() {
            return refuse("QEMU has the networks of its command line; start it with the devices wanted");
        }
        Ok(())
    }

    /// A VM that ran is never loaded over, and no QEMU loads twice.
    fn refuse_unless_waiting(&mut self, limit: &Limit) -> Result<()> {
        let status = self.status(limit)?;
        if status != "inmigrate" {
            let message = format!(
                "the VM is {status} and waits for no image; start another QEMU for it, with -incoming defer"
            );
            return Err(self.qmp.error(Kind::InvalidState, message));
        }
        let migration: Migration = self.qmp.ask("query-migrate", json!({}), limit)?;
        if !matches!(migration.status.as_str(), "" | "none") {
            let message = format!(
                "this QEMU was told to load an image before (it says: {}), and takes no second; start another one",
                migration.status
            );
            return Err(self.qmp.error(Kind::InvalidState, message));
        }
        Ok(())
    }

    fn form_of(&self, source: &LoadSource<'_>, plan: &Plan) -> Result<Form> {
        let refuse = |why: String| Err(self.qmp.error(Kind::Incompatible, why));
        match source.memory_format {
            None => Ok(Form::Stream),
            Some(named) => match Form::named(named) {
                Some(Form::MappedRam) if !plan.has_mapped_ram() => {
                    let version = self.qmp.version();
                    refuse(format!(
                        "the image is {named}, which QEMU {version} cannot load; use QEMU 9.0 or later"
                    ))
                }
                Some(form) => Ok(form),
                None => refuse(format!("the image is {named}, which is of another VMM than QEMU")),
            },
        }
    }

    fn refuse_other_machine(&mut self, image: &Image, limit: &Limit) -> Result<()> {
        let Some(wanted) = &image.machine else { return Ok(()) };
        let arguments = json!({ "path": "/machine", "property": "type" });
        let found: String = self.qmp.ask("qom-get", arguments, limit)?;
        let found = found.strip_suffix("-machine").unwrap_or(&found);
        if found != wanted {
            let version = self.qmp.version();
            let message = format!(
                "the image is of a machine {wanted}, and this QEMU {version} has a {found}; start it with -machine {wanted}"
            );
            return Err(self.qmp.error(Kind::Incompatible, message));
        }
        Ok(())
    }

    fn read_in(
        &mut self,
        uri: &str,
        image: &Image,
        limit: &Limit,
        progress: &mut dyn FnMut(u64, u64) -> Result<()>,
    ) -> Result<()> {
        let until = Instant::now() + self.qmp.patience;
        // Of a VM that still waits, this says that it shall not run once it is loaded.
        let _: Value = self.qmp.ask("stop", json!({}), limit)?;
        self.qmp.forget_events();
        self.begin(uri, limit)?;
        loop {
            let migration: Migration = self.qmp.ask("query-migrate", json!({}), limit)?;
            match (migration.status.as_str(), migration.error_desc.as_str()) {
                ("completed", _) => return progress(image.size_bytes, image.size_bytes),
                ("failed" | "cancelled", reason) => {
                    let reason =
                        if reason.is_empty() { "it gives no reason; look at its log" } else { reason };
                    return Err(self.qmp.error(Kind::Hypervisor, format!("QEMU says: {reason}")));
                }
                // It may not have begun yet.
                _ => {}
            }
            // QEMU has a copy of our descriptor, and with it our place in the file.
            let place = (&image.file).stream_position().unwrap_or(0);
            progress(place.min(image.size_bytes), image.size_bytes)?;
            if Instant::now() >= until {
                let message = format!("QEMU did not load it within {} s", self.qmp.patience.as_secs());
                return Err(self.qmp.error(Kind::Timeout, message));
            }
            self.qmp.wait_for_event("MIGRATION", POLL, limit)?;
        }
    }

    fn begin(&mut self, uri: &str, limit: &Limit) -> Result<()> {
        let lasting = json!({ "uri": uri, "exit-on-error": false });
        match self.qmp.ask::<Value>("migrate-incoming", lasting, limit) {
            // Since 9.1.
            Err(error) if error.message().contains("'exit-on-error'") => {
                self.qmp.ask::<Value>("migrate-incoming", json!({ "uri": uri }), limit).map(drop)
            }
            told => told.map(drop),
        }
    }

    fn of_load(&self, error: Error, image: &Image) -> Error {
        if error.kind() != Kind::Hypervisor {
            return error;
        }
        let error = error.context(format!("the memory image {} was not loaded", image.path.display()));
        if self.qmp.is_broken() {
            return error.note(
                "QEMU before 9.1 ends when an image is damaged, or of a VM with other memory or devices, and says \
                 on its standard error which",
            );
        }
        error.note(
            "end this QEMU, and start another one with the machine, memory and devices of the captured VM",
        )
    }
}
