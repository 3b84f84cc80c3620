//! The library as others get it: installed beneath a prefix, which was then moved, and found there by pkg-config, by
//! CMake, and by a program that an older header was compiled into.

mod built;
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use programs::{Language, compiler, root, succeeds, work};

/// What `cargo xtask install` makes, or the `c` in the directory `$HYPEMAN_DIST`, which `cargo xtask dist` filled.
fn prefix() -> &'static Path {
    static INSTALLED: OnceLock<PathBuf> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (made, moved) = (place.join("prefix-made"), place.join("prefix-moved"));
        for directory in [&made, &moved] {
            let _ = fs::remove_dir_all(directory);
        }
        match std::env::var_os("HYPEMAN_DIST") {
            Some(dist) => {
                succeeds(Command::new("cp").arg("-a").arg(Path::new(&dist).join("c")).arg(&made));
            }
            // Twice, as who updates does.
            None => (0..2).for_each(|_| install(&made)),
        }
        fs::rename(&made, &moved).unwrap();
        moved
    })
}

fn install(prefix: &Path) {
    let arguments = ["run", "--quiet", "--package", "xtask", "--", "install", "--prefix"];
    succeeds(Command::new(env!("CARGO")).args(arguments).arg(prefix).current_dir(root()));
}

/// What pkg-config says of a package of the prefix.
fn pkg_config(question: &str, package: &str) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.args(question.split(' ')).arg(package).env("PKG_CONFIG_PATH", prefix().join("lib/pkgconfig"));
    let words = String::from_utf8(succeeds(&mut command).stdout).unwrap();
    words.split_whitespace().map(str::to_owned).collect()
}

/// Runs a program in a place of its own and expects it to succeed and to be silent.
fn plays(program: &Path) {
    let work = work();
    let mut command = Command::new(program);
    let output = succeeds(command.arg(work.path()).env("LD_LIBRARY_PATH", prefix().join("lib")));
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{}: {output:?}", program.display());
}

/// Tells whether a program asks the loader for the library.
fn needs_the_library(program: &Path) -> bool {
    let dynamic = succeeds(Command::new("readelf").args(["--dynamic", "--wide"]).arg(program)).stdout;
    String::from_utf8(dynamic).unwrap().contains("[libhypeman.so.0]")
}

fn plays_by_pkg_config(language: Language, source: &str) {
    for (package, is_shared) in [("hypeman", true), ("hypeman-static", false)] {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("program");
        let mut compiler = compiler(language);
        compiler.arg(root().join("tests/c").join(source)).args(["-x", "none", "-o"]).arg(&program);
        succeeds(compiler.args(pkg_config("--cflags --libs", package)));
        assert_eq!(needs_the_library(&program), is_shared, "{package}");
        plays(&program);
    }
}

#[test]
fn a_prefix_holds_these_files_and_no_others() {
    let mut found = BTreeSet::new();
    let mut directories = vec![prefix().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                found.insert(path.strip_prefix(prefix()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let expected = [
        "include/hypeman.h".to_owned(),
        "include/hypeman.hpp".to_owned(),
        "include/hypeman/call.hpp".to_owned(),
        "include/hypeman/error.hpp".to_owned(),
        "include/hypeman/instance.hpp".to_owned(),
        "include/hypeman/memory.hpp".to_owned(),
        "include/hypeman/options.hpp".to_owned(),
        "include/hypeman/snapshot.hpp".to_owned(),
        "include/hypeman/values.hpp".to_owned(),
        "lib/cmake/hypeman/hypemanConfig.cmake".to_owned(),
        "lib/cmake/hypeman/hypemanConfigVersion.cmake".to_owned(),
        "lib/libhypeman.a".to_owned(),
        "lib/libhypeman.so".to_owned(),
        "lib/libhypeman.so.0".to_owned(),
        format!("lib/libhypeman.so.{version}"),
        "lib/pkgconfig/hypeman-static.pc".to_owned(),
        "lib/pkgconfig/hypeman.pc".to_owned(),
        "share/doc/hypeman/LICENSE".to_owned(),
        "share/doc/hypeman/THIRD-PARTY.txt".to_owned(),
        "share/doc/hypeman/abi.md".to_owned(),
        "share/doc/hypeman/errors.md".to_owned(),
    ];
    assert_eq!(found, BTreeSet::from(expected));
    assert_eq!(pkg_config("--modversion", "hypeman"), [version]);
}

#[test]
fn programs_in_c_are_built_by_pkg_config_shared_and_static() {
    plays_by_pkg_config(Language::C99, "lifecycle.c");
}

#[test]
fn programs_in_cpp_are_built_by_pkg_config_shared_and_static() {
    if built::found("g++", "programs_in_cpp_are_built_by_pkg_config_shared_and_static") {
        plays_by_pkg_config(Language::Cpp17, "lifecycle.cpp");
    }
}

/// The project is in both languages.
fn can_build_by_cmake(test: &str) -> bool {
    built::found("cmake", test) && built::found("g++", test)
}

fn cmake(build: &Path, version: &str) -> Command {
    let mut command = Command::new("cmake");
    command.arg("-S").arg(root().join("tests/c/package")).arg("-B").arg(build);
    command.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())).arg(format!("-DWANTED={version}"));
    command
}

#[test]
fn programs_in_c_and_cpp_are_built_by_cmake_shared_and_static() {
    if !can_build_by_cmake("programs_in_c_and_cpp_are_built_by_cmake_shared_and_static") {
        return;
    }
    let build = tempfile::tempdir().unwrap();
    succeeds(&mut cmake(build.path(), "0.1"));
    succeeds(Command::new("cmake").arg("--build").arg(build.path()));
    for (name, is_shared) in [("c", true), ("c-static", false), ("cpp", true), ("cpp-static", false)] {
        let program = build.path().join(name);
        assert_eq!(needs_the_library(&program), is_shared, "{name}");
        plays(&program);
    }
}

#[test]
fn cmake_finds_no_version_that_is_newer_or_has_another_abi() {
    if !can_build_by_cmake("cmake_finds_no_version_that_is_newer_or_has_another_abi") {
        return;
    }
    for version in ["0.999", "1"] {
        let build = tempfile::tempdir().unwrap();
        let output = cmake(build.path(), version).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("hypeman"), "{version}: {said}");
    }
}

/// A library in Rust of the program's own: its standard library has the same symbols as ours.
#[test]
fn the_archive_links_into_a_program_with_names_of_its_own_and_another_rust_library() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition", "2024", "--crate-type", "staticlib", "-O", "-o"]).arg(at("libneighbour.a"));
    succeeds(rustc.arg(root().join("tests/c/neighbour.rs")));

    let link = |ours: &[String]| {
        let mut compiler = compiler(Language::C99);
        compiler.arg(root().join("tests/c/neighbours.c")).args(["-x", "none", "-o"]).arg(at("program"));
        compiler.args(pkg_config("--cflags", "hypeman-static")).args(ours).arg(at("libneighbour.a"));
        compiler.args(pkg_config("--libs", "hypeman-static"));
        compiler
    };
    succeeds(&mut link(&[]));
    plays(&at("program"));

    // The archive that Rust makes is no such neighbour: else this test would show nothing.
    let whole = built::libraries().join("libhypeman.a").display().to_string();
    let output =
        link(&["-Wl,--whole-archive".into(), whole, "-Wl,--no-whole-archive".into()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("multiple definition"), "{said}");
}

/// The size of a struct as the header in `include` has it.
fn size_of(include: &Path, name: &str) -> usize {
    let place = tempfile::tempdir().unwrap();
    let (source, program) = (place.path().join("size.c"), place.path().join("size"));
    let text = format!(
        "#include <hypeman.h>\n#include <stdio.h>\nint main(void) {{ printf(\"%zu\", sizeof({name})); }}\n"
    );
    fs::write(&source, text).unwrap();
    succeeds(compiler(Language::C99).arg("-I").arg(include).arg(source).arg("-o").arg(&program));
    String::from_utf8(succeeds(&mut Command::new(program)).stdout).unwrap().parse().unwrap()
}

#[test]
fn a_program_that_an_older_header_was_compiled_into_goes_on_working() {
    let older = root().join("tests/headers/0.1.0");
    for grown in ["hypeman_open_options", "hypeman_restore_options"] {
        let [then, now] = [&older, &prefix().join("include")].map(|include| size_of(include, grown));
        assert!(then < now, "{grown}: {then} bytes then, {now} now: this test would show nothing");
    }
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("program");
    let mut compiler = compiler(Language::C99);
    compiler
        .arg("-I")
        .arg(older)
        .arg(root().join("tests/c/older.c"))
        .args(["-x", "none", "-o"])
        .arg(&program);
    succeeds(compiler.arg("-L").arg(prefix().join("lib")).arg("-lhypeman"));
    plays(&program);
}
