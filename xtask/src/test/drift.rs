//! That no binding can forget a field or an error code: each is added to a copy of the core, which then compiles, while no
//! binding does, for the reason that it has to be handled there.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Outcome;
use super::counts::Counts;
use crate::program::{Run, cargo, program, shown};
use crate::{Result, root, target};

/// What is in `core` beside what is put behind it.
type Edit = (&'static str, &'static str, &'static str);

/// A change of the core, and words of which a binding that was not told of it must say some as it fails.
struct Change {
    name: &'static str,
    edits: &'static [Edit],
    words: &'static [&'static str],
}

const CHANGES: [Change; 2] = [
    Change {
        name: "a field of Snapshot",
        edits: &[
            (
                "types/snapshot.rs",
                "    pub uncompressed_size_bytes: Option<u64>,\n",
                "    pub unhandled: Option<u64>,\n",
            ),
            ("snapshots/create.rs", "        uncompressed_size_bytes: None,\n", "        unhandled: None,\n"),
            (
                "store/record.rs",
                "            uncompressed_size_bytes: wire.uncompressed_size_bytes.filter(|bytes| *bytes != 0),\n",
                "            unhandled: None,\n",
            ),
            ("store/record.rs", "            uncompressed_size_bytes,\n", "            unhandled: _,\n"),
        ],
        // A macro that takes a struct apart is told no name.
        words: &["`unhandled`", "pattern requires `..`"],
    },
    Change {
        name: "an error code",
        edits: &[
            ("error.rs", "    /// A defect of this library.\n    Internal,\n", "    Unhandled,\n"),
            ("error.rs", "        Self::Internal,\n", "        Self::Unhandled,\n"),
            (
                "error.rs",
                "            Self::Internal => row(16, \"internal\", \"InternalError\", 500),\n",
                "            Self::Unhandled => row(17, \"unhandled\", \"UnhandledError\", 500),\n",
            ),
        ],
        words: &["Kind::Unhandled", "a kind of error has no"],
    },
];

/// The crates of the bindings. C++ and Go stand on the C ABI.
const BINDINGS: [&str; 3] = ["hypeman-ffi", "hypeman-python", "hypeman-node"];

/// Makes each change, alone, in a copy of the repository.
pub fn drift() -> Result<Outcome> {
    let tree = target().join("drift/tree");
    let mut outcome = Outcome::default();
    for change in &CHANGES {
        copy(&tree)?;
        change.apply(&tree.join("core/src"))?;
        // Else a binding would fail whatever it does.
        check(&tree, "hypeman-core").run()?;
        for binding in BINDINGS {
            let failed = fails_for(&mut check(&tree, binding), change)?;
            println!(
                "{binding} {} {}",
                if failed { "does not build without" } else { "BUILDS WITHOUT" },
                change.name
            );
            outcome.counts += if failed { Counts::ONE_PASSED } else { Counts::ONE_FAILED };
        }
    }
    Ok(outcome)
}

impl Change {
    fn apply(&self, core: &Path) -> Result<()> {
        for (file, beside, new) in self.edits {
            let path = core.join(file);
            let text = fs::read_to_string(&path)?;
            if text.matches(beside).count() != 1 {
                return Err(format!("{}: {beside:?} is not there once", path.display()).into());
            }
            let text = text.replace(beside, &format!("{beside}{new}")).replace("[Self; 16]", "[Self; 17]");
            fs::write(&path, text)?;
        }
        Ok(())
    }
}

/// What git has of the repository, as it is now.
fn copy(tree: &Path) -> Result<()> {
    let _ = fs::remove_dir_all(tree);
    let listed = program("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).read()?;
    for file in listed.lines() {
        let (from, to) = (root().join(file), tree.join(file));
        fs::create_dir_all(to.parent().unwrap_or(tree))?;
        // One that was removed and not yet committed is no part of it.
        if from.is_file() {
            fs::copy(from, to)?;
        }
    }
    Ok(())
}

fn check(tree: &Path, package: &str) -> Command {
    let mut command = cargo();
    command.current_dir(tree).env("CARGO_TARGET_DIR", target().join("drift/build"));
    command.args(["check", "--quiet", "--package", package]);
    command
}

fn fails_for(command: &mut Command, change: &Change) -> Result<bool> {
    let output = command.output().map_err(|error| format!("cannot start {}: {error}", shown(command)))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let is_told = change.words.iter().any(|words| said.contains(words));
    if !output.status.success() && !is_told {
        println!("{said}");
    }
    Ok(!output.status.success() && is_told)
}
