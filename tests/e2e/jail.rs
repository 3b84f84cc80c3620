//! Real VMMs that reach nothing but what is passed to them, and hosts that may not reach everything either.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use hypeman_core::{Call, CompressionConfig, Hypeman, Kind, RegisterInstance, RestoreSnapshot};
use hypeman_tests::cloud_hypervisor::{self, Vm as CloudHypervisor};
use hypeman_tests::firecracker::Vm;
use hypeman_tests::guest;
use hypeman_tests::jail::as_user;
use tempfile::TempDir;

use crate::firecracker::{FULL_CHECK, program, registered};
use crate::scene::{VM_ID, assert_nothing_left, directory, raw_memory, standby};

/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// A user who is not root, and not that of any VMM.
const SOMEBODY: u32 = 65533;

/// Names the part of a host, and what it needs for it.
const ROLE: &str = "HYPEMAN_E2E_JAIL_ROLE";

/// Where files pass: a directory of the host's, and its path in the jail.
struct Passage {
    root: TempDir,
    staging: PathBuf,
    seen_as: PathBuf,
}

impl Passage {
    fn open() -> Self {
        let root = directory();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let [staging, seen_as] = ["pass", "jail"].map(|name| root.path().join(name));
        fs::create_dir(&staging).unwrap();
        fs::create_dir(&seen_as).unwrap();
        Self { root, staging, seen_as }
    }

    /// A cloud-hypervisor of `NOBODY` that waits for a VM; its directory is `owner`'s.
    fn cloud_hypervisor(&self, name: &str, owner: u32) -> CloudHypervisor {
        let program = cloud_hypervisor::program().expect("asked for before");
        let directory = self.root.path().join(name);
        CloudHypervisor::start_jailed(&program, &directory, (NOBODY, owner), &self.staging, &self.seen_as)
    }

    fn assert_empty(&self) {
        assert_eq!(fs::read_dir(&self.staging).unwrap().count(), 0, "nothing is left there");
    }
}

/// A VM of that hypervisor, whose files are in `directory`, as it is registered; with a passage, or without one.
fn as_registered(hypervisor: &str, directory: &Path, passage: Option<(&Path, &Path)>) -> RegisterInstance {
    RegisterInstance {
        id: Some(VM_ID.into()),
        api_socket: Some(directory.join("api.sock")),
        directory: Some(directory.to_owned()),
        staging_directory: passage.map(|(staging, _)| staging.to_owned()),
        staging_directory_in_vmm: passage.map(|(_, seen_as)| seen_as.to_owned()),
        ..RegisterInstance::new("counting", hypervisor)
    }
}

/// Requires that the payload `guest` is of user `owner` alone, and returns how far its guest had counted.
fn captured_by(owner: u32, guest: &Path) -> u32 {
    let image = guest.join("snapshots/snapshot-latest");
    for entry in fs::read_dir(&image).unwrap() {
        let path = entry.unwrap().path();
        let facts = fs::metadata(&path).unwrap();
        assert_eq!((facts.uid(), facts.mode() & 0o7777), (owner, 0o600), "{}", path.display());
    }
    let captured = guest::examine(&raw_memory(guest)).unwrap();
    assert_eq!(captured.wrong, 0);
    u32::try_from(captured.ticks).unwrap()
}

/// Requires that the guest, whose serial log `first` has, goes on where it was captured.
fn assert_goes_on(first: &CloudHypervisor, captured: u32) {
    let went_on = first.tick_after(captured);
    assert!(went_on.ticks <= captured + 16, "captured at {captured}: {went_on:?}");
    assert_eq!(first.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
}

pub fn a_jailed_cloud_hypervisor_of_another_user_passes_files_through_a_staging_directory() {
    let passage = Passage::open();
    let mut vm = passage.cloud_hypervisor("first", NOBODY).with_guest(64, false);
    let hm = Hypeman::open(passage.root.path().join("data")).unwrap();
    let snapshots = hm.instances().snapshots();

    hm.instances().register(&as_registered("cloud-hypervisor", vm.directory(), None)).unwrap();
    let refused = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Permission, "{refused}");
    assert!(refused.message().contains("staging_directory"), "{refused}");
    assert_eq!(vm.state(), "Running");
    hm.instances().unregister(VM_ID).unwrap();

    let through = Some((passage.staging.as_path(), passage.seen_as.as_path()));
    hm.instances().register(&as_registered("cloud-hypervisor", vm.directory(), through)).unwrap();
    let zstd = CompressionConfig::with("zstd", Some(1));
    let mut made = Vec::new();
    for compression in [None, Some(zstd)] {
        let one = snapshots.create(VM_ID, &standby(compression), Call::default()).unwrap();
        hm.snapshots().wait(&one.id, Call::default()).unwrap();
        let payload = hm.data_dir().join("snapshots").join(&one.id).join("guest");
        made.push((one.id, captured_by(0, &payload)));
        assert_eq!(vm.state(), "Running");
        vm.tick_after(vm.last_tick().ticks + 8);
        passage.assert_empty();
    }
    assert!(made[0].1 < made[1].1, "{made:?}");

    vm.kill();
    for (number, (id, captured)) in made.iter().enumerate() {
        fs::write(vm.directory().join("disk.raw"), "ruined").unwrap();
        let waiting = passage.cloud_hypervisor(&format!("waiting{number}"), NOBODY);
        let request =
            RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
        snapshots.restore(id, VM_ID, &request, Call::default()).unwrap();
        assert_goes_on(&vm, *captured);
        assert_eq!(waiting.state(), "Running");
        passage.assert_empty();
    }
    assert_nothing_left(hm.data_dir());
}

/// A host of `SOMEBODY`, with a copy of this program, which that user may not reach where it is.
struct Host<'p> {
    passage: &'p Passage,
    program: PathBuf,
}

impl<'p> Host<'p> {
    fn new(passage: &'p Passage) -> Self {
        let root = passage.root.path();
        let program = root.join("host");
        fs::copy(env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&passage.staging, fs::Permissions::from_mode(0o777)).unwrap();
        chown(root, Some(SOMEBODY), Some(SOMEBODY)).unwrap();
        Self { passage, program }
    }

    /// Has it play a part, and returns what it says.
    fn play(&self, part: &str) -> String {
        let [user, words @ ..] = as_user(SOMEBODY);
        let role = format!("{}|{part}", self.passage.root.path().display());
        let output = Command::new(user).args(words).arg(&self.program).env(ROLE, role).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{part}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said.trim().to_owned()
    }
}

pub fn a_host_that_is_not_root_passes_files_to_a_firecracker_of_another_user() {
    let passage = Passage::open();
    let root = passage.root.path();
    let start = |name: &str| {
        let directory = root.join(name);
        Vm::start_jailed(&program(), &directory, (NOBODY, SOMEBODY), &passage.staging, &passage.seen_as)
    };
    let mut vm = start("first").boot_guest(64, false);
    let host = Host::new(&passage);

    let id = host.play("create firecracker");
    let captured = captured_by(SOMEBODY, &root.join("data/snapshots").join(&id).join("guest"));
    vm.tick_after(captured + 16);
    passage.assert_empty();

    vm.kill();
    fs::write(vm.directory().join("disk.raw"), "ruined").unwrap();
    let waiting = start("waiting");
    host.play(&format!("restore {id}"));
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    passage.assert_empty();
    assert_nothing_left(&root.join("data"));
}

/// What cloud-hypervisor writes is its user's alone, whatever the directory.
pub fn a_host_that_could_not_read_what_cloud_hypervisor_writes_is_refused_before_the_pause() {
    let passage = Passage::open();
    let vm = passage.cloud_hypervisor("first", SOMEBODY).with_guest(64, false);
    let refused = Host::new(&passage).play("refused cloud-hypervisor");
    assert!(refused.contains(&format!("user {NOBODY}")) && refused.contains("as root"), "{refused}");
    assert_eq!(vm.state(), "Running");
    vm.tick_after(vm.last_tick().ticks);
    passage.assert_empty();
    assert_nothing_left(&passage.root.path().join("data"));
}

/// Plays the part of a host that is not root, if that is what this process is for.
#[expect(clippy::print_stdout, reason = "it is what the other process hears")]
pub fn play_role() -> bool {
    let Ok(role) = env::var(ROLE) else { return false };
    let (root, part) = role.split_once('|').expect("a role names a directory and a part");
    let (part, what) = part.split_once(' ').expect("a part is of something");
    let root = Path::new(root);
    assert!(!nix::unistd::geteuid().is_root());
    let hm = Hypeman::open(root.join("data")).unwrap();
    let snapshots = hm.instances().snapshots();
    let said = if part == "restore" {
        let api_socket = Some(root.join("waiting/api.sock"));
        let request = RestoreSnapshot { api_socket, ..RestoreSnapshot::default() };
        snapshots.restore(what, VM_ID, &request, Call::default()).unwrap();
        String::new()
    } else {
        let [staging, seen_as] = ["pass", "jail"].map(|name| root.join(name));
        let through = Some((staging.as_path(), seen_as.as_path()));
        hm.instances().register(&as_registered(what, &root.join("first"), through)).unwrap();
        let outcome = snapshots.create(VM_ID, &standby(None), Call::default());
        if part == "refused" { outcome.unwrap_err().to_string() } else { outcome.unwrap().id }
    };
    println!("{said}");
    hm.finish(Call::default()).unwrap();
    true
}

pub fn a_jailed_firecracker_of_another_user_passes_files_through_a_staging_directory() {
    let Passage { root, staging, seen_as } = Passage::open();
    let jailed = |name: &str| {
        Vm::start_jailed(&program(), &root.path().join(name), (NOBODY, NOBODY), &staging, &seen_as)
    };
    let mut vm = jailed("first").boot_guest(64, true);
    let hm = Hypeman::open(root.path().join("data")).unwrap();
    let snapshots = hm.instances().snapshots();

    hm.instances().register(&registered(&vm)).unwrap();
    let refused = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Permission, "{refused}");
    assert!(refused.message().contains("staging_directory"), "{refused}");
    hm.instances().unregister(VM_ID).unwrap();

    let known = |vm: &Vm| RegisterInstance {
        staging_directory: Some(staging.clone()),
        staging_directory_in_vmm: Some(seen_as.clone()),
        exclusive_snapshots: true,
        ..registered(vm)
    };
    hm.instances().register(&known(&vm)).unwrap();
    let mut last = 0;
    for _ in ["full", "diff"] {
        let made = snapshots.create(VM_ID, &standby(None), Call::default()).unwrap();
        let payload = hm.data_dir().join("snapshots").join(&made.id).join("guest");
        for name in ["state", "memory"] {
            let facts = fs::metadata(payload.join("snapshots/snapshot-latest").join(name)).unwrap();
            assert_eq!((facts.uid(), facts.mode() & 0o7777), (0, 0o600), "{name} is ours alone");
        }
        let captured = guest::examine(&raw_memory(&payload)).unwrap();
        assert!(captured.ticks > last && captured.wrong == 0, "{captured:?}");
        last = captured.ticks;
        vm.tick_after(vm.last_tick().ticks + 8);
        assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    }
    let made = hm.snapshots().list(&Default::default()).unwrap().remove(0);

    vm.kill();
    let waiting = jailed("second");
    let request = RestoreSnapshot { api_socket: Some(waiting.api_socket()), ..RestoreSnapshot::default() };
    snapshots.restore(&made.id, VM_ID, &request, Call::default()).unwrap();
    let captured = u32::try_from(last).unwrap();
    let went_on = waiting.tick_after(0);
    assert!((captured..=captured + 16).contains(&went_on.ticks), "captured at {captured}: {went_on:?}");
    assert_eq!(waiting.tick_after(went_on.ticks + FULL_CHECK).wrong, 0);
    assert_eq!(fs::read_dir(&staging).unwrap().count(), 0, "nothing is left there");
    assert_nothing_left(hm.data_dir());
}
