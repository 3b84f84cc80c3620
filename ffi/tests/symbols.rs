//! libhypeman.so exports what the header declares and symbols.txt lists, and nothing else.

mod built;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn readelf(what: &[&str]) -> String {
    let library = built::libraries().join("libhypeman.so");
    let output =
        Command::new("readelf").args(what).arg("--wide").arg(library).output().expect("readelf starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn exported() -> BTreeSet<String> {
    let symbols = readelf(&["--dyn-syms"]);
    // Num: Value Size Type Bind Vis Ndx Name
    let rows = symbols.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() == 8 && ["GLOBAL", "WEAK"].contains(&row[4]) && row[6] != "UND")
        .map(|row| row[7].to_owned())
        .collect()
}

fn declared() -> BTreeSet<String> {
    let header = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/hypeman.h");
    let header = std::fs::read_to_string(header).unwrap();
    let code: String = header.split("*/").filter_map(|part| part.split("/*").next()).collect();
    code.split(|c: char| !(c.is_ascii_alphanumeric() || "_(".contains(c)))
        .filter_map(|word| word.split_once('('))
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("hypeman_"))
        .collect()
}

#[test]
fn the_library_exports_the_listed_functions_and_no_others() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("symbols.txt");
    let exported = exported();
    if std::env::var_os("UPDATE_SYMBOLS").is_some() {
        let lines: String = exported.iter().map(|name| format!("{name}\n")).collect();
        std::fs::write(&path, lines).unwrap();
    }
    let listed: BTreeSet<_> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    assert_eq!(exported, listed, "a function that left breaks programs; new ones: UPDATE_SYMBOLS=1");
    assert_eq!(exported, declared(), "hypeman.h declares other functions");
}

#[test]
fn programs_find_the_library_by_its_soname_and_dlclose_does_not_unmap_it() {
    let dynamic = readelf(&["--dynamic"]);
    assert!(dynamic.contains("soname: [libhypeman.so.0]"), "{dynamic}");
    assert!(dynamic.lines().any(|line| line.contains("FLAGS_1") && line.contains("NODELETE")), "{dynamic}");
}
