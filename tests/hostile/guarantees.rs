//! `docs/guarantees.md` names for each promise the test that proves it. Each must exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub fn every_line() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join("docs/guarantees.md")).map_err(|e| e.to_string())?;
    let mut sources = String::new();
    for place in ["core", "ffi", "tests", "bindings", "xtask"] {
        read_sources(&root.join(place), &mut sources)?;
    }
    let rows: Vec<_> =
        text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Promise")).collect();
    let mut missing = BTreeSet::new();
    let mut named = 0;
    for row in &rows {
        let proof = row.rsplit('|').nth(1).unwrap_or_default();
        let names: Vec<_> = proof.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            missing.insert(format!("no test is named: {row}"));
        }
        for name in names {
            named += 1;
            let test = name.rsplit("::").next().unwrap_or(name);
            if !exists(&sources, test) {
                missing.insert(format!("there is no test {name}"));
            }
        }
    }
    if exists(&sources, "a_test_that_is_only_named_here".replace("only", "not").as_str()) {
        return Err("a name that no test has is found".to_owned());
    }
    if named < 20 {
        return Err(format!("only {named} tests are named"));
    }
    if missing.is_empty() { Ok(()) } else { Err(missing.into_iter().collect::<Vec<_>>().join("\n")) }
}

/// A function of that name, or a test of ours or of a binding's that is called so.
fn exists(sources: &str, test: &str) -> bool {
    [format!("fn {test}("), format!("\"{test}\""), format!("def {test}("), format!("test('{test}'")]
        .iter()
        .any(|form| sources.contains(form))
}

fn read_sources(directory: &Path, into: &mut String) -> Result<(), String> {
    for entry in fs::read_dir(directory).map_err(|e| format!("{}: {e}", directory.display()))? {
        let path: PathBuf = entry.map_err(|e| e.to_string())?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "node_modules" | "target") && !name.starts_with('.') {
            read_sources(&path, into)?;
        } else if [".rs", ".py", ".js", ".c", ".cpp"].iter().any(|end| name.ends_with(end)) {
            into.push_str(&fs::read_to_string(&path).unwrap_or_default());
        }
    }
    Ok(())
}
