//! Bringing a VM to rest and letting it run again, whatever was left half done.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::message::Migration;
use super::{POLL, Qemu};
use crate::call::Limit;
use crate::error::{Kind, Result};

impl Qemu {
    /// Cancels a migration that is under way and waits until QEMU stands still.
    pub(super) fn settle_down(&mut self) -> Result<()> {
        let limit = Limit::default();
        self.qmp.revive(&limit)?;
        self.cancel_migration(&limit)?;
        self.wait_for_standstill(&limit)?;
        self.migrating = false;
        Ok(())
    }

    /// All that QEMU tells of the migration after which it stands in `postmigrate`, times and counters; `None` where it
    /// does not stand there. It begins no other from there: the guest would have to run before.
    pub(super) fn last_migration(&mut self, limit: &Limit) -> Result<Option<String>> {
        if self.status(limit)? != "postmigrate" {
            return Ok(None);
        }
        let told: Value = self.qmp.ask("query-migrate", json!({}), limit)?;
        Ok((told.get("status").and_then(Value::as_str) == Some("completed")).then(|| told.to_string()))
    }

    /// Lets the guest run, and sees that it does.
    pub(super) fn let_run(&mut self) -> Result<()> {
        let limit = Limit::default();
        self.qmp.revive(&limit)?;
        // A guest that ran on under its migration would be stopped again at the end of it.
        if self.migrating {
            self.cancel_migration(&limit)?;
            self.wait_for_standstill(&limit)?;
            self.migrating = false;
        }
        let _: Value = self.qmp.ask("cont", json!({}), &limit)?;
        let status = self.status(&limit)?;
        if status != "running" {
            let message = format!("QEMU says that it is {status}");
            return Err(self.qmp.error(Kind::InvalidState, message));
        }
        // Only now, as they are our mark. The guest runs: that they cannot be given back is no failure of this call.
        drop(self.give_all_back(&limit));
        Ok(())
    }

    fn cancel_migration(&mut self, limit: &Limit) -> Result<()> {
        let until = Instant::now() + self.qmp.patience;
        let mut asked = false;
        loop {
            let migration: Migration = self.qmp.ask("query-migrate", json!({}), limit)?;
            if !migration.is_active() {
                return Ok(());
            }
            if !asked {
                let _: Value = self.qmp.ask("migrate_cancel", json!({}), limit)?;
                asked = true;
            }
            if Instant::now() >= until {
                let message = format!("QEMU's migration is {} and does not end", migration.status);
                return Err(self.qmp.error(Kind::Timeout, message));
            }
            self.qmp.wait_for_event("MIGRATION", POLL, limit)?;
        }
    }

    /// Waits until a migration that has ended has left its mark on the run state.
    ///
    /// QEMU tells `completed` a moment before it sets `postmigrate`; a `cont` in that moment would be a transition
    /// from running to `postmigrate`, at which QEMU aborts.
    pub(super) fn wait_for_standstill(&mut self, limit: &Limit) -> Result<()> {
        let until = Instant::now() + self.qmp.patience;
        while self.status(limit)? == "finish-migrate" {
            limit.check()?;
            if Instant::now() >= until {
                let message = "QEMU does not leave the state finish-migrate".to_owned();
                return Err(self.qmp.error(Kind::Timeout, message));
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}
