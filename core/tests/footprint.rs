//! What the library leaves behind in the memory of the host: guests need it more than files that no one reads again.
#![allow(clippy::print_stdout, reason = "what is skipped is said")]

mod world;

use std::fs;
use std::path::Path;
use std::process::Command;

use hypeman_core::InstanceState;
use world::{World, create, jobs_end, standby, wait};

const MEMORY: &str = "guest/snapshots/snapshot-latest/memory";

/// Bytes of `file` in the page cache; nothing where that cannot be told.
fn cached_bytes(file: &Path) -> Option<u64> {
    let output =
        Command::new("fincore").args(["--bytes", "--noheadings", "--output", "RES"]).arg(file).output();
    String::from_utf8(output.ok()?.stdout).ok()?.trim().parse().ok()
}

/// Bytes that no codec makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

#[test]
fn what_a_job_has_read_and_written_does_not_stay_in_the_page_cache() {
    let name = "what_a_job_has_read_and_written_does_not_stay_in_the_page_cache";
    let world = World::new();
    let hm = world.open();
    let image = noise(16 << 20);
    for compression in [None, Some("zstd"), Some("lz4")] {
        let vm = format!("vm-{}", compression.unwrap_or("raw"));
        let instance = world.vm(&vm, InstanceState::Standby);
        fs::write(instance.directory.as_ref().unwrap().join("snapshots/snapshot-latest/memory"), &image)
            .unwrap();
        hm.instances().register(&instance).unwrap();
        let compression = compression.map(|codec| hypeman_core::CompressionConfig::with(codec, None));
        let suffix = match &compression {
            None => "",
            Some(config) if config.algorithm.as_deref() == Some("lz4") => ".lz4",
            Some(_) => ".zst",
        };
        let id = create(&hm, &vm, &hypeman_core::CreateSnapshot { compression, ..standby() }).unwrap().id;
        wait(&hm, &id);
        jobs_end(&world);
        let file = world.data().join("snapshots").join(&id).join(format!("{MEMORY}{suffix}"));
        let left = cached_bytes(&file);
        // The control: what is read stays there, so that what was there would have been seen.
        assert!(fs::read(&file).unwrap().len() >= image.len());
        let (Some(left), Some(read)) = (left, cached_bytes(&file)) else {
            println!("SKIP {name}: there is no fincore");
            return;
        };
        assert!(read >= image.len() as u64, "{read} bytes are in the page cache after a read");
        if left >= image.len() as u64 && is_of_memory(&file) {
            println!("SKIP {name}: the file system is in memory itself");
            return;
        }
        assert!(left <= 1 << 20, "{suffix:?}: {left} bytes are left in the page cache");
    }
}

/// Whether the file system of `file` is one whose files are nowhere but in the page cache.
fn is_of_memory(file: &Path) -> bool {
    let output = Command::new("stat").args(["--file-system", "--format=%T"]).arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim() == "tmpfs"
}
