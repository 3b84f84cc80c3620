//! The languages, and how the runner of each is built and started.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

// A case takes seconds at most; this only ends a runner that hangs.
const PATIENCE: Duration = Duration::from_secs(180);

/// A language that libhypeman is used from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Rust, through `hypeman-core`.
    Rust,
    /// C, through `include/hypeman.h` and the shared library.
    C,
    /// Python, through the installed `libhypeman`.
    Python,
    /// Node, through `bindings/node`.
    Node,
    /// Go, through `bindings/go` and the shared library.
    Go,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 5] = [Self::Rust, Self::C, Self::Python, Self::Node, Self::Go];

    /// The name in reports and in `HYPEMAN_CONFORMANCE_LANGS`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Python => "python",
            Self::Node => "node",
            Self::Go => "go",
        }
    }

    /// The languages that `$HYPEMAN_CONFORMANCE_LANGS` names, separated by commas; all of them where it is not set.
    pub fn wanted() -> Vec<Self> {
        let Ok(names) = env::var("HYPEMAN_CONFORMANCE_LANGS") else { return Self::ALL.to_vec() };
        let find = |name: &str| {
            let known = Self::ALL.into_iter().find(|language| language.as_str() == name);
            known.unwrap_or_else(|| {
                panic!("HYPEMAN_CONFORMANCE_LANGS: {name:?} is none of rust, c, python, node, go")
            })
        };
        names.split(',').map(|name| find(name.trim())).collect()
    }

    /// Of those wanted, the ones that have a border of their own to the core. That of Go is C's.
    pub fn wanted_borders() -> Vec<Self> {
        Self::wanted().into_iter().filter(|language| *language != Self::Go).collect()
    }

    /// Why the language is left out here: Go is one that not every machine has, which then says so. `None` where it is
    /// there, or `$HYPEMAN_REQUIRE` contains its name.
    pub fn missing(self) -> Option<&'static str> {
        let required = || env::var("HYPEMAN_REQUIRE").is_ok_and(|all| all.split(',').any(|one| one == "go"));
        let found = || Command::new("go").arg("version").output().is_ok();
        (self == Self::Go && !required() && !found())
            .then_some("go is not installed; apt-get install golang-go")
    }
}

/// How to start the runner of a language.
#[derive(Clone, Debug)]
pub struct Runner {
    program: OsString,
    first: Option<PathBuf>,
    library_path: Option<PathBuf>,
}

impl Runner {
    /// Prepares the runner of `language` in `runners`, a directory of `runner.c`, `runner.py`, `runner.js` and `go`; those
    /// in C and Go are built into `scratch`, `rust` is the one in Rust.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub fn new(language: Language, runners: &Path, rust: &Path, scratch: &Path) -> Result<Self, String> {
        match language {
            Language::Rust => Ok(Self::program(rust)),
            Language::C => Self::named(language, &runners.join("runner.c"), scratch),
            Language::Python => Self::named(language, &runners.join("runner.py"), scratch),
            Language::Node => Self::named(language, &runners.join("runner.js"), scratch),
            Language::Go => Self::named(language, &runners.join("go"), scratch),
        }
    }

    /// Prepares `source`, a program in `language`, which is not Rust.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub fn named(language: Language, source: &Path, scratch: &Path) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let script = |program: OsString| {
            Ok(Self { program, first: Some(present(source.to_owned())?), library_path: None })
        };
        match language {
            Language::Rust => Err("a program in Rust is built by cargo".to_owned()),
            Language::C => build_c(&root, &present(source.to_owned())?, scratch),
            Language::Python => {
                let python = env::var_os("HYPEMAN_PYTHON")
                    .map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
                script(python.into())
            }
            Language::Node => script("node".into()),
            Language::Go => build_go(&root, &present(source.to_owned())?, scratch),
        }
    }

    /// Prepares `source`, a program in C++ over the header for it.
    ///
    /// # Errors
    /// As [`Runner::named`].
    pub fn cpp(source: &Path, scratch: &Path) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut compiler = Command::new("g++");
        compiler.args(["-std=c++17", "-O1"]).arg(present(source.to_owned())?);
        let program = built(source, scratch, Language::C).with_extension("cpp");
        link(&root, &mut compiler, &program, scratch, "apt-get install g++")
    }

    /// Prepares `program` of several `sources` in C, watched by the sanitisers of gcc for addresses and undefined
    /// behaviour, with more `flags`.
    ///
    /// # Errors
    /// As [`Runner::named`].
    pub fn sanitised(
        program: &str,
        sources: &[&Path],
        flags: &[&str],
        scratch: &Path,
    ) -> Result<Self, String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut gcc = Command::new("gcc");
        gcc.args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-fsanitize=address,undefined"]);
        gcc.args(flags).args(sources);
        link(&root, &mut gcc, &scratch.join(program), scratch, "apt-get install gcc libcjson-dev")
    }

    /// A runner that is `program` itself.
    pub fn program(program: &Path) -> Self {
        Self { program: program.into(), first: None, library_path: None }
    }

    /// The command that starts it, with a clock that is off by `clock` where that is given, in the words of `faketime`.
    pub fn command(&self, clock: Option<&str>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.first);
        if let Some(clock) = clock {
            // Not by the program of that name, which would stand between a kill and what it is for.
            command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
            command.env("FAKETIME", clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        if let Some(library_path) = &self.library_path {
            command.env("LD_LIBRARY_PATH", library_path);
        }
        command
    }

    /// Plays the case in `case` and returns what the runner printed.
    ///
    /// # Errors
    /// When it cannot start, fails, hangs, or says something on its stderr: the library must be silent in its host.
    pub fn play(&self, case: &Path, data: &Path, work: &Path) -> Result<String, String> {
        self.run(&[case, data, work], work.parent().unwrap_or(work))
    }

    /// Runs it with `arguments` and returns what it printed; what it says is kept in `scratch` meanwhile.
    ///
    /// # Errors
    /// As [`Runner::play`].
    pub fn run(&self, arguments: &[&Path], scratch: &Path) -> Result<String, String> {
        let (out, err) = (scratch.join("stdout"), scratch.join("stderr"));
        let create = |path: &Path| fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()));
        let mut command = self.command(None);
        command.args(arguments).stdin(Stdio::null());
        let mut process = command
            .stdout(create(&out)?)
            .stderr(create(&err)?)
            .spawn()
            .map_err(|e| format!("cannot start {}: {e}", self.program.display()))?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().map_err(|e| e.to_string())? {
                break status;
            }
            if began.elapsed() > PATIENCE {
                process.kill().and_then(|()| process.wait()).map_err(|e| e.to_string())?;
                return Err(format!("the runner did not end within {} s", PATIENCE.as_secs()));
            }
            thread::sleep(Duration::from_millis(2));
        };
        let read = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let (out, err) = (read(&out).map_err(|e| e.to_string())?, read(&err).map_err(|e| e.to_string())?);
        if status.success() && err.is_empty() {
            Ok(out)
        } else {
            Err(format!("the runner ended with {status}:\n{err}{out}"))
        }
    }
}

fn present(path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() { Ok(path) } else { Err(format!("{} is missing", path.display())) }
}

/// `$HYPEMAN_LIB_DIR`, else the release directory of this build: where `libhypeman.so` lies.
fn library_directory(root: &Path) -> PathBuf {
    let target = || env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    env::var_os("HYPEMAN_LIB_DIR").map_or_else(|| target().join("release"), PathBuf::from)
}

/// The library under the names that an installation gives it, in `scratch`: a build tree has none under the soname.
fn install_library(root: &Path, scratch: &Path) -> Result<(), String> {
    let library = library_directory(root).join("libhypeman.so");
    let library = library
        .canonicalize()
        .map_err(|e| format!("{}: {e}; cargo build --release -p hypeman-ffi makes it", library.display()))?;
    for name in ["libhypeman.so.0", "libhypeman.so"] {
        // Another test may be making the same link: it is renamed into place.
        let (link, fresh) = (scratch.join(name), scratch.join(format!("{name}.{}", std::process::id())));
        symlink(&library, &fresh)
            .and_then(|()| fs::rename(&fresh, &link))
            .map_err(|e| format!("{}: {e}", link.display()))?;
    }
    Ok(())
}

/// Runs a compiler, whose failure is told with what it `needs`.
fn compile(compiler: &mut Command, needs: &str) -> Result<(), String> {
    let name = compiler.get_program().to_string_lossy().into_owned();
    let output = compiler.output().map_err(|e| format!("cannot start {name}: {e}; {needs}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{name} ({needs}): {}", String::from_utf8_lossy(&output.stderr)))
}

/// Where a program goes: two sets of runners share a scratch directory.
fn built(source: &Path, scratch: &Path, language: Language) -> PathBuf {
    let set = source.parent().and_then(Path::parent).and_then(Path::file_name).unwrap_or_default();
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    scratch.join(format!("{}-{stem}-{}", set.to_string_lossy(), language.as_str()))
}

fn build_c(root: &Path, source: &Path, scratch: &Path) -> Result<Runner, String> {
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c99", "-D_GNU_SOURCE", "-O1"]).arg(source);
    link(root, &mut gcc, &built(source, scratch, Language::C), scratch, "apt-get install gcc libcjson-dev")
}

/// Has `compiler` make `program` with the library of this build.
fn link(
    root: &Path,
    compiler: &mut Command,
    program: &Path,
    scratch: &Path,
    needs: &str,
) -> Result<Runner, String> {
    install_library(root, scratch)?;
    // Another test may be making or running the same program: it is renamed into place.
    let fresh = program.with_extension(format!("{:?}", thread::current().id()));
    compiler.args(["-Wall", "-Wextra", "-Werror", "-g", "-I"]).arg(root.join("include"));
    compiler.arg("-o").arg(&fresh).arg("-L").arg(scratch).args(["-lhypeman", "-lcjson", "-lpthread"]);
    compile(compiler, needs)?;
    fs::rename(&fresh, program).map_err(|e| format!("{}: {e}", program.display()))?;
    Ok(Runner { program: program.into(), first: None, library_path: Some(scratch.to_owned()) })
}

fn build_go(root: &Path, source: &Path, scratch: &Path) -> Result<Runner, String> {
    install_library(root, scratch)?;
    let description = format!(
        "Name: libhypeman\nDescription: the library of this build\nVersion: 0\nCflags: -I{}\nLibs: -L{} -lhypeman\n",
        root.join("include").display(),
        scratch.display()
    );
    fs::write(scratch.join("hypeman.pc"), description).map_err(|e| format!("{}: {e}", scratch.display()))?;
    let program = built(source, scratch, Language::Go);
    let mut go = Command::new("go");
    go.current_dir(source).args(["build", "-o"]).arg(&program).arg(".").env("PKG_CONFIG_PATH", scratch);
    compile(&mut go, "apt-get install golang-go pkg-config")?;
    Ok(Runner { program: program.into(), first: None, library_path: Some(scratch.to_owned()) })
}
