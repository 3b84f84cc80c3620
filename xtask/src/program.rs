//! Running other programs: loud ones, whose output is for the person, and quiet ones, whose output is for us.

use std::ffi::OsStr;
use std::process::Command;

use crate::{Result, root};

/// A command that will run at the root of the repository.
pub fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    command.current_dir(root());
    command
}

/// Cargo, the one that runs us.
pub fn cargo() -> Command {
    program(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// What [`Command`] lacks: an end that is an error when it was a bad one.
pub trait Run {
    /// Runs to the end, with our stdout and stderr.
    fn run(&mut self) -> Result<()>;

    /// Runs to the end and returns what it wrote to stdout; what it wrote to stderr goes into the error.
    fn read(&mut self) -> Result<String>;
}

impl Run for Command {
    fn run(&mut self) -> Result<()> {
        let status = self.status().map_err(|error| format!("cannot start {}: {error}", shown(self)))?;
        if status.success() { Ok(()) } else { Err(format!("{} ended with {status}", shown(self)).into()) }
    }

    fn read(&mut self) -> Result<String> {
        let output = self.output().map_err(|error| format!("cannot start {}: {error}", shown(self)))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} ended with {}: {}", shown(self), output.status, said.trim()).into())
    }
}

/// Tells whether `name` can be run by that name.
pub fn is_on_path(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}

/// Tells whether `command` ends well, without showing what it says.
pub fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The command as a person would type it, for messages.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
