//! The libraries as a user gets them: the release profile, in which panics have to stay inside as well.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The directory with libhypeman.so and libhypeman.a.
pub fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO"))
            .args([
                "build",
                "--release",
                "--package",
                "hypeman-ffi",
                "--message-format",
                "json-render-diagnostics",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("cargo starts");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let messages = String::from_utf8(built.stdout).unwrap();
        let library = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == "hypeman")
            .find_map(|message| Some(PathBuf::from(message["filenames"][0].as_str()?)))
            .expect("cargo says where it put the library");
        library.parent().unwrap().to_owned()
    })
}

/// Tells whether a tool is there; where it is not, says that `test` is skipped, unless `$HYPEMAN_REQUIRE` names the tool.
#[allow(dead_code, reason = "not every test that shares this file needs a tool that may be missing")]
pub fn found(tool: &str, test: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        let required = std::env::var("HYPEMAN_REQUIRE")
            .is_ok_and(|tools| tools.split(',').any(|name| name.trim() == tool));
        assert!(!required, "HYPEMAN_REQUIRE names {tool}, but it is not installed");
        // Past the harness, which would keep the line to itself.
        let _ = writeln!(std::io::stderr(), "SKIP {test}: {tool} is not installed");
    }
    found
}
