//! `cargo xtask setup`: from a clone to everything built, as often as you like.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::program::{Run, cargo, program, succeeds};
use crate::{Result, packages, root, target};

/// Installs what is missing and builds the C library, the Python package and the Node addon.
pub fn setup() -> Result<()> {
    packages::install_missing()?;
    build_c_library()?;
    install_python_package()?;
    build_node_addon()
}

/// The Python in which libhypeman is installed.
pub fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// The directory of `libhypeman.so`, in the profile that users get.
pub fn library_directory() -> PathBuf {
    target().join("release")
}

fn build_c_library() -> Result<()> {
    cargo().args(["build", "--release", "--package", "hypeman-ffi"]).run()?;
    // Programs ask the loader for the soname; cargo makes only the name that the linker asks for.
    let soname = library_directory().join("libhypeman.so.0");
    match symlink("libhypeman.so", soname) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

fn install_python_package() -> Result<()> {
    if !succeeds(program(python()).args(["-m", "pip", "--version"])) {
        program("python3").args(["-m", "venv", "--clear", ".venv"]).run()?;
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    program(python()).args(pip).arg("./bindings/python[test]").run()
}

fn build_node_addon() -> Result<()> {
    program("npm")
        .args(["--prefix", "bindings/node", "install", "--no-audit", "--no-fund", "--silent"])
        .run()?;
    program("node").arg("bindings/node/build.js").run()
}
