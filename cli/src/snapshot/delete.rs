//! `libhypeman snapshot delete`

use clap::Args;

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Delete {
    /// Ids of the snapshots
    #[arg(required = true)]
    ids: Vec<String>,
}

impl Delete {
    /// Ends at the first that cannot be deleted; those that were are printed.
    pub(crate) fn run(self, session: &Session) -> Done {
        let hm = session.open()?;
        let mut deleted = Vec::new();
        let outcome = self.ids.iter().try_for_each(|id| {
            hm.snapshots().delete(id)?;
            deleted.push(id);
            if session.as_json { Ok(()) } else { output::line(id) }
        });
        if session.as_json {
            output::json(&deleted)?;
        }
        outcome
    }
}
