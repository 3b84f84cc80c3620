//! What `cargo xtask dist` makes, installed and used as others do.

use std::process::Command;

use super::{Outcome, counts, node_test, pytest};
use crate::dist::{self, dist};
use crate::program::cargo;
use crate::{Result, root};

/// Fills `dist/` and runs the tests that install what is in it.
pub fn packages() -> Result<Outcome> {
    dist()?;
    let mut cargo = cargo();
    cargo.args(["test", "--quiet", "--package=hypeman-ffi", "--test=package"]);
    let mut outcome = run(cargo, counts::of_cargo)?;
    let mut python = pytest("bindings/python/tests/test_install.py")?;
    // The source distribution, too, although that takes long.
    python.env("HYPEMAN_LONG", "1");
    outcome += run(python, counts::of_pytest)?;
    outcome += run(node_test(&[root().join("bindings/node/test/install.test.js")])?, counts::of_tap)?;
    Ok(outcome)
}

fn run(mut command: Command, read: fn(&str) -> counts::Counts) -> Result<Outcome> {
    command.env("HYPEMAN_DIST", dist::directory());
    super::count(command, read)
}
