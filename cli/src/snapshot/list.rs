//! `libhypeman snapshot list`

use clap::Args;
use hypeman_core::Snapshot;

use crate::failure::Done;
use crate::given::Filter;
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Filter,
    /// Print ids only
    #[arg(long, short)]
    quiet: bool,
}

impl List {
    pub(crate) fn run(self, session: &Session) -> Done {
        let found = session.look()?.snapshots().list(&self.filter.filter()?)?;
        if session.as_json {
            return output::json(&found.iter().map(AsRef::as_ref).collect::<Vec<&Snapshot>>());
        }
        if self.quiet {
            return found.iter().try_for_each(|snapshot| output::line(&snapshot.id));
        }
        let rows: Vec<[String; 5]> = found
            .iter()
            .map(|snapshot| {
                let name = snapshot.name.clone().unwrap_or_else(|| "-".to_owned());
                let [kind, created] = [snapshot.kind.to_string(), snapshot.created_at.to_string()];
                [snapshot.id.clone(), name, kind, snapshot.source_instance_name.clone(), created]
            })
            .collect();
        output::table(["ID", "NAME", "KIND", "SOURCE", "CREATED"], &rows)
    }
}
