//! `libhypeman snapshot`: a verb a file.

mod cancel_compression;
mod compress;
mod create;
mod delete;
mod fork;
mod get;
mod inspect;
mod list;
mod restore;
mod verify;
mod wait;

use clap::Subcommand;

use crate::failure::Done;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Capture a snapshot of an instance and print its id
    Create(create::Create),
    /// List snapshots, newest first
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Print a snapshot
    Get(get::Get),
    /// Delete snapshots
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    /// Put an instance back to a snapshot of it
    Restore(restore::Restore),
    /// Make a new instance of a snapshot and print its id
    Fork(fork::Fork),
    /// Read every byte of snapshots and compare it with what was captured
    Verify(verify::Verify),
    /// Print the files of a snapshot, and how it was captured
    Inspect(inspect::Inspect),
    /// Compress the memory of a snapshot that is raw
    Compress(compress::Compress),
    /// Stop the compression of a snapshot; its memory stays raw
    CancelCompression(cancel_compression::CancelCompression),
    /// Wait until the compression of a snapshot has ended
    Wait(wait::Wait),
}

impl Verb {
    pub(crate) fn run(self, session: &Session) -> Done {
        match self {
            Self::Create(verb) => verb.run(session),
            Self::List(verb) => verb.run(session),
            Self::Get(verb) => verb.run(session),
            Self::Delete(verb) => verb.run(session),
            Self::Restore(verb) => verb.run(session),
            Self::Fork(verb) => verb.run(session),
            Self::Verify(verb) => verb.run(session),
            Self::Inspect(verb) => verb.run(session),
            Self::Compress(verb) => verb.run(session),
            Self::CancelCompression(verb) => verb.run(session),
            Self::Wait(verb) => verb.run(session),
        }
    }
}
