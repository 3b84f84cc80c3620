//! `libhypeman snapshot wait`

use clap::Args;

use crate::failure::Done;
use crate::given::Limits;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Wait {
    /// Id of the snapshot
    id: String,
    #[command(flatten)]
    limits: Limits,
}

impl Wait {
    pub(crate) fn run(self, session: &Session) -> Done {
        let hm = session.open()?;
        output::json(&session.watch(Some(self.limits), |call| hm.snapshots().wait(&self.id, call))?)
    }
}
