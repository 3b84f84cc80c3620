//! The `libhypeman` command, and what completes it in shells.

use std::path::Path;

use super::{place, prefix};
use crate::program::{Run, cargo, program};
use crate::{Result, root, target};

/// Where each shell looks for completions, beneath a prefix.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/libhypeman"),
    ("zsh", "share/zsh/site-functions/_libhypeman"),
    ("fish", "share/fish/vendor_completions.d/libhypeman.fish"),
];

/// Builds the command and installs it beneath `directory`.
pub fn install(directory: &Path) -> Result<()> {
    cargo().args(["build", "--release", "--package", "hypeman-cli"]).run()?;
    let stripped = target().join("dist/libhypeman");
    prefix::strip(&target().join("release/libhypeman"), &stripped)?;
    let binary = directory.join("bin/libhypeman");
    place::copy(&stripped, &binary, 0o755)?;
    for (shell, path) in COMPLETIONS {
        let script = program(&binary).args(["completion", shell]).read()?;
        place::write(&directory.join(path), script, 0o644)?;
    }
    place::copy(&root().join("LICENSE"), &directory.join("share/doc/libhypeman/LICENSE"), 0o644)
}
