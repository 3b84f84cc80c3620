//! `libhypeman snapshot create`

use clap::Args;
use hypeman_core::{CreateSnapshot, SnapshotKind};

use crate::failure::Done;
use crate::given::{Compression, Limits, once, pair};
use crate::output;
use crate::session::Session;

#[derive(Args)]
pub(crate) struct Create {
    /// Id, name or unique id prefix of the instance
    instance: String,
    /// Standby (memory, device state and disks) or Stopped (disks)
    #[arg(long, default_value = "Standby")]
    kind: String,
    /// A name, unique among the snapshots of the instance
    #[arg(long)]
    name: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
    tags: Vec<(String, String)>,
    #[command(flatten)]
    compression: Compression,
    #[command(flatten)]
    limits: Limits,
    /// Leave compression and checksums to whoever opens the data directory next
    #[arg(long)]
    no_wait: bool,
}

impl Create {
    pub(crate) fn run(self, session: &Session) -> Done {
        let Self { instance, kind, name, tags, compression, limits, no_wait } = self;
        let request = CreateSnapshot {
            kind: SnapshotKind::from(kind.as_str()),
            name,
            tags: if tags.is_empty() { None } else { Some(once("tag", tags)?) },
            compression: compression.config(),
        };
        let hm = session.open()?;
        let made = session
            .watch(Some(limits), |call| hm.instances().snapshots().create(&instance, &request, call))?;
        // Printed as soon as it is on the disk: what comes now cannot take it back.
        if !session.as_json {
            output::line(&made.id)?;
        }
        let finished = if no_wait { Ok(()) } else { session.finish(&hm) };
        if session.as_json {
            output::json(&hm.snapshots().get(&made.id)?)?;
        }
        Ok(finished?)
    }
}
