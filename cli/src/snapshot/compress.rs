//! `libhypeman snapshot compress`

use clap::Args;

use crate::failure::Done;
use crate::given::Compression;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Compress {
    /// Id of the snapshot
    id: String,
    #[command(flatten)]
    compression: Compression,
}

impl Compress {
    pub(crate) fn run(self, session: &Session) -> Done {
        let hm = session.open()?;
        hm.snapshots().compress(&self.id, self.compression.config().as_ref())?;
        let done = session.watch(None, |call| hm.snapshots().wait(&self.id, call))?;
        session.finish(&hm)?;
        output::json(&done)
    }
}
