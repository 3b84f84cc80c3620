//! The wheel, for CPython 3.11 and later, and the sdist, which builds where there is Rust.

use std::path::Path;

use super::place;
use crate::program::{Run, program, succeeds};
use crate::release::Build;
use crate::{Result, setup};

/// What `bindings/python/pyproject.toml` builds with, too.
const MATURIN: &str = "maturin>=1.16,<2";

/// Builds both into `directory`.
pub fn package(build: &Build, directory: &Path) -> Result<()> {
    setup::make_python_environment()?;
    place::make(directory)?;
    if !succeeds(maturin().arg("--version")) {
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", MATURIN];
        program(setup::python()).args(pip).run()?;
    }
    let manifest = ["--manifest-path", "bindings/python/Cargo.toml", "--out"];
    build
        .part(maturin())
        .args(["build", "--release", "--locked", "--strip"])
        .args(manifest)
        .arg(directory)
        .run()?;
    maturin().arg("sdist").args(manifest).arg(directory).run()
}

fn maturin() -> std::process::Command {
    let mut command = program(setup::python());
    command.args(["-m", "maturin"]);
    command
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_wheel_is_built_by_what_pip_would_build_it_with() {
        let project = include_str!("../../../bindings/python/pyproject.toml");
        assert!(project.contains(super::MATURIN));
    }
}
