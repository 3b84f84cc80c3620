//! A guest whose memory a pager serves: what it reads is right, or it does not read it.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use hypeman_core::{Hypeman, ServeMemory};

use crate::disks::skip;

/// `guest.c`, which tells by its end what it saw.
pub struct Guest {
    program: PathBuf,
    /// What is right.
    memory: PathBuf,
    /// How many guests there were.
    count: Cell<u64>,
}

impl Guest {
    /// A guest of `memory`, or `None` where there can be none; then `story` is said to be left out.
    pub fn of(memory: &[u8], directory: &Path, story: &str) -> Result<Option<Self>, String> {
        let guest =
            Self { program: directory.join("guest"), memory: directory.join("memory"), count: Cell::new(0) };
        fs::write(&guest.memory, memory).map_err(|e| e.to_string())?;
        let gcc = Command::new("gcc")
            .args(["-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(&guest.program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile/damage/guest.c"))
            .output()
            .map_err(|e| format!("cannot start gcc: {e}"))?;
        if !gcc.status.success() {
            return Err(String::from_utf8_lossy(&gcc.stderr).into_owned());
        }
        let probe = Command::new(&guest.program).status().map_err(|e| e.to_string())?;
        if probe.success() {
            return Ok(Some(guest));
        }
        skip(story, "userfaultfd", "this process may not have a userfaultfd").map(|()| None)
    }

    /// Has the memory of a snapshot served to it, and touches all of it, every other guest from its end: the right bytes, or
    /// its own end in their place. Tells whether it came to that.
    pub fn reads_no_wrong_byte(&self, hm: &Hypeman, id: &str) -> Result<bool, String> {
        // Without a look ahead no working set is noted: the snapshot stays what it is.
        let request = ServeMemory { prefetch: false, ..ServeMemory::default() };
        let Ok(pager) = hm.snapshots().serve_memory(id, &request) else { return Ok(true) };
        let from = if self.count.replace(self.count.get() + 1).is_multiple_of(2) { "start" } else { "end" };
        let ended = Command::new(&self.program).arg(pager.socket()).arg(&self.memory).arg(from).status();
        let ended = ended.map_err(|e| e.to_string())?;
        match ended.code() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(2) => Err("a guest read a wrong byte".to_owned()),
            _ => Err(format!("a guest whose memory is served ended with {ended}")),
        }
    }
}
