//! The headers for C++ have all that hypeman.h has: a function or an option that is new there must come here, too.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Functions of C that a program in C++ has in another way, or has no use for.
const FOR_C_ALONE: [&str; 4] =
    ["hypeman_error_to_json", "hypeman_metrics_to_json", "hypeman_selftest_panic", "hypeman_status_http"];

fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../include")
}

/// All of hypeman.hpp and what it includes.
fn cpp() -> String {
    let parts = fs::read_dir(include().join("hypeman")).unwrap().map(|entry| entry.unwrap().path());
    parts.chain([include().join("hypeman.hpp")]).map(|part| fs::read_to_string(part).unwrap()).collect()
}

fn words(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').collect()
}

/// The structs of options of a header, and the fields of each that a program may set.
fn options(header: &str) -> Vec<(String, Vec<String>)> {
    let structs =
        header.split("typedef struct hypeman_").skip(1).filter_map(|text| text.split_once("\n} hypeman_"));
    let structs = structs.filter_map(|(body, name)| Some((name.split_once(';')?.0, body)));
    structs
        .filter(|(name, _)| name.ends_with("_options"))
        .map(|(name, body)| {
            let lines =
                body.lines().filter(|line| line.trim_end().ends_with(';') && !line.trim().starts_with('*'));
            let fields = lines.map(|line| match line.split_once("(*") {
                Some((_, callback)) => callback.split(')').next().unwrap_or_default().to_owned(),
                None => line.trim_end_matches(';').rsplit([' ', '*']).next().unwrap_or_default().to_owned(),
            });
            let set = fields.filter(|field| field != "struct_size" && !field.starts_with("reserved"));
            (format!("hypeman_{name}"), set.collect())
        })
        .collect()
}

#[test]
fn every_function_is_called_by_the_headers_for_cpp() {
    let symbols = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("symbols.txt")).unwrap();
    let cpp = cpp();
    let called = words(&cpp);
    let missing: Vec<_> = symbols.lines().filter(|name| !called.contains(name)).collect();
    assert_eq!(missing, FOR_C_ALONE, "include/hypeman.hpp lacks a function that hypeman.h has");
}

#[test]
fn every_option_is_set_by_the_headers_for_cpp() {
    let header = fs::read_to_string(include().join("hypeman.h")).unwrap();
    let cpp = cpp();
    let options = options(&header);
    assert!(options.len() >= 8, "{options:?}");
    for (name, fields) in options {
        assert!(!fields.is_empty(), "{name}");
        for field in fields {
            let is_set =
                ["options.", "raw."].iter().any(|object| cpp.contains(&format!("{object}{field} = ")));
            assert!(is_set, "include/hypeman.hpp does not set {field} of {name}");
        }
    }
}

#[test]
fn every_name_of_an_enumeration_is_one_in_cpp() {
    let header = fs::read_to_string(include().join("hypeman.h")).unwrap();
    let cpp = cpp();
    let known = words(&cpp);
    for family in ["HYPEMAN_KIND_", "HYPEMAN_PHASE_", "HYPEMAN_EXTENT_KIND_", "HYPEMAN_LOG_LEVEL_"] {
        let names: Vec<_> =
            words(&header).into_iter().filter(|word| word.starts_with(family) && *word != family).collect();
        assert!(names.len() >= 2, "{names:?}");
        for name in names {
            assert!(known.contains(name), "include/hypeman.hpp does not know {name}");
        }
    }
}
