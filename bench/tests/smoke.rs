//! The bench runs and writes what it says it writes. Figures are not judged here.

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn one_line_is_printed_and_written_as_json() {
    let target = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hypeman-bench"))
        .args(["--quick", "--only", "size-mix-zstd1", "--target"])
        .arg(target.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with("size-mix-zstd1 ")).count(), 1, "{said}");

    let json = fs::read(target.path().join("reports/bench.json")).unwrap();
    let lines: Vec<Value> = serde_json::from_slice(&json).unwrap();
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["id"], &line["unit"]), (&"size-mix-zstd1".into(), &"B".into()));
    let number = |key: &str| line[key].as_f64().unwrap_or_else(|| panic!("{key} of {line}"));
    // As written in decimal and read back: the last bit may differ.
    assert!((number("ratio") - number("ours") / number("peer")).abs() < 1e-9, "{line}");
    // Sizes are the same in every round.
    assert_eq!(number("spread"), 0.0);
}

#[test]
fn an_unknown_line_is_refused_with_the_ones_there_are() {
    let target = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_hypeman-bench"))
        .args(["--only", "nothing", "--target"])
        .arg(target.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("compress-busy-zstd1-wall"), "{output:?}");
}
