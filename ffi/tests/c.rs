//! Programs in C and C++ that use the library as its users do: through the headers, shared and static.

mod built;
mod examples;
mod programs;

use std::path::{Path, PathBuf};
use std::process::Command;

use hypeman_tests::report::Report;
use programs::{Language, compiler, root, succeeds, work};
use tempfile::TempDir;

/// What the Rust standard library in libhypeman.a needs of the system.
const SYSTEM: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

#[derive(Clone, Copy, PartialEq)]
enum Linked {
    Shared,
    Static,
    /// Shared, and watched by AddressSanitizer, whose malloc the library uses then, too.
    Sanitised,
}

fn from_the_tree(language: Language) -> Command {
    let mut compiler = compiler(language);
    compiler.arg("-I").arg(root().join("../include"));
    compiler
}

fn compiles(language: Language, source: &str) {
    succeeds(from_the_tree(language).arg("-fsyntax-only").arg(root().join("tests/c").join(source)));
}

/// Builds `source`, in `tests/c` unless it is absolute.
fn program(language: Language, source: impl AsRef<Path>, linked: Linked, into: &TempDir) -> PathBuf {
    let libraries = built::libraries();
    let program = into.path().join("program");
    let mut compiler = from_the_tree(language);
    compiler.arg(root().join("tests/c").join(source)).args(["-x", "none", "-o"]).arg(&program);
    match linked {
        Linked::Shared | Linked::Sanitised => {
            if linked == Linked::Sanitised {
                compiler.arg("-fsanitize=address,undefined");
            }
            // The name that programs look for at run time, as an installed library has it.
            let installed = into.path().join("libhypeman.so.0");
            std::os::unix::fs::symlink(libraries.join("libhypeman.so"), installed).unwrap();
            compiler
                .arg("-L")
                .arg(libraries)
                .arg("-lhypeman")
                .arg(format!("-Wl,-rpath,{}", into.path().display()));
        }
        Linked::Static => {
            compiler.arg(libraries.join("libhypeman.a")).args(SYSTEM);
        }
    }
    succeeds(&mut compiler);
    program
}

/// Runs a program, shared and static, and expects it to succeed and to be silent: the library prints nothing.
fn plays(language: Language, source: &str) {
    for linked in [Linked::Shared, Linked::Static] {
        let (place, work) = (tempfile::tempdir().unwrap(), work());
        let output = succeeds(Command::new(program(language, source, linked, &place)).arg(work.path()));
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{source}: {output:?}");
    }
}

/// Every program that calls the library.
const PROGRAMS: [(Language, &str); 9] = [
    (Language::C99, "abi.c"),
    (Language::C99, "lifecycle.c"),
    (Language::C99, "calls.c"),
    (Language::C99, "restore.c"),
    (Language::C99, "memory.c"),
    (Language::C99, "pager.c"),
    (Language::Cpp17, "lifecycle.cpp"),
    (Language::Cpp17, "restore.cpp"),
    (Language::Cpp17, "pager.cpp"),
];

/// Runs every program as `watched` says, which must end well, and what misuses memory, which must not.
fn no_program_misuses_memory(harness: &str, linked: Linked, watched: fn(PathBuf) -> Command) {
    let has_cpp = built::found("g++", harness);
    let mut report = Report::new(harness, 0);
    for (language, source) in PROGRAMS {
        if language == Language::C99 || has_cpp {
            let (place, work) = (tempfile::tempdir().unwrap(), work());
            succeeds(watched(program(language, source, linked, &place)).arg(work.path()));
            report.tried("programs", 1);
        }
    }
    let place = tempfile::tempdir().unwrap();
    let broken = program(Language::C99, "broken.c", linked, &place);
    succeeds(watched(broken.clone()).arg("does nothing wrong"));
    for fault in ["forgets", "frees twice", "reads what is freed"] {
        let output = watched(broken.clone()).arg(fault).output().unwrap();
        report.control(&format!("a host that {fault}"), !output.status.success());
    }
    report.finish();
}

#[test]
fn the_header_stands_alone_in_c99_and_may_be_included_twice() {
    compiles(Language::C99, "header.c");
    compiles(Language::C99, "layout.c");
}

#[test]
fn the_headers_stand_alone_in_cpp17_and_may_be_included_twice() {
    if built::found("g++", "the_headers_stand_alone_in_cpp17_and_may_be_included_twice") {
        compiles(Language::Cpp17, "header.c");
        compiles(Language::Cpp17, "layout.c");
        compiles(Language::Cpp17, "header.cpp");
    }
}

#[test]
fn what_needs_no_data_directory() {
    plays(Language::C99, "abi.c");
}

/// gcc's fails on a leak, a double free, or a use after a free.
#[test]
fn address_sanitizer_finds_no_fault_in_any_program() {
    no_program_misuses_memory("ffi-address-sanitizer", Linked::Sanitised, Command::new);
}

/// Of a thread that Rust did not start it keeps a handle by a pointer into its middle, which is only "possibly lost".
#[test]
fn valgrind_finds_no_fault_in_any_program() {
    if built::found("valgrind", "valgrind_finds_no_fault_in_any_program") {
        no_program_misuses_memory("ffi-valgrind", Linked::Shared, |program| {
            let mut command = Command::new("valgrind");
            command.args(["--quiet", "--leak-check=full", "--errors-for-leak-kinds=definite"]);
            command.arg("--error-exitcode=99").arg(program);
            command
        });
    }
}

#[test]
fn the_life_of_a_snapshot_in_c() {
    plays(Language::C99, "lifecycle.c");
}

#[test]
fn how_calls_are_ended_in_c() {
    plays(Language::C99, "calls.c");
}

#[test]
fn snapshots_are_restored_in_c() {
    plays(Language::C99, "restore.c");
}

#[test]
fn memory_is_read_and_files_are_verified_in_c() {
    plays(Language::C99, "memory.c");
}

#[test]
fn memory_is_served_in_c() {
    plays(Language::C99, "pager.c");
}

#[test]
fn memory_is_served_in_cpp() {
    if built::found("g++", "memory_is_served_in_cpp") {
        plays(Language::Cpp17, "pager.cpp");
    }
}

#[test]
fn snapshots_are_restored_read_and_verified_in_cpp() {
    let name = "snapshots_are_restored_read_and_verified_in_cpp";
    if built::found("g++", name) {
        plays(Language::Cpp17, "restore.cpp");
    }
}

#[test]
fn the_life_of_a_snapshot_in_cpp() {
    if built::found("g++", "the_life_of_a_snapshot_in_cpp") {
        plays(Language::Cpp17, "lifecycle.cpp");
    }
}
