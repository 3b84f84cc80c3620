//! Builds in the profile that users get: for this checkout, and to be given away.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program::{Run, program};
use crate::{Result, root, target};

/// Separates the flags in `CARGO_ENCODED_RUSTFLAGS`, which may have spaces in them.
const SEPARATOR: &str = "\x1f";

/// Where a build lies, and what its commands find in their environment.
pub struct Build {
    directory: PathBuf,
    /// What no binary of it has in it.
    places: Vec<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
}

impl Build {
    /// For this checkout: what tests, demo and benches use.
    pub fn local() -> Self {
        Self { directory: target(), places: Vec::new(), environment: Vec::new() }
    }

    /// To be given away: no path of this machine is left in a binary. It has a directory of its own, since cargo builds
    /// everything anew when flags change.
    pub fn published() -> Result<Self> {
        let directory = target().join("published");
        let places = places()?;
        let rustflags =
            places.iter().map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        let asked = env::var("RUSTFLAGS").unwrap_or_default();
        let flags: Vec<String> = asked.split_whitespace().map(str::to_owned).chain(rustflags).collect();
        let c_flags = places.iter().map(|(from, to)| format!(" -ffile-prefix-map={}={to}", from.display()));
        let c_flags = env::var("CFLAGS").unwrap_or_default() + &c_flags.collect::<String>();
        let environment = vec![
            ("CARGO_TARGET_DIR", directory.clone().into()),
            ("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR).into()),
            ("CFLAGS", c_flags.into()),
        ];
        let places = places.into_iter().map(|(from, _)| from).collect();
        Ok(Self { directory, places, environment })
    }

    /// `command`, as part of this build.
    pub fn part(&self, mut command: Command) -> Command {
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// The directories of this machine that no file of this build may name.
    pub fn places(&self) -> &[PathBuf] {
        &self.places
    }

    /// Where libraries and programs are when they are built.
    pub fn output(&self) -> PathBuf {
        self.directory.join("release")
    }

    /// A place for what is made of them.
    pub fn scratch(&self) -> PathBuf {
        self.directory.join("dist")
    }
}

/// The directories that compilers write into binaries (for panics and assertions), and what they write in their stead.
fn places() -> Result<[(PathBuf, &'static str); 3]> {
    let rust = program("rustc").args(["--print", "sysroot"]).read()?;
    Ok([(root(), "/libhypeman"), (cargo_home(), "/cargo"), (rust.trim().into(), "/rust")])
}

/// Where cargo keeps what it downloads.
pub fn cargo_home() -> PathBuf {
    let home = env::var_os("HOME").unwrap_or_default();
    env::var_os("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from)
}
