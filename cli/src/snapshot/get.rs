//! `libhypeman snapshot get`

use clap::Args;

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Get {
    /// Id of the snapshot
    id: String,
}

impl Get {
    /// The 14 fields are JSON in either form: there is no better picture of them.
    pub(crate) fn run(self, session: &Session) -> Done {
        output::json(&session.look()?.snapshots().get(&self.id)?)
    }
}
