//! Refusing, while the guest still runs, what would fail or end in half a snapshot when it is paused.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::message::{Config, Info};
use super::{CloudHypervisor, NAME};
use crate::call::Limit;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::RunState;

/// The first release that saves the state of VFIO devices.
const VFIO_SINCE: u32 = 54;

/// No directory can be there, so that nothing can be written.
pub(super) const NOWHERE: &str = "file:///dev/null/libhypeman";

/// What a capture has to know of the VM.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) memory_bytes: u64,
    /// Whether each page of it takes space in the file, also those that the guest never touched.
    pub(super) is_dense: bool,
    pub(super) can_be_handed_over: bool,
    /// Directories to which a process in a Landlock sandbox may write; `None` where it is in none.
    writable: Option<Vec<PathBuf>>,
}

impl Plan {
    /// Refuses a directory outside the sandbox.
    pub(super) fn check_landlock(&self, directory: &Path) -> Result<()> {
        let Some(writable) = &self.writable else { return Ok(()) };
        if writable.iter().any(|root| directory.starts_with(root)) {
            return Ok(());
        }
        let message = format!(
            "{NAME} runs in a Landlock sandbox that keeps it from {}; start it with --landlock-rules \
             path=<the data directory>,access=rw",
            directory.display()
        );
        Err(Error::new(Kind::Permission, message).at(directory))
    }
}

impl CloudHypervisor {
    pub(super) fn plan(&mut self, limit: &Limit) -> Result<Plan> {
        let Some(info) = self.api.info(limit)? else {
            return Err(self.api.error(Kind::InvalidState, format!("{NAME} has no VM; boot one first")));
        };
        self.api.expect_memory(info.memory_actual_size);
        if let Some(reason) = obstacle(&info.config, self.api.major()) {
            let message = format!("{NAME} cannot save this VM: {reason}; remove it, or stop the VM first");
            return Err(self.api.error(Kind::NotSupported, message));
        }
        if info.run_state() == RunState::Running {
            self.rehearse(limit)?;
        }
        Ok(plan_of(&info))
    }

    /// Asks for a snapshot of the running guest, which is refused because it runs, once all else is found in order: an
    /// unfinished on-demand restore, a migration under way and a confidential guest are told in no other way.
    fn rehearse(&self, limit: &Limit) -> Result<()> {
        match self.api.provoke("vm.snapshot", &json!({ "destination_url": NOWHERE }), limit)? {
            Some(words) if words.contains("while VM is running") => Ok(()),
            Some(words) => {
                let kind = if words.contains("in progress") || words.contains("migrating") {
                    Kind::Busy
                } else {
                    Kind::NotSupported
                };
                Err(self.api.error(kind, format!("{NAME} cannot save this VM: {words}")))
            }
            None => Err(self.api.error(
                Kind::Hypervisor,
                format!("what listens at {} takes snapshots to nowhere", self.api.path().display()),
            )),
        }
    }
}

fn plan_of(info: &Info) -> Plan {
    let rules = info.config.landlock_rules.iter().flatten();
    let writable = rules.filter(|rule| rule.access.contains('w')).map(|rule| rule.path.clone()).collect();
    Plan {
        memory_bytes: info.memory_actual_size,
        can_be_handed_over: info.config.memory.can_be_handed_over(),
        is_dense: !info.config.memory.shared && info.config.memory.zones.is_none(),
        writable: info.config.landlock_enable.then_some(writable),
    }
}

/// What keeps a VM of that configuration from being saved whole, as far as it is known without trying.
fn obstacle(config: &Config, major: u32) -> Option<&'static str> {
    let some = |devices: &Option<Vec<_>>| devices.as_ref().is_some_and(|devices| !devices.is_empty());
    let mut zones = config.memory.zones.iter().flatten();
    if some(&config.vdpa) {
        Some("it has a vDPA device, which is saved in a live migration only")
    } else if some(&config.user_devices) {
        Some("it has a vfio-user device, whose state is not saved")
    } else if some(&config.devices) && major < VFIO_SINCE {
        Some("it has a VFIO device, whose state is not saved before v54")
    } else if zones.any(|zone| zone.shared && zone.file.is_some()) {
        Some("a zone of its memory is a shared file, which is not saved but goes on changing")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(config: serde_json::Value) -> Info {
        serde_json::from_value(json!({ "state": "Running", "config": config })).unwrap()
    }

    #[test]
    fn devices_that_are_not_saved_whole_are_known_by_the_configuration() {
        for (config, major, word) in [
            (json!({ "vdpa": [{ "path": "/dev/vhost-vdpa" }] }), 54, Some("vDPA")),
            (json!({ "user_devices": [{ "socket": "/s" }] }), 54, Some("vfio-user")),
            (json!({ "devices": [{ "path": "/sys/x" }] }), 53, Some("VFIO")),
            (json!({ "devices": [{ "path": "/sys/x" }] }), 54, None),
            (json!({ "devices": [], "vdpa": null }), 48, None),
            (json!({ "memory": { "zones": [{ "file": "/x", "shared": true }] } }), 54, Some("shared file")),
            (json!({ "memory": { "zones": [{ "file": "/x" }, { "shared": true }] } }), 54, None),
            (json!({ "memory": { "size": 1, "shared": true } }), 54, None),
        ] {
            let found = obstacle(&info(config.clone()).config, major);
            assert_eq!(found.is_some(), word.is_some(), "{config}");
            assert!(found.unwrap_or_default().contains(word.unwrap_or_default()), "{config}");
        }
    }

    #[test]
    fn a_sandbox_lets_write_where_a_rule_says_so() {
        let rule = |access: &str| json!([{ "path": "/data", "access": access }]);
        let plan = |on: bool, access: &str| {
            plan_of(&info(json!({ "landlock_enable": on, "landlock_rules": rule(access) })))
        };
        plan(true, "rw").check_landlock(Path::new("/data/x")).unwrap();
        plan(false, "r").check_landlock(Path::new("/data/x")).unwrap();
        for (plan, path) in [(plan(true, "r"), "/data/x"), (plan(true, "rw"), "/database")] {
            assert_eq!(plan.check_landlock(Path::new(path)).unwrap_err().kind(), Kind::Permission);
        }
    }
}
