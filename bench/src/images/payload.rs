//! What a measured guest works with: this machine's Python and Node with the libraries that they load, as archives
//! that the guest unpacks into its memory.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Result, peer};

const PYTHON: &str = "/usr/bin/python3";
const WHERE_IT_IS: &str = "import sys, sysconfig
print(sys.executable, sysconfig.get_path('stdlib'), sysconfig.get_config_var('DESTSHARED'), sep='\\n')";

/// Packs Python, its standard library and `work.py` into `archive`.
pub fn python(archive: &Path) -> Result<()> {
    let said = peer::read(Command::new(PYTHON).args(["-c", WHERE_IT_IS]))?;
    let [program, library, extensions] = said.lines().collect::<Vec<_>>()[..] else {
        return Err(format!("{PYTHON} does not say where it is: {said}").into());
    };
    let program = fs::canonicalize(program)?;
    let mut loaded = vec![program.clone()];
    for extension in fs::read_dir(extensions)? {
        loaded.push(extension?.path());
    }
    let mut paths = libraries(&loaded)?;
    paths.insert(PathBuf::from(library));
    pack(archive, &program, "python", &paths, "work.py")
}

/// Packs Node and `work.js` into `archive`.
pub fn node(archive: &Path) -> Result<()> {
    let said = peer::read(Command::new("node").args(["-p", "process.execPath"]))?;
    let program = fs::canonicalize(said.trim())?;
    pack(archive, &program, "node", &libraries(std::slice::from_ref(&program))?, "work.js")
}

/// The shared libraries that `programs` load.
fn libraries(programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let said = peer::read(Command::new("ldd").args(programs))?;
    let words = said.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    Ok(words.map(PathBuf::from).collect())
}

/// Packs `program` as `/name`, everything at `paths` where it is, and `work` from our sources into the root.
fn pack(archive: &Path, program: &Path, name: &str, paths: &BTreeSet<PathBuf>, work: &str) -> Result<()> {
    let relative = |path: &Path| path.strip_prefix("/").map(Path::to_owned);
    let program = relative(program)?;
    let mut tar = Command::new("tar");
    tar.args(["--create", "--dereference", "--ignore-failed-read", "--warning=none"]);
    tar.args(["--exclude=__pycache__", "--exclude=test", "--exclude=*.a"]);
    tar.arg("--file").arg(archive);
    tar.arg(format!("--transform=s,^{}$,{name},", program.display()));
    tar.args(["-C", "/"]).arg(&program);
    for path in paths {
        tar.arg(relative(path)?);
    }
    tar.arg("-C").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("guest")).arg(work);
    peer::run(&mut tar).map(|_| ())
}
