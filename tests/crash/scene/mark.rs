//! What is said while a scene is played.

use std::io::Write;

use serde::{Deserialize, Serialize};

/// What a program knows, or promises, from a moment on. `content` numbers what an instance holds then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mark {
    Creating {
        content: u8,
        name: Option<String>,
    },
    Created {
        id: String,
    },
    /// Its checksums are there, and its memory is compressed if that was asked for.
    Settled {
        id: String,
        compressed: bool,
    },
    /// What was settled is compressed again.
    Compressing {
        id: String,
    },
    Deleting {
        id: String,
    },
    Deleted {
        id: String,
    },
    /// Who holds `content` from now on holds a copy of a memory, which has a number.
    Counting {
        content: u8,
    },
    /// The instance is about to hold `content`, or what it held.
    Placing {
        content: u8,
    },
    Placed {
        content: u8,
    },
    /// The host itself works on the instance, or on the files of the fork, which may hold anything.
    Replacing,
    Registering {
        name: String,
    },
    Registered {
        name: String,
    },
    Unregistering {
        name: String,
    },
    Unregistered {
        name: String,
    },
    /// There may be an instance `f` from now on, which holds content 1.
    Forking,
    Forked,
    /// `f` is an instance no more; its files are the host's, and stay.
    Parted,
    /// Someone makes good what a dead host left.
    Recovering,
}

/// Where marks go.
pub enum Say {
    Keep(Vec<Mark>),
    /// A line of output, in one write, which the recorder sees in its place.
    Print,
    /// The same; and then it waits for a line of input.
    Step,
}

impl Say {
    pub fn say(&mut self, mark: Mark) {
        match self {
            Self::Keep(marks) => marks.push(mark),
            Self::Print | Self::Step => {
                let line = serde_json::to_string(&mark).expect("a mark is JSON");
                writeln!(std::io::stdout().lock(), "{line}").expect("stdout takes a line");
                if matches!(self, Self::Step) {
                    std::io::stdin().read_line(&mut String::new()).expect("stdin gives a line");
                }
            }
        }
    }
}
