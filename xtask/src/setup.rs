//! `cargo xtask setup`: from a clone to everything built, as often as you like.

use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::program::{Run, cargo, program, succeeds};
use crate::release::Build;
use crate::{Result, dist, packages, root, target};

/// Installs what is missing and builds the C library, also as an installed one, the Python package and the Node addon.
pub fn setup() -> Result<()> {
    packages::install_missing()?;
    let build = Build::local();
    build_c_library(&build)?;
    dist::prefix::install(&build, &prefix())?;
    install_python_package()?;
    install_node_tools()?;
    build_node_addon(&build)
}

/// The Python in which libhypeman is installed.
pub fn python() -> PathBuf {
    root().join(".venv/bin/python")
}

/// The directory of `libhypeman.so`, in the profile that users get.
pub fn library_directory() -> PathBuf {
    Build::local().output()
}

/// Where the C library is installed as its users have it, for what is found by pkg-config.
pub fn prefix() -> PathBuf {
    target().join("prefix")
}

/// Builds `libhypeman.so` and `libhypeman.a`.
pub fn build_c_library(build: &Build) -> Result<()> {
    build.part(cargo()).args(["build", "--release", "--package", "hypeman-ffi"]).run()?;
    // Programs ask the loader for the soname; cargo makes only the name that the linker asks for.
    let soname = build.output().join("libhypeman.so.0");
    match symlink("libhypeman.so", soname) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes `.venv` where it is missing.
pub fn make_python_environment() -> Result<()> {
    if succeeds(program(python()).args(["-m", "pip", "--version"])) {
        return Ok(());
    }
    program("python3").args(["-m", "venv", "--clear", ".venv"]).run()
}

fn install_python_package() -> Result<()> {
    make_python_environment()?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    program(python()).args(pip).arg("./bindings/python[test]").run()
}

fn install_node_tools() -> Result<()> {
    program("npm").args(["--prefix", "bindings/node", "install", "--no-audit", "--no-fund", "--silent"]).run()
}

/// Builds the addon into `bindings/node`.
pub fn build_node_addon(build: &Build) -> Result<()> {
    build.part(program("node")).arg("bindings/node/build.js").run()
}
