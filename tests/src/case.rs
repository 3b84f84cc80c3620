//! A conformance case: a data directory, some calls, and what each must answer.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fixture::Entry;

/// A file of `tests/conformance/cases/`. Its `README.md` says what each part means.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The rule that this case shows, in one sentence.
    pub about: String,
    /// How the data directory is opened.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub options: Map<String, Value>,
    /// What is there before, by path; each begins with `${data}/` or `${work}/`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Entry>,
    /// What opening answers where it must fail; then there are no steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_open: Option<Value>,
    /// The calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// A call and what it must answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Which call of the table in the README.
    pub call: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub args: Map<String, Value>,
    /// The name under which later steps speak of the result, as `${name.field}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save: Option<String>,
    /// `{"ok": ...}` or `{"error": ...}`, normalised.
    #[serde(default)]
    pub expect: Value,
}

impl Case {
    /// Reads the case in `path`.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    /// What each line of a runner must say.
    pub fn expectations(&self) -> Vec<&Value> {
        self.expect_open.iter().chain(self.steps.iter().map(|step| &step.expect)).collect()
    }

    /// Takes `lines` for what this case expects from now on.
    pub fn expect(&mut self, mut lines: Vec<Value>) {
        if lines.len() == 1 && (self.steps.is_empty() || self.expect_open.is_some()) {
            self.expect_open = lines.pop();
            return;
        }
        assert_eq!(lines.len(), self.steps.len(), "a line for each step");
        for (step, line) in self.steps.iter_mut().zip(lines) {
            step.expect = line;
        }
    }

    /// Writes this case to `path`.
    pub fn write(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).expect("a case is JSON");
        fs::write(path, text + "\n").unwrap();
    }
}

/// Every case of `directory`, by name, with its path.
pub fn all(directory: &Path) -> Vec<(String, PathBuf)> {
    let mut cases: Vec<_> = fs::read_dir(directory)
        .unwrap_or_else(|e| panic!("{}: {e}", directory.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().expect("a file has a name").to_string_lossy().into_owned(), path))
        .collect();
    cases.sort();
    assert!(!cases.is_empty(), "no cases in {}", directory.display());
    cases
}
