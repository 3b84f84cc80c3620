//! `libhypeman.a` as others can link it. The one that Rust makes has thousands of global symbols, those of zstd and of
//! the Rust standard library among them, and a program has those of its own.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::program::{Run, program};
use crate::{Result, root};

/// The functions of the API, one a line; the tests of `ffi` compare them with the header.
const SYMBOLS: &str = "ffi/symbols.txt";

/// Makes of the archive `whole` one of a single object in which only the functions of the API are global.
///
/// # Errors
/// When a global symbol is left that is not of the API, or one of the API is missing.
pub fn localised(whole: &Path, scratch: &Path) -> Result<PathBuf> {
    let symbols = root().join(SYMBOLS);
    let functions = words(&fs::read_to_string(&symbols)?);
    let (linked, object) = (scratch.join("linked.o"), scratch.join("hypeman.o"));
    let archive = scratch.join("libhypeman.a");

    // Groups of sections are dissolved: the linker would throw ours away for those of another Rust library in the
    // same program, and what refers to them here is local by then.
    let mut ld = program("ld");
    ld.args(["--relocatable", "--force-group-allocation"]);
    ld.args(functions.iter().map(|function| format!("--undefined={function}")));
    ld.arg(whole).arg("-o").arg(&linked).run()?;

    let mut objcopy = program("objcopy");
    objcopy.arg("--strip-debug").arg(format!("--keep-global-symbols={}", symbols.display()));
    objcopy.arg(&linked).arg(&object).run()?;

    let _ = fs::remove_file(&archive);
    // Not plain `ar`, which falls over an LLVM plugin where one is installed.
    program("gcc-ar").arg("rcsD").arg(&archive).arg(&object).run()?;

    let globals = global_symbols(&program("readelf").args(["--syms", "--wide"]).arg(&object).read()?);
    if globals != functions {
        let odd: Vec<_> = globals.symmetric_difference(&functions).take(5).cloned().collect();
        return Err(format!("libhypeman.a and {SYMBOLS} differ in {}", odd.join(", ")).into());
    }
    Ok(archive)
}

fn words(text: &str) -> BTreeSet<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// The symbols that `readelf --syms` calls global or weak, and defined.
fn global_symbols(table: &str) -> BTreeSet<String> {
    // Num: Value Size Type Bind Vis Ndx Name
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() == 8 && row[4] != "LOCAL" && row[4] != "Bind" && row[6] != "UND")
        .map(|row| row[7].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_are_what_others_can_see_and_we_define() {
        let table = "\
   Num:    Value          Size Type    Bind   Vis      Ndx Name
     1: 0000000000000000     0 NOTYPE  LOCAL  DEFAULT    3 ours
     2: 0000000000000000    16 FUNC    GLOBAL DEFAULT    3 hypeman_open
     3: 0000000000000000     0 NOTYPE  GLOBAL DEFAULT  UND malloc
     4: 0000000000000000     8 OBJECT  WEAK   HIDDEN     9 DW.ref.rust_eh_personality";
        assert_eq!(global_symbols(table), words("DW.ref.rust_eh_personality hypeman_open"));
    }
}
