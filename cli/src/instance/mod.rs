//! `libhypeman instance`: a verb a file.

mod get;
mod list;
mod register;
mod unregister;

use clap::Subcommand;

use crate::failure::Done;
use crate::session::Session;

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Tell the data directory where a VM is, and print its id
    Register(Box<register::Register>),
    /// List instances by name, each with its state
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Print an instance
    Get(get::Get),
    /// Forget an instance; the VM, its files and its snapshots stay
    #[command(visible_alias = "rm")]
    Unregister(unregister::Unregister),
}

impl Verb {
    pub(crate) fn run(self, session: &Session) -> Done {
        match self {
            Self::Register(verb) => verb.run(session),
            Self::List(verb) => verb.run(session),
            Self::Get(verb) => verb.run(session),
            Self::Unregister(verb) => verb.run(session),
        }
    }
}
