//! A VM that outlives the host whose pager gave it its memory. The host is this test binary in a role.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use hypeman_core::{Call, CompressionConfig, Hypeman, RestoreSnapshot, ServeMemory};
use hypeman_tests::firecracker::{self, Vm};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::firecracker::{Scene, captured_and_gone};
use crate::scene::VM_ID;

const ROLE: &str = "HYPEMAN_E2E_ORPHAN";
/// A guest that counts touches new memory many times within that.
const CALM: Duration = Duration::from_secs(3);

/// Plays the part of a host, if that is what this process is for: it restores a VM, gives it memory, and ends with its
/// input.
pub fn play_role() -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    let words: Vec<_> = role.split('|').collect();
    let [data, id, api_socket] = words[..] else { panic!("a role names three things") };
    let hm = Hypeman::open(data).unwrap();
    let pager =
        hm.snapshots().serve_memory(id, &ServeMemory { prefetch: false, ..ServeMemory::default() }).unwrap();
    let request = RestoreSnapshot {
        api_socket: Some(api_socket.into()),
        uffd_socket: Some(pager.socket().into()),
        ..RestoreSnapshot::default()
    };
    hm.instances().snapshots().restore(id, VM_ID, &request, Call::default()).unwrap();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "restored").unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    true
}

fn host(data: &Path, id: &str, vm: &Vm) -> Child {
    let mut host = Command::new(env::current_exe().unwrap())
        .env(ROLE, format!("{}|{id}|{}", data.display(), vm.api_socket().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    BufReader::new(host.stdout.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "restored\n");
    host
}

/// The guard that a host has made.
fn guard_of(host: &Child) -> Pid {
    let children = fs::read_dir(format!("/proc/{}/task", host.id())).unwrap().flat_map(|thread| {
        let children = fs::read_to_string(thread.unwrap().path().join("children")).unwrap_or_default();
        children.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    });
    let is_guard = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "hypeman-guard")
    };
    Pid::from_raw(children.into_iter().find(is_guard).expect("a host with a VM has a guard"))
}

pub fn a_firecracker_whose_host_is_killed_ends_when_its_guest_touches_what_it_has_not_got() {
    let mut scene = Scene::new(64);
    let (made, captured) = captured_and_gone(&mut scene, Some(CompressionConfig::with("zstd", None)));
    let data = scene.hm.data_dir().to_owned();
    scene.hm.close();
    let program = firecracker::program().expect("asked for before");
    for is_guarded in [true, false] {
        let mut vm = Vm::start(&program, &scene.root.path().join(format!("guarded-{is_guarded}")));
        let mut host = host(&data, &made.id, &vm);
        vm.tick_after(captured);
        let guard = guard_of(&host);
        if !is_guarded {
            kill(guard, Signal::SIGKILL).unwrap();
        }
        host.kill().unwrap();
        assert_eq!(host.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
        if is_guarded {
            vm.assert_ends();
        } else {
            // The control: it neither counts nor ends.
            sleep(CALM);
            let stood_at = vm.last_tick();
            sleep(CALM);
            assert!(vm.last_tick() == stood_at && vm.runs(), "it stands still");
            vm.kill();
        }
        assert!(vm.ticks().iter().all(|tick| tick.wrong == 0), "it never counted on wrong memory");
    }
}
