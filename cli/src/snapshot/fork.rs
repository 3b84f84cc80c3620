//! `libhypeman snapshot fork`

use std::path::PathBuf;

use clap::Args;
use hypeman_core::ForkSnapshot;

use crate::failure::Done;
use crate::given::{Limits, Loading, absolute, moved, once};
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Fork {
    /// Id of the snapshot
    snapshot: String,
    /// Name of the new instance
    name: String,
    /// Its directory, which is made [default: guests/{id} in the data directory]
    #[arg(long, value_parser = absolute)]
    directory: Option<PathBuf>,
    /// Where a disk from outside the source's directory goes; may be repeated [default: disks/ of the new directory]
    #[arg(long = "disk", value_name = "FROM=TO", value_parser = moved)]
    disks: Vec<(PathBuf, PathBuf)>,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    limits: Limits,
}

impl Fork {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self { snapshot, name, directory, disks, loading, limits } = self;
        let request =
            ForkSnapshot { name, directory, disks: once("disk", disks)?, restore: loading.request()? };
        let hm = session.open()?;
        let made = session.watch(Some(limits), |call| hm.snapshots().fork(&snapshot, &request, call))?;
        if session.as_json { output::json(&made) } else { output::line(&made.id) }
    }
}
