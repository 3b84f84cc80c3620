//! `libhypeman snapshot restore`

use clap::Args;

use crate::failure::Done;
use crate::given::{Limits, Loading};
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Restore {
    /// Id, name or unique id prefix of the instance
    instance: String,
    /// Id of a snapshot of it
    snapshot: String,
    #[command(flatten)]
    loading: Loading,
    #[command(flatten)]
    limits: Limits,
}

impl Restore {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self { instance, snapshot, loading, limits } = self;
        let request = loading.request()?;
        let hm = session.open()?;
        let restored = session.watch(Some(limits), |call| {
            hm.instances().snapshots().restore(&snapshot, &instance, &request, call)
        })?;
        if session.as_json {
            return output::json(&restored);
        }
        output::line(&format!("{} {}", restored.id, restored.state))
    }
}
