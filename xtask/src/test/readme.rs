//! Runs every snippet of the README as it stands. Only three paths are put in place of those that a reader has: the
//! data directory, the instance directory and the QMP socket of a VM that really runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::counts::Counts;
use crate::demo::examples::compile;
use crate::demo::vm::Vm;
use crate::program::{Run, cargo, program};
use crate::{Result, root, setup, target};

/// A fenced block of the README.
#[derive(Debug, PartialEq, Eq)]
struct Snippet {
    language: String,
    code: String,
}

/// Runs the snippets against one data directory and one running VM.
pub fn readme() -> Result<Counts> {
    let directory = target().join("readme");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let vm = Vm::boot_nothing(&directory.join("vm"))?;
    // Once its monitor answers, the VM runs.
    drop(vm.monitor()?);
    let mut counts = Counts::default();
    for (index, snippet) in snippets(&fs::read_to_string(root().join("README.md"))?).iter().enumerate() {
        let source = directory.join(format!("snippet{index}"));
        let code = in_place(&snippet.code, &directory.join("data"), &vm);
        let outcome = prepare(&snippet.language, &code, &source).and_then(|command| match command {
            Some(mut command) => command
                .env("HYPEMAN_DATA_DIR", directory.join("data"))
                .current_dir(&directory)
                .read()
                .map(Some),
            None => Ok(None),
        });
        match outcome {
            Ok(None) => continue,
            Ok(Some(said)) => {
                println!("README, {}: ok\n{}", snippet.language, said.trim());
                counts += Counts::ONE_PASSED;
            }
            Err(error) => {
                println!("README, {}: FAILED\n{}\n{error}", snippet.language, snippet.code);
                counts += Counts::ONE_FAILED;
            }
        }
    }
    if counts.is_empty() { Err("the README has no snippets".into()) } else { Ok(counts) }
}

/// Puts the paths of the test where the README has those of its reader.
fn in_place(code: &str, data: &Path, vm: &Vm) -> String {
    code.replace("/var/lib/hypeman", &data.display().to_string())
        .replace("/vms/nginx1", &vm.directory().display().to_string())
        .replace("/run/nginx1.qmp", &vm.api_socket().display().to_string())
}

/// The command that runs `code`; `None` for blocks that are shown but not run here.
fn prepare(language: &str, code: &str, source: &Path) -> Result<Option<Command>> {
    let write = |extension: &str| -> Result<PathBuf> {
        let path = source.with_extension(extension);
        fs::write(&path, code)?;
        Ok(path)
    };
    let command = match language {
        "python" => {
            let mut command = program(setup::python());
            command.arg(write("py")?);
            command
        }
        "js" => {
            let mut command = program("node");
            command.arg(write("js")?).env("NODE_PATH", node_path(source)?);
            command
        }
        "c" | "cpp" => compile(&write(language)?, source)?,
        "bash" => shell(&write("sh")?)?,
        "go" => compile_go(&write("go")?, source)?,
        "rust" => compile_rust(&write("rs")?, source)?,
        // The commands of this repository, which run this, and the layout of a directory.
        "sh" | "text" => return Ok(None),
        other => return Err(format!("no one knows how to run a snippet in {other:?}").into()),
    };
    Ok(Some(command))
}

/// A directory in which Node finds our package by its name.
fn node_path(source: &Path) -> Result<PathBuf> {
    let modules = source.with_extension("modules");
    fs::create_dir_all(&modules)?;
    std::os::unix::fs::symlink(root().join("bindings/node"), modules.join("libhypeman"))?;
    Ok(modules)
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

/// The fenced blocks of `markdown` that name their language.
fn snippets(markdown: &str) -> Vec<Snippet> {
    let mut snippets = Vec::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else { continue };
        let code: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
        snippets.push(Snippet { language: language.to_owned(), code: code.join("\n") + "\n" });
    }
    snippets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_what_stands_between_its_fences() {
        let found = snippets("a\n```c\nint x;\n\nint y;\n```\nb\n```sh\nls\n```\n");
        let snippet = |language: &str, code: &str| Snippet { language: language.into(), code: code.into() };
        assert_eq!(found, [snippet("c", "int x;\n\nint y;\n"), snippet("sh", "ls\n")]);
    }

    #[test]
    fn a_snippet_that_no_one_can_run_is_not_passed_over() {
        assert!(prepare("cobol", "", Path::new("x")).is_err());
    }
}
