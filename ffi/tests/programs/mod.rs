//! What programs in C and C++ are compiled with, and where they play.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];

#[derive(Clone, Copy, PartialEq)]
pub enum Language {
    C99,
    Cpp17,
}

/// The sources of this crate.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A strict compiler for sources of that language, which has not been told of the library.
pub fn compiler(language: Language) -> Command {
    let (name, arguments) = match language {
        Language::C99 => ("gcc", ["-x", "c", "-std=c99"]),
        Language::Cpp17 => ("g++", ["-x", "c++", "-std=c++17"]),
    };
    let mut compiler = Command::new(name);
    compiler.args(arguments).args(STRICT);
    compiler
}

/// A place with two VMs that are not running: directories with a disk, and `standby` with guest memory beside it.
pub fn work() -> TempDir {
    let work = tempfile::tempdir().unwrap();
    let image = work.path().join("standby/snapshots/snapshot-latest");
    std::fs::create_dir_all(&image).unwrap();
    std::fs::create_dir(work.path().join("vm")).unwrap();
    for vm in ["vm", "standby"] {
        std::fs::write(work.path().join(vm).join("disk.raw"), vec![7; 65536]).unwrap();
    }
    std::fs::write(image.join("memory"), memory()).unwrap();
    work
}

/// 4 MiB whose first quarter is bytes i / 7, as the programs know.
fn memory() -> Vec<u8> {
    let mut memory: Vec<_> = (0..1 << 20).map(|i: u32| (i / 7).to_le_bytes()[0]).collect();
    memory.resize(4 << 20, 0);
    memory
}

/// Runs a command that must end well.
pub fn succeeds(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}
