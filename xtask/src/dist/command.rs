//! The `libhypeman` command, and what completes it in shells.

use std::path::Path;

use super::{LEGAL, place, prefix};
use crate::program::{Run, cargo, program};
use crate::release::Build;
use crate::{Result, root};

/// Where each shell looks for completions, beneath a prefix.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/libhypeman"),
    ("zsh", "share/zsh/site-functions/_libhypeman"),
    ("fish", "share/fish/vendor_completions.d/libhypeman.fish"),
];

/// Builds the command and installs it beneath `directory`.
pub fn install(build: &Build, directory: &Path) -> Result<()> {
    build.part(cargo()).args(["build", "--release", "--package", "hypeman-cli"]).run()?;
    let stripped = build.scratch().join("libhypeman");
    prefix::strip(&build.output().join("libhypeman"), &stripped)?;
    let binary = directory.join("bin/libhypeman");
    place::copy(&stripped, &binary, 0o755)?;
    for (shell, path) in COMPLETIONS {
        let script = program(&binary).args(["completion", shell]).read()?;
        place::write(&directory.join(path), script, 0o644)?;
    }
    for document in LEGAL {
        let to = directory.join("share/doc/libhypeman").join(document);
        place::copy(&root().join(document), &to, 0o644)?;
    }
    Ok(())
}
