//! `cargo xtask dist`: what users install, in `dist/`, a directory for each language. `cargo xtask install` puts the
//! part for C where a prefix is.

mod archive;
mod command;
mod node;
mod place;
pub mod prefix;
mod python;

use std::path::{Path, PathBuf};

use crate::{Result, root, setup};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds everything and fills `dist/`: `c` and `cli` (install prefixes), `python` (wheel and sdist), `node` (tarballs).
pub fn dist() -> Result<()> {
    let dist = root().join("dist");
    place::empty(&dist)?;
    setup::build_c_library()?;
    prefix::install(&dist.join("c"))?;
    command::install(&dist.join("cli"))?;
    python::package(&dist.join("python"))?;
    node::package(&dist.join("node"))?;
    println!(
        "dist/c and dist/cli are install prefixes, dist/python and dist/node hold what pip and npm install"
    );
    Ok(())
}

/// Builds the library for C and installs it beneath `prefix`, which programs that run may be using.
pub fn install(prefix: &str) -> Result<()> {
    let prefix = absolute(Path::new(prefix))?;
    setup::build_c_library()?;
    prefix::install(&prefix)?;
    println!("installed libhypeman {VERSION} in {}", prefix.display());
    Ok(())
}

/// `path` as the person who typed it means it; the commands that we run start at the root of the repository.
fn absolute(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err("the prefix is empty".into());
    }
    Ok(std::path::absolute(path)?)
}
