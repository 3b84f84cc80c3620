//! `libhypeman instance list`

use clap::Args;

use crate::failure::Done;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct List {
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

impl List {
    pub(crate) fn run(self, session: &Session) -> Done {
        let found = session.look()?.instances().list()?;
        if session.as_json {
            return output::json(&found);
        }
        if self.quiet {
            return found.iter().try_for_each(|instance| output::line(&instance.id));
        }
        let rows: Vec<[String; 4]> = found
            .into_iter()
            .map(|one| [one.id, one.name, one.hypervisor.to_string(), one.state.to_string()])
            .collect();
        output::table(["ID", "NAME", "HYPERVISOR", "STATE"], &rows)
    }
}
