//! How long a guest stands still when its memory leaves a running cloud-hypervisor by descriptor, and when it goes through a
//! file. `$HYPEMAN_TEST_CLOUD_HYPERVISOR`, else PATH, has the program.
//!
//! The guest is the one of the tests; three quarters of its memory are filled, from outside, with what a busy guest had in its
//! own. Files are on the file system of all benches.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use hypeman_core::{
    Call, CompressionConfig, CreateSnapshot, Hypeman, Options, Phase, RegisterInstance, SnapshotKind,
};
use hypeman_tests::cloud_hypervisor::{self, Vm};

use crate::images::{Content, Zeros};
use crate::samples::Samples;
use crate::scene::Scene;
use crate::{NotHere, Result};

const MIB: u64 = 1 << 20;
/// The guest itself lives below.
const FILLED_FROM: u64 = 64 * MIB;
const ID: &str = "offloaded";

/// What one capture took, in milliseconds.
struct Took {
    pause: f64,
    compressing: f64,
}

/// The pause by descriptor, against that of a capture into a file; milliseconds.
pub fn pause(scene: &mut Scene) -> Result<Samples> {
    let (rounds, vm, root) = guest(scene)?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        samples.ours.push(capture(&root, &vm, true)?.pause);
        samples.peer.push(capture(&root, &vm, false)?.pause);
    }
    Ok(samples)
}

/// How long compressing takes, which is what the pause would take at least if memory were compressed in it, against the pause
/// in which it is copied; milliseconds.
pub fn compress(scene: &mut Scene) -> Result<Samples> {
    let (rounds, vm, root) = guest(scene)?;
    let mut samples = Samples::default();
    for _ in 0..rounds {
        let took = capture(&root, &vm, true)?;
        samples.ours.push(took.compressing);
        samples.peer.push(took.pause);
    }
    Ok(samples)
}

/// A running guest whose memory is mostly in use.
fn guest(scene: &mut Scene) -> Result<(usize, Vm, std::path::PathBuf)> {
    let Some(program) = cloud_hypervisor::program() else {
        let why = "no cloud-hypervisor (set HYPEMAN_TEST_CLOUD_HYPERVISOR), or no usable /dev/kvm";
        return Err(NotHere(why).into());
    };
    let memory_mib = if scene.options.quick { 256 } else { 1024 };
    let root = scene.directory("offload")?;
    let vm = Vm::boot_unfiltered(&program, &root.join("vm"), memory_mib);
    let memory = memory_of(&vm)?;
    let busy = File::open(scene.stage(Content::Busy, Zeros::Written)?.memory())?;
    let busy_bytes = busy.metadata()?.len();
    let mut piece = vec![0; MIB as usize];
    for at in (FILLED_FROM..FILLED_FROM + memory_mib * MIB * 3 / 4).step_by(piece.len()) {
        if at + MIB <= memory_mib * MIB {
            let read = busy.read_at(&mut piece, (at - FILLED_FROM) % busy_bytes)?;
            memory.write_all_at(piece.get(..read).unwrap_or_default(), at)?;
        }
    }
    Ok((scene.options.rounds(), vm, root))
}

/// The file in memory that is the guest's.
fn memory_of(vm: &Vm) -> Result<File> {
    let open = Path::new("/proc").join(vm.pid().to_string()).join("fd");
    for entry in fs::read_dir(open)? {
        let path = entry?.path();
        if fs::read_link(&path).is_ok_and(|link| link.to_string_lossy().starts_with("/memfd:ch_ram")) {
            return Ok(File::options().read(true).write(true).open(path)?);
        }
    }
    Err("this cloud-hypervisor has no shared memory of its guest open".into())
}

fn capture(root: &Path, vm: &Vm, offload_memory: bool) -> Result<Took> {
    let hm = Hypeman::open_with(root.join("data"), Options { offload_memory, ..Options::default() })?;
    if hm.instances().get(ID).is_err() {
        hm.instances().register(&RegisterInstance {
            id: Some(ID.into()),
            api_socket: Some(vm.api_socket()),
            directory: Some(vm.directory().into()),
            ..RegisterInstance::new("offloaded", "cloud-hypervisor")
        })?;
    }
    let compression = Some(CompressionConfig::with("zstd", Some(1)));
    let request = CreateSnapshot { compression, ..CreateSnapshot::new(SnapshotKind::Standby) };
    let (mut began, mut ended) = (None, None);
    let watched = Call::default().progress(|progress| {
        match progress.phase {
            Phase::Compressing => {
                began.get_or_insert_with(Instant::now);
            }
            _ if began.is_some() => {
                ended.get_or_insert_with(Instant::now);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    let made = hm.instances().snapshots().create(ID, &request, watched)?;
    let facts = hm.snapshots().inspect(&made.id)?;
    let pause = facts.capture.and_then(|capture| capture.paused_ms).ok_or("the pause was not recorded")?;
    hm.snapshots().wait(&made.id, Call::default())?;
    hm.finish(Call::default())?;
    hm.snapshots().delete(&made.id)?;
    hm.close();
    let compressing = match (began, ended) {
        (Some(began), Some(ended)) => ended.duration_since(began).as_secs_f64() * 1000.0,
        _ if offload_memory => return Err("memory went through a file, not by descriptor".into()),
        _ => 0.0,
    };
    Ok(Took { pause, compressing })
}
