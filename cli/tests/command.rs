//! The command as a person types it: a VM that is stopped, and one in standby, from registration to deletion.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

struct Shell {
    home: TempDir,
}

impl Shell {
    /// A home with the directories of two VMs.
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let image = home.path().join("asleep/snapshots/snapshot-latest");
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("memory"), b"guest memory ".repeat(100_000)).unwrap();
        fs::write(home.path().join("asleep/overlay.raw"), "disk").unwrap();
        fs::create_dir(home.path().join("off")).unwrap();
        fs::write(home.path().join("off/overlay.raw"), "disk").unwrap();
        Self { home }
    }

    fn at(&self, name: &str) -> String {
        self.home.path().join(name).display().to_string()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_libhypeman"));
        command.env("HYPEMAN_DATA_DIR", self.home.path().join("data"));
        command.current_dir(self.home.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that succeeds, and says nothing else.
    fn prints(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        let [out, err] = [done.stdout, done.stderr].map(|text| String::from_utf8(text).unwrap());
        assert!(done.status.success() && err.is_empty(), "{arguments:?}: {err}");
        out.trim_end().to_owned()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.prints(arguments)).unwrap()
    }

    /// What a command says on stderr that fails, and its exit status.
    fn refuses(&self, arguments: &[&str]) -> (String, i32) {
        let done = self.run(arguments);
        assert!(done.stdout.is_empty(), "{arguments:?}");
        (String::from_utf8(done.stderr).unwrap(), done.status.code().unwrap())
    }
}

#[test]
fn a_snapshot_is_made_found_checked_and_deleted() {
    let shell = Shell::new();
    // A path of the shell's is relative to where it stands.
    let vm = shell.prints(&["instance", "register", "web", "qemu", "--directory", "asleep"]);
    assert_eq!(shell.json(&["instance", "get", "web"])["directory"], shell.at("asleep"));
    let listed = shell.prints(&["instance", "list"]);
    assert!(listed.contains("HYPERVISOR") && listed.contains(&vm) && listed.contains("Standby"), "{listed}");

    let id = shell.prints(&[
        "snapshot",
        "create",
        "web",
        "--name",
        "baseline",
        "--tag",
        "team=a=b",
        "--compression-level",
        "3",
    ]);
    assert_eq!(id.len(), 24, "the id and nothing else: {id}");
    let snapshot = shell.json(&["snapshot", "get", &id]);
    assert_eq!(snapshot["compression_state"], "compressed", "the command waits for its own");
    assert_eq!((&snapshot["compression"]["level"], &snapshot["tags"]["team"]), (&3.into(), &"a=b".into()));

    let table = shell.prints(&["snapshot", "list", "--tag", "team=a=b", "--kind", "Standby"]);
    let [head, row] = table.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["ID", "NAME", "KIND", "SOURCE", "CREATED"]);
    let created = snapshot["created_at"].as_str().unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), [&id, "baseline", "Standby", "web", created]);
    assert_eq!(shell.prints(&["snapshot", "ls", "-q"]), id);
    assert_eq!(shell.prints(&["snapshot", "list", "--name", "other", "-q"]), "");

    assert_eq!(shell.prints(&["snapshot", "verify", &id]), format!("{id} good"));
    let inspected = shell.prints(&["snapshot", "inspect", &id]);
    assert!(inspected.contains("captured Standby") && inspected.contains("memory.zst"), "{inspected}");
    assert_eq!(shell.prints(&["snapshot", "restore", "web", &id]), format!("{vm} Standby"));
    let fork = shell.prints(&["snapshot", "fork", &id, "web2"]);
    assert_eq!(shell.json(&["instance", "get", "web2"])["id"], fork);
    let (words, _) = shell.refuses(&["snapshot", "fork", &id, "web3", "--duplicates", "deny"]);
    assert!(words.contains("duplicates"), "{words}");
    assert_eq!(shell.prints(&["snapshot", "rm", &id]), id);
    assert_eq!(shell.prints(&["--json", "snapshot", "list"]), "[]");
    assert_eq!(shell.prints(&["instance", "unregister", "web"]), "");
}

#[test]
fn what_is_damaged_is_named_and_is_a_failure() {
    let shell = Shell::new();
    shell.prints(&[
        "instance",
        "register",
        "web",
        "qemu",
        "--directory",
        "off",
        "--disk",
        "off/overlay.raw:ro",
    ]);
    let id = shell.prints(&["snapshot", "create", "web", "--kind", "Stopped"]);
    fs::write(shell.home.path().join(format!("data/snapshots/{id}/guest/overlay.raw")), "disc").unwrap();
    let done = shell.run(&["snapshot", "verify"]);
    let report = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(report.starts_with(&format!("{id} 1 defect\n  guest/overlay.raw")), "{report}");
}

#[test]
fn what_the_library_refuses_is_said_on_stderr_in_words_or_in_json() {
    let shell = Shell::new();
    shell.prints(&["instance", "register", "web", "qemu", "--directory", "off"]);
    let (words, code) = shell.refuses(&["snapshot", "create", "web"]);
    assert!(words.starts_with("libhypeman: ") && words.contains("requires source in Running"), "{words}");
    assert_eq!(code, 1);
    let (json, code) = shell.refuses(&["--json", "snapshot", "get", "nothing"]);
    let error: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((error["code"].as_str(), error["id"].as_str(), code), (Some("not_found"), Some("nothing"), 1));
    let (usage, code) = shell.refuses(&["snapshot", "create", "web", "--tag", "team"]);
    assert!(usage.contains("KEY=VALUE"), "{usage}");
    assert_eq!(code, 2);
    let (words, _) = shell.refuses(&["snapshot", "restore", "web", "nothing", "--timeout=-1"]);
    assert!(words.contains("timeout"), "{words}");
    let (words, _) = shell.refuses(&["snapshot", "verify", "nothing", "--timeout=inf"]);
    assert!(words.contains("not found"), "{words}");
}

#[test]
fn what_is_given_twice_is_refused() {
    let shell = Shell::new();
    shell.prints(&["instance", "register", "web", "qemu", "--directory", "off"]);
    for twice in [
        &["snapshot", "create", "web", "--kind", "Stopped", "--tag", "a=1", "--tag", "a=2"][..],
        &["snapshot", "list", "--tag", "a=1", "--tag", "a=1"],
        &["snapshot", "fork", "x", "y", "--disk", "/a=/b", "--disk", "/a=/c"],
        &["snapshot", "restore", "web", "x", "--network-override", "a=1", "--network-override", "a=2"],
    ] {
        let (words, code) = shell.refuses(twice);
        assert!(words.contains("is given twice"), "{words}");
        assert_eq!(code, 1);
    }
    assert_eq!(shell.prints(&["snapshot", "list", "-q"]), "");
}

#[test]
fn what_was_done_before_a_failure_is_printed_as_json_too() {
    let shell = Shell::new();
    shell.prints(&["instance", "register", "web", "qemu", "--directory", "off"]);
    let id = shell.prints(&["snapshot", "create", "web", "--kind", "Stopped"]);
    let done = shell.run(&["--json", "snapshot", "delete", &id, "nothing"]);
    assert_eq!(serde_json::from_slice::<Value>(&done.stdout).unwrap(), serde_json::json!([id]));
    let error: Value = serde_json::from_slice(&done.stderr).unwrap();
    assert_eq!((error["code"].as_str(), done.status.code()), (Some("not_found"), Some(1)));
}

/// What takes the highest level long.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()
    });
    words.take(bytes / 8).flatten().collect()
}

#[test]
fn ctrl_c_during_compression_hides_no_snapshot_that_was_made() {
    let shell = Shell::new();
    fs::write(shell.home.path().join("asleep/snapshots/snapshot-latest/memory"), noise(32 << 20)).unwrap();
    shell.prints(&["instance", "register", "web", "qemu", "--directory", "asleep"]);
    let create = ["--json", "snapshot", "create", "web", "--compression-level", "19"];
    let running = shell.command(&create).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while shell.prints(&["snapshot", "list", "-q"]).is_empty() {}
    kill(Pid::from_raw(running.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let done = running.wait_with_output().unwrap();
    let made: Value = serde_json::from_slice(&done.stdout).unwrap();
    let error: Value = serde_json::from_slice(&done.stderr).unwrap();
    assert_eq!((error["code"].as_str(), done.status.code()), (Some("cancelled"), Some(130)), "{made}");
    assert_eq!(shell.prints(&["snapshot", "list", "-q"]), made["id"].as_str().unwrap());
}

/// A QEMU that greets and never answers.
#[test]
fn ctrl_c_ends_a_call_that_waits_for_a_vmm() {
    let shell = Shell::new();
    let register = ["instance", "register", "web", "qemu", "--directory", "off", "--api-socket", "qmp"];
    shell.prints(&register);
    let vmm = UnixListener::bind(shell.at("qmp")).unwrap();
    let mut command = shell.command(&["snapshot", "create", "web"]);
    let waiting = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = vmm.accept().unwrap().0;
    let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;
    writeln!(client, "{greeting}").unwrap();
    // Its first question: from now on it waits for the answer.
    client.read_exact(&mut [0; 1]).unwrap();
    kill(Pid::from_raw(waiting.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    let ended = waiting.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), said.lines().count(), ended.stdout.len()), (Some(130), 1, 0), "{said}");
    assert!(said.starts_with("libhypeman: ") && said.contains("cancelled"), "{said}");
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_it_is_and_elsewhere_none() {
    let shell = Shell::new();
    fs::write(shell.home.path().join("asleep/snapshots/snapshot-latest/memory"), noise(8 << 20)).unwrap();
    shell.prints(&["instance", "register", "web", "qemu", "--directory", "asleep"]);
    let create = ["snapshot", "create", "web", "--compression-level", "19"];
    // `script` gives the command a terminal.
    let line = format!("stty cols 100; {} {}", env!("CARGO_BIN_EXE_libhypeman"), create.join(" "));
    let mut terminal = Command::new("script");
    terminal.env("HYPEMAN_DATA_DIR", shell.home.path().join("data")).current_dir(shell.home.path());
    let shown = terminal.args(["-qec", &line, "/dev/null"]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("compressing") && shown.contains("MiB/"), "{shown:?}");
    // Said nothing but the id: `prints` looks at stderr, too.
    assert_eq!(shell.prints(&create).len(), 24);
}

#[test]
fn looking_at_a_data_directory_makes_none() {
    let shell = Shell::new();
    let (words, _) = shell.refuses(&["snapshot", "list"]);
    assert!(words.contains("there is no data directory"), "{words}");
    assert!(!Path::new(&shell.at("data")).exists());
}

#[test]
fn every_shell_gets_its_completion() {
    let shell = Shell::new();
    for name in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shell.prints(&["completion", name]);
        assert!(script.contains("libhypeman") && script.contains("cancel-compression"), "{name}");
    }
}
