//! Migration settings of QEMU's: made for one capture or load, then given back as they were found.

use std::fs::File;

use serde_json::{Value, json};

use super::Qemu;
use super::message::{Capability, DescriptorSet, Parameters};
use super::prepare::Plan;
use crate::call::Limit;
use crate::error::{Error, Kind, Result};

/// No limit that a disk could reach; QEMU's default of 128 MiB/s holds for files, too. The odd byte tells a limit
/// that we left behind, because our process was killed, from one that someone else likes.
const OUR_BANDWIDTH: u64 = (1 << 40) + 1;

/// QEMU's default, in bytes a second.
const DEFAULT_BANDWIDTH: u64 = 128 << 20;

/// The name of our descriptor among those of this monitor, and the mark of our sets.
const DESCRIPTOR_NAME: &str = "libhypeman";

/// In which form QEMU writes and reads guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Pages one after the other as they come, zero pages elided. Every QEMU reads it.
    Stream,
    /// Each page at its own place in a sparse file, so that any page can be found.
    MappedRam,
}

impl Form {
    /// The form's name in what we note of a snapshot.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stream => "qemu-stream",
            Self::MappedRam => "qemu-mapped-ram",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        [Self::Stream, Self::MappedRam].into_iter().find(|form| form.name() == name)
    }
}

/// What has to be given back.
#[derive(Debug, Default)]
pub(super) struct Borrowed {
    capabilities: Option<Vec<Capability>>,
    max_bandwidth: Option<u64>,
    descriptor: Option<Descriptor>,
}

impl Borrowed {
    fn is_empty(&self) -> bool {
        self.capabilities.is_none() && self.max_bandwidth.is_none() && self.descriptor.is_none()
    }
}

/// A descriptor that we gave to QEMU.
#[derive(Clone, Copy, Debug)]
enum Descriptor {
    Named,
    InSet(u32),
}

impl Qemu {
    /// Does `work` with QEMU set up for `form`, and `file` under the URI that `work` is given.
    pub(super) fn lending<T>(
        &mut self,
        file: &File,
        plan: &Plan,
        form: Form,
        limit: &Limit,
        work: impl FnOnce(&mut Self, &str) -> Result<T>,
    ) -> Result<T> {
        let outcome = self
            .borrow_settings(plan, form, limit)
            .and_then(|()| self.lend(file, plan, limit))
            .and_then(|uri| work(self, &uri));
        match &outcome {
            // The caller wants to be gone, or QEMU is silent: resuming or settling gives them back.
            Err(error) if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) => {}
            // What cannot be given back now is tried again then, too; the work is done or not, all the same.
            _ => drop(self.give_back(limit)),
        }
        outcome
    }

    /// Sets up QEMU for writing or reading `form`.
    pub(super) fn borrow_settings(&mut self, plan: &Plan, form: Form, limit: &Limit) -> Result<()> {
        // Others would stall the migration (pause-before-switchover), leave memory out of it (x-ignore-shared) or
        // take it from the guest (release-ram). Events spare us the wait for the next look.
        let wanted = |name: &str| name == "events" || (name == "mapped-ram" && form == Form::MappedRam);
        let (found, ours): (Vec<_>, Vec<_>) = plan
            .capabilities
            .iter()
            .filter(|found| found.state != wanted(&found.capability))
            .map(|found| (found.clone(), Capability { state: !found.state, ..found.clone() }))
            .unzip();
        // Noted before they are sent: whether a lost answer stood for a change is not known.
        if !ours.is_empty() {
            self.borrowed.capabilities = Some(found);
            self.set_capabilities(&ours, limit)?;
        }
        self.borrowed.max_bandwidth = Some(plan.max_bandwidth);
        self.set_bandwidth(OUR_BANDWIDTH, limit)
    }

    /// Gives `file` to QEMU and returns the URI under which it finds it.
    pub(super) fn lend(&mut self, file: &File, plan: &Plan, limit: &Limit) -> Result<String> {
        // QEMU 11 takes no regular file by fd:, and 9.0 is the first with a file: that is known to take a set.
        if plan.has_mapped_ram() {
            // A number of our own, known even if the answer is lost; QEMU reads 31 bits of it.
            let id =
                getrandom::u32().map_err(|e| Error::new(Kind::Io, format!("no random numbers: {e}")))? >> 1;
            self.borrowed.descriptor = Some(Descriptor::InSet(id));
            let arguments = json!({ "fdset-id": id, "opaque": DESCRIPTOR_NAME });
            let _: Value = self.qmp.ask_with("add-fd", arguments, file, limit)?;
            Ok(format!("file:/dev/fdset/{id}"))
        } else {
            self.borrowed.descriptor = Some(Descriptor::Named);
            let _: Value = self.qmp.ask_with("getfd", json!({ "fdname": DESCRIPTOR_NAME }), file, limit)?;
            Ok(format!("fd:{DESCRIPTOR_NAME}"))
        }
    }

    /// Gives back what this conversation has borrowed, or one that was killed before it could.
    pub(super) fn give_all_back(&mut self, limit: &Limit) -> Result<()> {
        if self.borrowed.is_empty() { self.give_back_for_the_dead(limit) } else { self.give_back(limit) }
    }

    /// Gives back what is borrowed. What fails stays noted for the next time.
    pub(super) fn give_back(&mut self, limit: &Limit) -> Result<()> {
        if let Some(found) = self.borrowed.capabilities.clone() {
            self.set_capabilities(&found, limit)?;
            self.borrowed.capabilities = None;
        }
        if let Some(found) = self.borrowed.max_bandwidth {
            self.set_bandwidth(found, limit)?;
            self.borrowed.max_bandwidth = None;
        }
        if let Some(descriptor) = self.borrowed.descriptor {
            let (command, which) = match descriptor {
                Descriptor::Named => ("closefd", json!({ "fdname": DESCRIPTOR_NAME })),
                Descriptor::InSet(id) => ("remove-fd", json!({ "fdset-id": id })),
            };
            match self.qmp.ask::<Value>(command, which, limit) {
                // A migration that began took the named one, and a lost connection both.
                Err(error) if !error.message().contains("not found") => return Err(error),
                _ => self.borrowed.descriptor = None,
            }
        }
        Ok(())
    }

    /// Whether the settings of a capture of ours are still made.
    pub(super) fn has_our_mark(&mut self, limit: &Limit) -> Result<bool> {
        let found: Parameters = self.qmp.ask("query-migrate-parameters", json!({}), limit)?;
        Ok(found.max_bandwidth == OUR_BANDWIDTH)
    }

    /// Undoes the settings of a conversation whose process was killed in a capture, if there are any.
    fn give_back_for_the_dead(&mut self, limit: &Limit) -> Result<()> {
        if !self.has_our_mark(limit)? {
            return Ok(());
        }
        let known: Vec<Capability> = self.qmp.ask("query-migrate-capabilities", json!({}), limit)?;
        let ours = known.into_iter().filter(|one| matches!(one.capability.as_str(), "events" | "mapped-ram"));
        let off: Vec<_> = ours.map(|one| Capability { state: false, ..one }).collect();
        self.set_capabilities(&off, limit)?;
        // QEMU keeps a set as long as any monitor has a client.
        let sets: Vec<DescriptorSet> = self.qmp.ask("query-fdsets", json!({}), limit)?;
        for set in sets.iter().filter(|set| set.has_mark(DESCRIPTOR_NAME)) {
            let _: Value = self.qmp.ask("remove-fd", json!({ "fdset-id": set.fdset_id }), limit)?;
        }
        self.set_bandwidth(DEFAULT_BANDWIDTH, limit)
    }

    fn set_capabilities(&mut self, capabilities: &[Capability], limit: &Limit) -> Result<()> {
        let arguments = json!({ "capabilities": capabilities });
        self.qmp.ask::<Value>("migrate-set-capabilities", arguments, limit).map(drop)
    }

    fn set_bandwidth(&mut self, bytes_per_second: u64, limit: &Limit) -> Result<()> {
        let arguments = json!({ "max-bandwidth": bytes_per_second });
        self.qmp.ask::<Value>("migrate-set-parameters", arguments, limit).map(drop)
    }
}
