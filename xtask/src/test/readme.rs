//! Runs every snippet of the README and of the manuals as it stands. Only three paths are put in place of those that a
//! reader has: the data directory, the instance directory and the QMP socket of a VM that really runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::counts::Counts;
use super::snippets::{Snippet, prepare, snippets};
use crate::demo::vm::Vm;
use crate::program::Run;
use crate::{Result, root, target};

/// Runs the snippets of each document against a data directory of its own, and one running VM.
pub fn readme() -> Result<Counts> {
    let directory = target().join("readme");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let vm = Vm::boot_nothing(&directory.join("vm"))?;
    // Once its monitor answers, the VM runs.
    drop(vm.monitor()?);
    let mut counts = Counts::default();
    for (number, document) in documents()?.iter().enumerate() {
        let place = directory.join(number.to_string());
        counts += run(document, &place, &vm).map_err(|error| format!("{}: {error}", document.display()))?;
    }
    if counts.is_empty() { Err("no document has a snippet".into()) } else { Ok(counts) }
}

/// The README, everything in `docs/`, and the README of each binding: beneath the root of the repository.
fn documents() -> Result<Vec<PathBuf>> {
    let mut documents = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(root().join("docs"))? {
        documents.push(Path::new("docs").join(entry?.file_name()));
    }
    for entry in fs::read_dir(root().join("bindings"))? {
        documents.push(Path::new("bindings").join(entry?.file_name()).join("README.md"));
    }
    documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    documents.sort();
    Ok(documents)
}

fn run(document: &Path, place: &Path, vm: &Vm) -> Result<Counts> {
    fs::create_dir_all(place.join("node_modules"))?;
    // Node finds our package by its name from there.
    std::os::unix::fs::symlink(root().join("bindings/node"), place.join("node_modules/libhypeman"))?;
    let mut counts = Counts::default();
    for (index, snippet) in snippets(&fs::read_to_string(root().join(document))?).iter().enumerate() {
        let Snippet { language, code } = snippet;
        let code = in_place(code, &place.join("data"), vm);
        let source = place.join(format!("snippet{index}"));
        let outcome = prepare(language, &code, &source).and_then(|command| match command {
            Some(mut command) => {
                let command = command.env("HYPEMAN_DATA_DIR", place.join("data")).current_dir(place);
                command.read().map(Some)
            }
            None => Ok(None),
        });
        match outcome {
            Ok(None) => continue,
            Ok(Some(said)) => {
                println!("{}, {language}: ok\n{}", document.display(), said.trim());
                counts += Counts::ONE_PASSED;
            }
            Err(error) => {
                println!("{}, {language}: FAILED\n{code}\n{error}", document.display());
                counts += Counts::ONE_FAILED;
            }
        }
    }
    Ok(counts)
}

/// Puts the paths of the test where a document has those of its reader.
fn in_place(code: &str, data: &Path, vm: &Vm) -> String {
    code.replace("/var/lib/hypeman", &data.display().to_string())
        .replace("/vms/nginx1", &vm.directory().display().to_string())
        .replace("/run/nginx1.qmp", &vm.api_socket().display().to_string())
}
