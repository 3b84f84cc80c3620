//! The programs of `examples/`, in the languages that users have.

use std::path::Path;
use std::process::Command;

use crate::program::{Run, program};
use crate::{Result, setup};

/// `python3 examples/NAME`, with libhypeman installed.
pub fn python(name: &str) -> Command {
    let mut command = program(setup::python());
    command.arg(format!("examples/{name}"));
    command
}

/// `node examples/NAME`, with the addon built.
pub fn node(name: &str) -> Command {
    let mut command = program("node");
    command.arg(format!("examples/{name}"));
    command
}

/// Compiles `source` strictly, as C99, or as C++17 where its suffix says so, against the public headers and the
/// library. The program finds the library wherever it runs.
pub fn compile(source: &Path, into: &Path) -> Result<Command> {
    let is_cpp = source.extension().is_some_and(|suffix| suffix == "cpp");
    let (compiler, standard) = if is_cpp { ("g++", "-std=c++17") } else { ("gcc", "-std=c99") };
    let library = setup::library_directory();
    let mut command = program(compiler);
    command.args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude"]).arg(source);
    command.arg("-L").arg(&library).arg("-lhypeman").arg(format!("-Wl,-rpath,{}", library.display()));
    command.arg("-o").arg(into).run()?;
    Ok(program(into))
}

/// A snapshot as `examples/wait.py` reports it.
#[derive(Debug)]
pub struct Taken {
    pub id: String,
    pub name: String,
    pub state: String,
    /// How long the VM was paused, as the library counts it.
    pub paused_ms: f64,
    pub memory_format: String,
    /// The raw memory file beneath `guest/`; the compressed one has a suffix more.
    pub memory_file: String,
    pub uncompressed_bytes: u64,
    pub compressed_bytes: u64,
}

/// Reads what `examples/wait.py` printed: a line of titles, then a line for each snapshot.
pub fn taken(report: &str) -> Result<Vec<Taken>> {
    report
        .lines()
        .skip(1)
        .map(|line| row(line).map_err(|error| format!("{error} in {line:?}").into()))
        .collect()
}

fn row(line: &str) -> Result<Taken> {
    let mut cells = line.split('\t');
    let mut cell = || cells.next().map(str::to_owned).ok_or("a column is missing");
    Ok(Taken {
        id: cell()?,
        name: cell()?,
        state: cell()?,
        paused_ms: cell()?.parse()?,
        memory_format: cell()?,
        memory_file: cell()?,
        uncompressed_bytes: cell()?.parse()?,
        compressed_bytes: cell()?.parse()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_line_of_titles_and_a_line_for_each_snapshot() {
        let report = "id\tname\n1\tfrom-c\tcompressed\t3.5\tqemu-stream\tmemory\t200\t20\n";
        let taken = taken(report).unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(
            (taken[0].name.as_str(), taken[0].paused_ms, taken[0].compressed_bytes),
            ("from-c", 3.5, 20)
        );
    }

    #[test]
    fn a_snapshot_that_is_not_compressed_is_an_error_with_its_line() {
        let error = taken("titles\n1\tfrom-c\terror\t3.5\tqemu-stream\tmemory\tNone\tNone\n").unwrap_err();
        assert!(error.to_string().contains("from-c"), "{error}");
    }
}
