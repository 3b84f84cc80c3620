//! The `libhypeman` command: what the library does, from a shell. A subcommand a file.

mod failure;
mod given;
mod instance;
mod output;
mod session;
mod snapshot;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use failure::Done;
use session::Session;

/// Snapshots of virtual machines: guest memory, device state and disks, while the VM runs.
#[derive(Parser)]
#[command(name = "libhypeman", version, propagate_version = true)]
struct CommandLine {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    noun: Noun,
}

/// What every subcommand takes.
#[derive(Args)]
struct Common {
    /// The data directory [default: $HYPEMAN_DATA_DIR, else /var/lib/hypeman]
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Print results and errors as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Tell on stderr what happens in the background
    #[arg(long, short, global = true)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Noun {
    /// Create, list, fetch, check, restore and delete snapshots
    #[command(subcommand, visible_alias = "snapshots")]
    Snapshot(Box<snapshot::Verb>),
    /// Tell the data directory of VMs
    #[command(subcommand, visible_alias = "instances")]
    Instance(instance::Verb),
    /// Print the completion script of a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let CommandLine { common, noun } = CommandLine::parse();
    let as_json = common.json;
    match run(common, noun) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(as_json),
    }
}

fn run(common: Common, noun: Noun) -> Done {
    match noun {
        Noun::Snapshot(verb) => verb.run(&Session::start(common)?),
        Noun::Instance(verb) => verb.run(&Session::start(common)?),
        Noun::Completion { shell } => output::completion(shell, &mut CommandLine::command()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_has_no_contradictions() {
        CommandLine::command().debug_assert();
    }
}
