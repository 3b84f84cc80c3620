//! `libhypeman instance unregister`

use clap::Args;

use crate::failure::Done;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Unregister {
    /// Id, name or unique id prefix
    id: String,
}

impl Unregister {
    pub(crate) fn run(self, session: &Session) -> Done {
        Ok(session.open()?.instances().unregister(&self.id)?)
    }
}
