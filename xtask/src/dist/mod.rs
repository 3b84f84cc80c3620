//! `cargo xtask dist`: what users install, in `dist/`, a directory for each language. `cargo xtask install` puts the
//! part for C where a prefix is.

mod archive;
mod check;
mod command;
mod node;
mod notices;
mod place;
pub mod prefix;
mod python;

use std::path::{Path, PathBuf};

use crate::release::Build;
use crate::{Result, root, setup};

/// What comes with everything.
const LEGAL: [&str; 2] = ["LICENSE", notices::NOTICES];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Builds everything and fills `dist/`: `c` and `cli` (install prefixes), `python` (wheel and sdist), `node` (tarballs).
pub fn dist() -> Result<()> {
    notices::check()?;
    let dist = directory();
    place::empty(&dist)?;
    let build = Build::published()?;
    setup::build_c_library(&build)?;
    prefix::install(&build, &dist.join("c"))?;
    command::install(&build, &dist.join("cli"))?;
    python::package(&build, &dist.join("python"))?;
    node::package(&build, &dist.join("node"))?;
    check::check(&build, &dist)?;
    println!(
        "dist/c and dist/cli are install prefixes, dist/python and dist/node hold what pip and npm install"
    );
    Ok(())
}

/// Where [`dist`] puts it all.
pub fn directory() -> PathBuf {
    root().join("dist")
}

/// Builds the library for C and installs it beneath `prefix`, which programs that run may be using.
pub fn install(prefix: &str) -> Result<()> {
    let prefix = absolute(Path::new(prefix))?;
    let build = Build::local();
    setup::build_c_library(&build)?;
    prefix::install(&build, &prefix)?;
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
