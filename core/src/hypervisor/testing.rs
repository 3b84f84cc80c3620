//! What tests of drivers with real VMMs share: where the VMM is, and our guest.

use std::env;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The real `program`: the one that `variable` names, else that on PATH. Says why `test` is left out where there is
/// none, or no KVM; fails where HYPEMAN_REQUIRE names the program.
#[expect(clippy::print_stdout, reason = "a test that is left out says so")]
pub(super) fn real(program: &str, variable: &str, test: &str) -> Option<PathBuf> {
    let on_path = || {
        let all = env::var_os("PATH")?;
        env::split_paths(&all).map(|one| one.join(program)).find(|one| one.is_file())
    };
    let found = env::var_os(variable).map(PathBuf::from).or_else(on_path);
    let reason = match found {
        None => format!("there is no {program}; name one by {variable}"),
        Some(_) if File::options().read(true).write(true).open("/dev/kvm").is_err() => {
            "/dev/kvm cannot be opened".to_owned()
        }
        Some(found) => return Some(found),
    };
    let required =
        env::var("HYPEMAN_REQUIRE").is_ok_and(|all| all.split(',').any(|one| one.trim() == program));
    assert!(!required, "{test}: {reason}");
    println!("SKIP {test}: {reason}");
    None
}

/// Builds our guest (tests/guest) into `directory` with gcc.
pub(super) fn guest(directory: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/guest");
    let elf = directory.join("guest.elf");
    let gcc = Command::new("gcc")
        .args([
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,--build-id=none",
            "-Wl,-z,max-page-size=4096",
            "-Wl,-n",
        ])
        .arg("-T")
        .args([sources.join("guest.ld"), sources.join("guest.S")])
        .arg("-o")
        .arg(&elf)
        .output()
        .unwrap();
    assert!(gcc.status.success(), "{}", String::from_utf8_lossy(&gcc.stderr));
    elf
}
