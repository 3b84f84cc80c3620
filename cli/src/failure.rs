//! How a subcommand ends that does not succeed.

use std::io::{self, ErrorKind, Write};

use hypeman_core::{Error, Kind};
use serde_json::json;

/// What a shell expects of a program that succeeded, that failed, and that Ctrl-C ended.
const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;
const INTERRUPTED: u8 = 130;

/// What a subcommand returns.
pub(crate) type Done = Result<(), Failure>;

/// Why a subcommand did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library refused, or failed.
    Library(Error),
    /// The result could not be printed.
    Output(io::Error),
    /// The call succeeded, and what it found is bad: it was printed already.
    Found,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Failure {
    /// Says it on stderr and gives the exit status: 0 where only the reader of our output has left, 130 after Ctrl-C, else 1.
    pub(crate) fn report(&self, as_json: bool) -> u8 {
        let (text, code) = match self {
            Self::Found => return FAILURE,
            Self::Output(error) if error.kind() == ErrorKind::BrokenPipe => return SUCCESS,
            Self::Output(error) => (format!("libhypeman: cannot print the result: {error}"), FAILURE),
            Self::Library(error) => {
                let code = match error.kind() {
                    Kind::Cancelled => INTERRUPTED,
                    _ => FAILURE,
                };
                let text = if as_json { in_json(error) } else { format!("libhypeman: {error}") };
                (text, code)
            }
        };
        // Where stderr is closed there is no one to tell.
        let _ = writeln!(io::stderr(), "{text}");
        code
    }
}

/// Says why a command line means nothing, or what it asked for in place of a command: help, or the version.
pub(crate) fn misread(answer: &clap::Error) -> u8 {
    // Where no one listens, the status still tells.
    let _ = answer.print();
    u8::try_from(answer.exit_code()).unwrap_or(FAILURE)
}

/// In the keys that every language has; what does not apply is no key.
fn in_json(error: &Error) -> String {
    let path = error.path().map(|path| path.display().to_string());
    let mut facts = json!({"code": error.code(), "message": error.message(), "id": error.id(), "path": path, "errno": error.errno()});
    if let Some(facts) = facts.as_object_mut() {
        facts.retain(|_, value| !value.is_null());
    }
    facts.to_string()
}
