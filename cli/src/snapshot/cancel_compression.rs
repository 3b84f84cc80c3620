//! `libhypeman snapshot cancel-compression`

use clap::Args;

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct CancelCompression {
    /// Id of the snapshot
    id: String,
}

impl CancelCompression {
    pub(crate) fn run(self, session: &Session) -> Done {
        output::json(&session.open()?.snapshots().cancel_compression(&self.id)?)
    }
}
