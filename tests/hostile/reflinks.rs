//! What forks of one snapshot take on real file systems: on XFS and Btrfs ten of them no more than one, and on ext4, which
//! cannot share blocks, ten times as much.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use hypeman_core::{
    Call, ForkSnapshot, Hypeman, InstanceState, RegisterInstance, RestoreSnapshot, ServeMemory, Snapshot,
};
use hypeman_tests::report::Report;
use nix::sys::statvfs::statvfs;
use nix::unistd::syncfs;
use tempfile::TempDir;

use crate::disks::{Mounted, skip};
use crate::scene::{Random, directory, files, open, snapshot};

const MEMORY_BYTES: u64 = 64 << 20;
const DISK_BYTES: u64 = 32 << 20;
const FORKS: u64 = 10;

/// Enough for ten copies of everything, beside the snapshot and its source.
const FILE_SYSTEM_BYTES: u64 = 2 << 30;

/// What ten forks may take beside guest data: directories, inodes, extents and records.
const NEXT_TO_NOTHING: u64 = 2 << 20;

const MEMORY: &str = "snapshots/snapshot-latest/memory";
const DISK: &str = "overlay.raw";

/// A snapshot of a firecracker's VM, on a file system that has nothing else. Its memory and disk are random: no compression
/// of the file system's could make them smaller.
struct Scene {
    hm: Hypeman,
    made: Snapshot,
    /// What was captured.
    source: PathBuf,
    mounted: Mounted,
    _image: TempDir,
}

impl Scene {
    fn on(kind: &str, compression: Option<&str>) -> Result<Self, String> {
        let temp = tempfile::tempdir().unwrap();
        let (image, at) = (temp.path().join("image"), temp.path().join("disk"));
        let mounted = Mounted::formatted(kind, FILE_SYSTEM_BYTES, &image, &at)?;
        let source = at.join("web");
        let mut random = Random::new(11);
        let mut bytes = |count: u64| (0..count / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let [memory, disk]: [Vec<u8>; 2] = [bytes(MEMORY_BYTES), bytes(DISK_BYTES)];
        fs::create_dir_all(source.join(MEMORY).parent().unwrap()).unwrap();
        fs::write(source.join(MEMORY), memory).unwrap();
        fs::write(source.join(DISK), disk).unwrap();
        let hm = open(&at.join("data")).map_err(|e| e.to_string())?;
        let vm = RegisterInstance {
            directory: Some(source.clone()),
            ..RegisterInstance::new("web", "firecracker")
        };
        hm.instances().register(&vm).unwrap();
        let made = snapshot(&hm, "web", None, compression);
        Ok(Self { hm, made, source, mounted, _image: temp })
    }

    /// Makes `count` forks, and returns their directories.
    fn fork(&self, name: &str, count: u64, restore: &RestoreSnapshot) -> Vec<PathBuf> {
        let forked = |number| {
            let request =
                ForkSnapshot { restore: restore.clone(), ..ForkSnapshot::new(format!("{name}-{number}")) };
            let fork = self.hm.snapshots().fork(&self.made.id, &request, Call::default()).unwrap();
            fork.directory.unwrap()
        };
        (0..count).map(forked).collect()
    }

    /// Makes forks, and returns how much less is free then, too.
    fn measured(&self, name: &str, count: u64, restore: &RestoreSnapshot) -> (Vec<PathBuf>, u64) {
        let before = self.free_bytes();
        let forks = self.fork(name, count, restore);
        (forks, before.saturating_sub(self.free_bytes()))
    }

    /// Once everything is on the disk: before, a file system may not know yet what it will take.
    fn free_bytes(&self) -> u64 {
        syncfs(File::open(self.mounted.path()).unwrap()).unwrap();
        let room = statvfs(self.mounted.path()).unwrap();
        room.blocks_free() * room.fragment_size()
    }

    /// What is stored of the snapshot that no fork has to change: record and payload, with their inodes and times.
    fn stored(&self) -> Vec<(PathBuf, Vec<u8>, [i64; 3])> {
        let directory = directory(&self.hm, &self.made.id);
        let is_its_own = |name: &Path| name.starts_with("guest") || name == "snapshot.json";
        let told = |(name, bytes): (PathBuf, Vec<u8>)| {
            let facts = directory.join(&name).metadata().unwrap();
            (name, bytes, [facts.ino() as i64, facts.mtime(), facts.mtime_nsec()])
        };
        files(&directory).into_iter().filter(|(name, _)| is_its_own(name)).map(told).collect()
    }
}

pub fn of_raw_memory() -> Result<(), String> {
    let mut report = Report::new("forks-raw", 1);
    for kind in ["xfs", "btrfs", "ext4"] {
        let scene = match Scene::on(kind, None) {
            Ok(scene) => scene,
            Err(why) => {
                let story = "ten_forks_share_their_blocks_where_the_file_system_reflinks";
                return skip(story, "root", &why);
            }
        };
        let before = scene.stored();
        let (mut forks, one) = scene.measured("first", 1, &RestoreSnapshot::default());
        let (more, nine) = scene.measured("more", FORKS - 1, &RestoreSnapshot::default());
        forks.extend(more);
        report.tried(&format!("bytes taken by the first fork on {kind}"), one);
        report.tried(&format!("bytes taken by ten forks on {kind}"), one + nine);
        if kind == "ext4" {
            let has_told = one + nine >= FORKS * (MEMORY_BYTES + DISK_BYTES);
            report.control("forks that share nothing, on ext4", has_told);
        } else if one + nine > NEXT_TO_NOTHING {
            report.failure(format!("{kind}: ten forks took {} bytes, the first one {one}", one + nine));
        }
        stay_apart(kind, &scene, &forks, &mut report);
        if scene.stored() != before {
            report.failure(format!("{kind}: the snapshot is not stored as it was"));
        }
    }
    report.finish();
    Ok(())
}

/// Each fork has what was captured, and what is written into one of them no other has, nor the snapshot.
fn stay_apart(kind: &str, scene: &Scene, forks: &[PathBuf], report: &mut Report) {
    let captured = files(&scene.source);
    let others = |forks: &[PathBuf]| forks.iter().filter(|fork| files(fork) != captured).count();
    if others(forks) != 0 {
        report.failure(format!("{kind}: a fork has not what was captured"));
    }
    let (written, unwritten) = forks.split_first().expect("there are ten");
    for (name, bytes) in [(MEMORY, MEMORY_BYTES), (DISK, DISK_BYTES)] {
        let file = File::options().write(true).open(written.join(name)).unwrap();
        file.write_all_at(&[0x5a; 1 << 20], bytes / 2).unwrap();
        file.sync_all().unwrap();
    }
    report.control(&format!("a fork that was written to, on {kind}"), others(&forks[..1]) == 1);
    if others(unwritten) != 0 {
        report.failure(format!("{kind}: what was written into one fork is in another"));
    }
    let verified = scene.hm.snapshots().verify(&scene.made.id, Call::default()).unwrap();
    if !verified.is_good() {
        report.failure(format!("{kind}: the snapshot is damaged: {:?}", verified.defects));
    }
}

pub fn of_compressed_memory() -> Result<(), String> {
    let mut report = Report::new("forks-compressed", 1);
    for kind in ["xfs", "btrfs"] {
        let scene = match Scene::on(kind, Some("zstd")) {
            Ok(scene) => scene,
            Err(why) => {
                let story = "forks_of_compressed_memory_expand_it_each_for_itself_unless_a_pager_serves_them";
                return skip(story, "root", &why);
            }
        };
        let before = scene.stored();
        let (expanded, taken) = scene.measured("expanded", 2, &RestoreSnapshot::default());
        report.tried(&format!("bytes taken by two forks of compressed memory on {kind}"), taken);
        // Disks are shared as ever.
        let memory = 2 * MEMORY_BYTES;
        report.control(
            &format!("forks that have memory each of their own, on {kind}"),
            (memory..memory + NEXT_TO_NOTHING).contains(&taken),
        );
        let captured = files(&scene.source);
        if expanded.iter().any(|fork| files(fork) != captured) {
            report.failure(format!("{kind}: a fork has not what was captured"));
        }

        let pager = scene.hm.snapshots().serve_memory(&scene.made.id, &ServeMemory::default()).unwrap();
        let served = RestoreSnapshot {
            target_state: Some(InstanceState::Standby),
            uffd_socket: Some(pager.socket().into()),
            ..RestoreSnapshot::default()
        };
        let (served, taken) = scene.measured("served", FORKS, &served);
        report.tried(&format!("bytes taken by ten forks that a pager serves on {kind}"), taken);
        if taken > NEXT_TO_NOTHING {
            report.failure(format!("{kind}: ten forks that a pager serves took {taken} bytes"));
        }
        let but_memory: Vec<_> = captured.into_iter().filter(|(name, _)| name != Path::new(MEMORY)).collect();
        if served.iter().any(|fork| files(fork) != but_memory) {
            report.failure(format!("{kind}: a fork that a pager serves has not all but memory"));
        }
        if scene.stored() != before {
            report.failure(format!("{kind}: the snapshot is not stored as it was"));
        }
    }
    report.finish();
    Ok(())
}
