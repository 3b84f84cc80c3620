//! One behaviour in every language: plays each case through the runner of each language, and requires the same
//! answers, byte for byte. `README.md` says what a case and a runner are. `UPDATE=1` writes what Rust answers.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use hypeman_tests::case::{self, Case};
use hypeman_tests::compare::{compare, normalise};
use hypeman_tests::fixture::Fixture;
use hypeman_tests::language::{Language, Runner};
use hypeman_tests::vendor;
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::Value;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let rust = Path::new(env!("CARGO_BIN_EXE_conformance-runner"));
    let runners = Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/runners");
    let cases = case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance/cases"));
    if std::env::var_os("UPDATE").is_some() {
        update(
            &cases,
            &Runner::new(Language::Rust, &runners, rust, Path::new(""))
                .expect("the runner in Rust was built"),
        );
    }
    let mut trials = Vec::new();
    for language in Language::wanted() {
        if let Some(why) = language.missing() {
            writeln!(std::io::stderr(), "SKIP conformance in {}: {why}", language.as_str())
                .expect("stderr takes a line");
            continue;
        }
        let runner = Arc::new(Runner::new(language, &runners, rust, Path::new(env!("CARGO_TARGET_TMPDIR"))));
        for (name, path) in &cases {
            let (runner, path) = (Arc::clone(&runner), path.clone());
            trials.push(Trial::test(format!("{name}::{}", language.as_str()), move || {
                let runner = runner.as_ref().as_ref().map_err(Failed::from)?;
                let expected = Case::read(&path);
                let mut said = play(runner, &path)?;
                if language == Language::Go {
                    excuse(&expected, &mut said);
                }
                compare(&expected.expectations(), &said).map_err(Failed::from)
            }));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Takes what the runner in Go says that it cannot be given for what was expected, where that is an empty text: in Go
/// one is no text at all.
fn excuse(case: &Case, said: &mut [Value]) {
    for (step, line) in case.steps.iter().zip(said) {
        let Some(name) = line["not_expressible"].as_str() else { continue };
        let given = step.args.get(name).or_else(|| step.args.get("compression")?.get(name));
        if given.is_some_and(|text| text == "") {
            *line = step.expect.clone();
        }
    }
}

/// Plays the case in `path` on a data directory of its own, which must be clean afterwards.
fn play(runner: &Runner, path: &Path) -> Result<Vec<Value>, String> {
    let fixture = Fixture::new(&Case::read(path).files);
    let before = vendor::snapshots(&fixture.data());
    let output = runner.play(path, &fixture.data(), &fixture.work())?;
    for id in vendor::snapshots(&fixture.data()).difference(&before) {
        vendor::check(&fixture.data(), id)?;
    }
    nothing_left(&fixture.data())?;
    let text = fs::read_to_string(path).map_err(|e| e.to_string())?;
    normalise(&output, &text, &fixture)
}

fn nothing_left(data: &Path) -> Result<(), String> {
    for place in ["staging", "intents", "trash"] {
        let directory = data.join("snapshots/.libhypeman").join(place);
        if let Some(entry) = fs::read_dir(directory).ok().and_then(|mut entries| entries.next()) {
            return Err(format!("something was left in {place}: {entry:?}"));
        }
    }
    Ok(())
}

fn update(cases: &[(String, PathBuf)], runner: &Runner) {
    for (name, path) in cases {
        let mut case = Case::read(path);
        case.expect(play(runner, path).unwrap_or_else(|e| panic!("{name}: {e}")));
        case.write(path);
    }
}
