//! `libhypeman snapshot inspect`

use clap::Args;
use hypeman_core::{Capture, Inspection};

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Inspect {
    /// Id of the snapshot
    id: String,
}

impl Inspect {
    pub(crate) fn run(self, session: &Session) -> Done {
        let inspection = session.look()?.snapshots().inspect(&self.id)?;
        if session.as_json {
            return output::json(&inspection);
        }
        let Inspection { snapshot, files, allocated_bytes, capture, generation } = inspection;
        output::line(&format!(
            "{} of {}, {}",
            snapshot.kind, snapshot.source_instance_name, snapshot.created_at
        ))?;
        if let Some(capture) = capture {
            output::line(&captured(&capture))?;
        }
        let rows: Vec<[String; 3]> = files
            .into_iter()
            .map(|file| [file.path, output::bytes(file.size_bytes), output::bytes(file.allocated_bytes)])
            .collect();
        output::table(["FILE", "SIZE", "ON DISK"], &rows)?;
        output::line(&format!("{} on disk in all", output::bytes(allocated_bytes)))?;
        output::line(&format!("its memory was handed out {generation} times"))
    }
}

fn captured(capture: &Capture) -> String {
    let Capture { source_state, paused_ms, hypervisor_version, libhypeman_version, host, .. } = capture;
    let paused = paused_ms.map(|ms| format!(", paused {ms:.0} ms")).unwrap_or_default();
    let vmm = hypervisor_version.as_ref().map(|version| format!(" by VMM {version}")).unwrap_or_default();
    let on = format!("Linux {} {}", host.kernel, host.architecture);
    format!("captured {source_state}{paused}{vmm} with libhypeman {libhypeman_version} on {on}")
}
