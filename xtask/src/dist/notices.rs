//! `THIRD-PARTY.txt`: whose code is in what we give away besides ours, and the licences that must come with it. It is
//! committed, so that the source distribution has it too, and a test holds it to `Cargo.lock`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Run, cargo};
use crate::{Result, root};

/// Where the notices are, beneath the root of the repository.
pub const NOTICES: &str = "THIRD-PARTY.txt";

/// The packages that users get.
const GIVEN: [&str; 4] = ["hypeman-ffi", "hypeman-cli", "hypeman-python", "hypeman-node"];

/// Licences that ask for no text beside ours, which is the first of them.
const SAID_ALREADY: [&str; 3] = ["Apache-2.0", "Unlicense", "Zlib"];

/// Libraries in C that are inside of crates, with their licences.
const INSIDE: [(&str, &str); 2] = [("zstd-sys", "zstd/LICENSE"), ("lz4-sys", "liblz4/lib/LICENSE")];

const HEAD: &str = "\
libhypeman is licensed under the Apache License 2.0 (see LICENSE). Its libraries and programs have in them the code of
others, which this file names. The Rust standard library is theirs who contributed to Rust, under the Apache License 2.0.
";

/// A crate of others.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    /// `name version`
    title: String,
    licence: String,
    directory: PathBuf,
}

/// Holds the notices to what is locked.
///
/// # Errors
/// Says how they are made anew.
pub fn check() -> Result<()> {
    if fs::read_to_string(root().join(NOTICES)).unwrap_or_default() == notices()? {
        return Ok(());
    }
    Err(format!("{NOTICES} is stale: run UPDATE=1 cargo test -p xtask notices").into())
}

/// Writes the notices from what cargo says and has downloaded.
fn notices() -> Result<String> {
    let mut text = HEAD.to_owned();
    let crates = crates()?.into_iter().map(|one| Ok((texts(&one)?, one))).collect::<Result<Vec<_>>>()?;
    text.push_str("\nUnder the Apache License 2.0, a licence that asks for no notice, or with no text of it in the package:\n\n");
    for (_, one) in crates.iter().filter(|(texts, _)| texts.is_empty()) {
        text.push_str(&format!("  {} ({})\n", one.title, one.licence));
    }
    for (texts, one) in crates {
        for file in texts {
            let said = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let rule = "-".repeat(80);
            text.push_str(&format!("\n{rule}\n{} ({})\n\n{}\n", one.title, one.licence, said.trim()));
        }
    }
    Ok(text)
}

/// Whether one of the licences to choose from is ours, or asks for nothing.
fn is_said(licence: &str) -> bool {
    let choices = licence.split(" OR ").flat_map(|choice| choice.split('/'));
    !licence.contains(" AND ") && choices.into_iter().any(|choice| SAID_ALREADY.contains(&choice.trim()))
}

fn crates() -> Result<BTreeSet<Crate>> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}|{l}"]);
    let tree = tree.args(GIVEN.map(|package| format!("--package={package}"))).read()?;
    let lines = tree.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    // Ours have a path behind their version.
    let theirs = lines.filter(|(package, _)| !package.contains(" ("));
    theirs.map(|(package, licence)| found(&package.replacen(" v", " ", 1), licence)).collect()
}

/// Where cargo unpacked the crate `title`.
fn found(title: &str, licence: &str) -> Result<Crate> {
    let sources = crate::release::cargo_home().join("registry/src");
    for registry in fs::read_dir(&sources)? {
        let directory = registry?.path().join(title.replacen(' ', "-", 1));
        if directory.is_dir() {
            return Ok(Crate { title: title.to_owned(), licence: licence.to_owned(), directory });
        }
    }
    Err(format!("{title} is not in {}", sources.display()).into())
}

/// The texts that must come with a crate, and with what is inside of it.
fn texts(one: &Crate) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(&one.directory)? {
        let path = entry?.path();
        let name = file_name(&path).to_uppercase();
        let is_licence = ["LICENSE", "LICENCE", "COPYING"].iter().any(|word| name.starts_with(word));
        if path.is_file() && is_licence && !name.contains("APACHE") && !is_said(&one.licence) {
            files.push(path);
        }
    }
    files.sort();
    let inside = INSIDE.iter().filter(|(name, _)| one.title.split(' ').next() == Some(name));
    files.extend(inside.map(|(_, file)| one.directory.join(file)));
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notices_are_those_of_the_crates_that_are_locked() {
        let made = notices().unwrap();
        if std::env::var_os("UPDATE").is_some() {
            fs::write(root().join(NOTICES), &made).unwrap();
        }
        check().unwrap();
        assert!(made.contains("zstd") && made.contains("LZ4"));
    }

    #[test]
    fn a_licence_that_must_be_quoted_is_no_choice_of_ours() {
        assert!(is_said("MIT OR Apache-2.0") && is_said("MIT/Apache-2.0") && is_said("Unlicense OR MIT"));
        assert!(
            !is_said("MIT") && !is_said("BSD-3-Clause") && !is_said("(MIT OR Apache-2.0) AND Unicode-3.0")
        );
    }
}
