//! Snippets in documents, and the commands that run them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::demo::examples::compile;
use crate::program::{Run, cargo, program};
use crate::{Result, root, setup, target};

/// A fenced block that names its language.
#[derive(Debug, PartialEq, Eq)]
pub struct Snippet {
    pub language: String,
    pub code: String,
}

/// The fenced blocks of `markdown` that name their language.
pub fn snippets(markdown: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        let (language, code) = match language.strip_prefix("diff ") {
            Some(language) => (language, changed(&code)),
            None => (language, code),
        };
        snippets.push(Snippet { language: language.to_owned(), code: code.join("\n") + "\n" });
    }
    snippets
}

/// What is there after a change.
fn changed<'l>(lines: &[&'l str]) -> Vec<&'l str> {
    lines.iter().filter(|line| !line.starts_with('-')).map(|line| line.get(1..).unwrap_or_default()).collect()
}

/// The command that runs `code`, written beside `source`; `None` for blocks that are shown but not run here.
pub fn prepare(language: &str, code: &str, source: &Path) -> Result<Option<Command>> {
    let write = |extension: &str| -> Result<PathBuf> {
        let path = source.with_extension(extension);
        fs::write(&path, code)?;
        Ok(path)
    };
    let with = |mut command: Command, file: PathBuf| {
        command.arg(file);
        command
    };
    let command = match language {
        "python" => with(program(setup::python()), write("py")?),
        "js" | "mjs" => with(program("node"), write(language)?),
        "json" => {
            let mut command = program(setup::python());
            command.args(["-m", "json.tool"]);
            with(command, write("json")?)
        }
        "c" | "cpp" => compile(&write(language)?, source)?,
        "bash" => shell(&write("sh")?)?,
        "go" => compile_go(&write("go")?, source)?,
        "rust" => compile_rust(&write("rs")?, source)?,
        // The commands of this repository, which run this, and the layout of files.
        "sh" | "text" => return Ok(None),
        other => return Err(format!("no one knows how to run a snippet in {other:?}").into()),
    };
    Ok(Some(command))
}

/// A shell that finds the `libhypeman` command, and ends at the first one that fails.
fn shell(script: &Path) -> Result<Command> {
    cargo().args(["build", "--quiet", "--package", "hypeman-cli"]).run()?;
    let mut command = program("bash");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(["-euo", "pipefail"])
        .arg(script)
        .env("PATH", format!("{}/debug:{path}", target().display()));
    Ok(command)
}

/// A program with the installed library inside, from a module that has our package by its path.
fn compile_go(code: &Path, into: &Path) -> Result<Command> {
    let (module, libraries) = (into.with_extension("module"), setup::prefix().join("lib/pkgconfig"));
    fs::create_dir_all(&module)?;
    fs::copy(code, module.join("main.go"))?;
    let package = root().join("bindings/go");
    let needs = format!("require hypeman v0.0.0\n\nreplace hypeman => {}\n", package.display());
    fs::write(module.join("go.mod"), format!("module nginx1\n\ngo 1.19\n\n{needs}"))?;
    let mut go = program("go");
    go.current_dir(&module).args(["build", "-tags=hypeman_static", "-o"]).arg(into).arg(".");
    go.env("PKG_CONFIG_PATH", libraries).run()?;
    Ok(program(into))
}

fn compile_rust(code: &Path, into: &Path) -> Result<Command> {
    cargo().args(["build", "--quiet", "--package", "hypeman-core"]).run()?;
    let build = target().join("debug");
    let mut rustc = program("rustc");
    rustc.args(["--edition", "2024", "-D", "warnings", "--extern"]);
    rustc.arg(format!("hypeman_core={}", build.join("libhypeman_core.rlib").display()));
    rustc.arg("-L").arg(format!("dependency={}", build.join("deps").display()));
    rustc.arg("-o").arg(into).arg(code).run()?;
    Ok(program(into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snippet(language: &str, code: &str) -> Snippet {
        Snippet { language: language.into(), code: code.into() }
    }

    #[test]
    fn a_snippet_is_what_stands_between_its_fences() {
        let found = snippets("a\n```c\nint x;\n\nint y;\n```\nb\n```sh\nls\n```\n");
        assert_eq!(found, [snippet("c", "int x;\n\nint y;\n"), snippet("sh", "ls\n")]);
    }

    #[test]
    fn of_a_change_what_comes_of_it_is_run() {
        let found = snippets("```diff python\n-import theirs\n+import ours\n \n print(1)\n```\n");
        assert_eq!(found, [snippet("python", "import ours\n\nprint(1)\n")]);
    }

    #[test]
    fn a_snippet_that_no_one_can_run_is_not_passed_over() {
        assert!(prepare("cobol", "", Path::new("x")).is_err());
    }
}
