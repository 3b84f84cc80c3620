//! The `libhypeman` command: what the library does, from a shell. A subcommand a file. The program in `main.rs` runs it,
//! and so does the Python package, which brings the command, too.

mod failure;
mod given;
mod instance;
mod output;
mod session;
mod snapshot;

use std::ffi::OsString;
use std::path::PathBuf;

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

/// Runs the command with its arguments, the first of which is its own name, and returns its exit status. Once in a
/// process: from then on Ctrl-C, and a request to terminate, end the calls of the command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let CommandLine { common, noun } = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        Err(answer) => return failure::misread(&answer),
    };
    let as_json = common.json;
    match perform(common, noun) {
        Ok(()) => 0,
        Err(failure) => failure.report(as_json),
    }
}

fn perform(common: Common, noun: Noun) -> Done {
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
