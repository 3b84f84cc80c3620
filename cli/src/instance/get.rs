//! `libhypeman instance get`

use clap::Args;

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Get {
    /// Id, name or unique id prefix
    id: String,
}

impl Get {
    pub(crate) fn run(self, session: &Session) -> Done {
        output::json(&session.look()?.instances().get(&self.id)?)
    }
}
