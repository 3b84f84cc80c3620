//! `instances.snapshots.create`: the whole protocol, in the order in which it happens.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::again;
use super::kept;
use super::live::{self, Taken};
use super::plan::{Extent, Plan};
use super::recover::{recover_journal, wake_instance};
use crate::call::{Call, Phase};
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::hypervisor::{self, CAPTURE_DIRECTORY, RunState};
use crate::instances::{Found, Source, find, source};
use crate::memory;
use crate::store::payload::{self, Memory};
use crate::store::record::Record;
use crate::store::sidecar::{OutsideDisk, Sidecar};
use crate::store::staging::Stage;
use crate::sys::dir::Dir;
use crate::sys::host::host;
use crate::types::{
    Capture, CompressionConfig, CompressionSettings, CompressionState, CreateSnapshot, Disk, InstanceState,
    Snapshot, SnapshotKind, Timestamp,
};

pub(crate) fn create(
    hm: &Hypeman,
    id: &str,
    request: &CreateSnapshot,
    mut call: Call<'_>,
) -> Result<Snapshot> {
    // Refused before anything is touched.
    let store = hm.writable_store()?;
    request.check()?;
    let found = find(store, id)?;
    let settings = settings(hm, request, &found)?;
    call.report(Phase::Preparing, 0, 0)?;

    // One capture of an instance at a time; what was found may have changed while we waited.
    let turn = store.turn(&found.id, call.limit())?;
    wake_instance(store, &found.id)?;
    // What a restore that was cut off left may be some of both.
    recover_journal(store, &found.id)?;
    let found = find(store, &found.id)?;
    check_volumes(&found)?;
    let mut stage = Stage::begin(store)?;
    if let Some(name) = &request.name {
        stage.claim_name(&found.id, name)?;
    }
    let source = source(&found, call.limit())?;
    check_state(hm, &request.kind, &found, &source)?;

    // Captured: after this the source is as it was before.
    let facts = Capture::of(source.state, host());
    let stands = source.run_state == Some(RunState::Paused { after_capture: true });
    let taken = match source.vmm {
        Some(vmm) if stands => again::capture(hm, &found, (stage, turn), vmm, facts, &mut call)?,
        Some(mut vmm) => {
            if hm.options().offload_memory && settings.is_some() && found.staging_directory.is_none() {
                vmm.keep_memory();
            }
            live::capture(hm, &found, (stage, turn), vmm, facts, &mut call)?
        }
        None => {
            let (facts, outside) = capture_asleep(hm, &found, &request.kind, &stage, facts, &mut call)?;
            Taken { stage, turn, facts, outside, memory: None, image: None }
        }
    };
    let Taken { stage, turn, mut facts, outside, memory, image } = taken;
    let created_at = Timestamp::now();
    drop(turn);
    facts.state_format = hypervisor::state_format(&found.hypervisor, stage.guest());
    let settings = settings.filter(|_| facts.memory_file.is_some());
    let compressed = match (memory, settings) {
        (Some(memory), Some(settings)) => {
            Some(kept::compress(hm, &stage, &facts, memory, settings, &mut call)?)
        }
        _ => None,
    };

    // Durable, then visible, then acknowledged.
    call.report(Phase::Syncing, 0, 0)?;
    stage.sync()?;
    let mut snapshot = snapshot(request, &found, &stage, created_at, settings)?;
    if let Some(compressed) = compressed {
        snapshot.compression_state = Some(CompressionState::Compressed);
        snapshot.compressed_size_bytes = Some(compressed.compressed_bytes);
        snapshot.uncompressed_size_bytes = Some(compressed.raw_bytes);
    }
    let is_to_compress = snapshot.compression_state == Some(CompressionState::Compressing);
    let metadata = stored_metadata(&found, source.state, created_at);
    let record = Record::new(snapshot.clone(), metadata).to_bytes()?;
    let paused_ms = facts.paused_ms;
    let mut sidecar = Sidecar::new(facts, outside, inside_disks(&found));
    sidecar.memory_bytes = match snapshot.uncompressed_size_bytes {
        Some(bytes) => Some(bytes),
        None => memory_bytes(&stage, &sidecar.capture)?,
    };
    call.check()?;
    let job = stage.publish(&record, sidecar, is_to_compress)?;
    // The snapshot is there and its job is noted: what cannot start now, the next opener starts.
    drop(job);
    if let Some(image) = image {
        // Without the note, the next image is written whole.
        let _ = store.finish_image(&image);
    }
    let _ = hm.jobs().start(store, &snapshot.id);
    store.log().info(&snapshot.id, || {
        let pause = paused_ms.map(|ms| format!(", which was paused {ms:.0} ms")).unwrap_or_default();
        format!("captured instance {} as snapshot {}{pause}", found.id, snapshot.id)
    });
    Ok(snapshot)
}

/// The compression that will run: request before instance before library; none for Stopped.
fn settings(hm: &Hypeman, request: &CreateSnapshot, found: &Found) -> Result<Option<CompressionSettings>> {
    if request.kind == SnapshotKind::Stopped {
        return Ok(None);
    }
    let candidates =
        [request.compression.as_ref(), found.compression.as_ref(), hm.options().compression.as_ref()];
    CompressionConfig::resolve(candidates)
        .map_err(|error| error.context(format!("compression of instance {}", found.id)).about(&found.id))
}

fn check_state(hm: &Hypeman, kind: &SnapshotKind, found: &Found, source: &Source) -> Result<()> {
    let state = source.state;
    let refuse = |what: String| Err(Error::new(Kind::InvalidState, what).about(&found.id));
    match kind {
        SnapshotKind::Standby => {
            let allowed =
                matches!(state, InstanceState::Running | InstanceState::Paused | InstanceState::Standby);
            if !allowed {
                return refuse(format!(
                    "invalid state transition: standby snapshot requires source in Running, Paused or Standby, got {state}"
                ));
            }
        }
        SnapshotKind::Stopped if state != InstanceState::Stopped => {
            return refuse(format!(
                "invalid state transition: stopped snapshot requires source in Stopped, got {state}"
            ));
        }
        SnapshotKind::Stopped => {}
        SnapshotKind::Other(_) => kind.check_known()?,
    }
    // The server has no locks that we could share, so what it runs is its own unless the host says otherwise.
    if found.server.is_some() && source.vmm.is_some() && !hm.options().owns_server_instances {
        return refuse(format!(
            "instance {} is run by the hypeman server; stop that server and open the data directory with owns_server_instances",
            found.id
        ));
    }
    Ok(())
}

/// A volume that the guest writes lies outside the instance, so that no snapshot of it would hold it.
fn check_volumes(found: &Found) -> Result<()> {
    let volumes = found.server.iter().flat_map(|server| server.0.volumes.iter().flatten());
    if volumes.into_iter().any(|volume| !volume.readonly) {
        let why =
            format!("instance {} has a writable volume, which a snapshot does not hold; detach it", found.id);
        return Err(Error::new(Kind::NotSupported, why).about(&found.id));
    }
    Ok(())
}

/// Captures an instance without a VMM: a copy of its files.
fn capture_asleep(
    hm: &Hypeman,
    found: &Found,
    kind: &SnapshotKind,
    stage: &Stage,
    mut facts: Capture,
    call: &mut Call<'_>,
) -> Result<(Capture, Vec<OutsideDisk>)> {
    let root = found.directory.as_deref().map(Dir::open).transpose()?;
    let extent = if *kind == SnapshotKind::Standby { Extent::Whole } else { Extent::WithoutImages };
    let plan = Plan::make(found, root.as_ref(), stage.guest(), extent)?;
    if plan.is_empty() {
        let why = format!(
            "instance {} has no files to capture; register it with its directory, or with its disks",
            found.id
        );
        return Err(Error::new(Kind::InvalidState, why).about(&found.id));
    }
    let before = marks(found);
    plan.copy_still(hm.threads(), call)?;
    plan.copy_written(hm.threads(), call)?;
    if *kind == SnapshotKind::Standby
        && let Some(memory) = Memory::find(stage.guest())?
    {
        expand(hm, found, stage, &memory, call)?;
        facts.memory_file = memory.directory.join(&memory.name).to_str().map(str::to_owned);
    }
    // A VMM that was started meanwhile writes to the disks that were copied.
    let now = source(found, call.limit())?;
    if now.vmm.is_some() || marks(found) != before {
        let why = format!("instance {} was started while it was copied; try again", found.id);
        return Err(Error::new(Kind::Busy, why).about(&found.id));
    }
    Ok((facts, plan.outside))
}

/// The disks of `found` that lie in its directory, by their paths in it: a fork of the snapshot has them, too.
fn inside_disks(found: &Found) -> Vec<Disk> {
    let inside = |disk: &Disk| {
        let path = disk.path.strip_prefix(found.directory.as_deref()?).ok()?;
        Some(Disk { path: path.to_owned(), readonly: disk.readonly })
    };
    found.disks.iter().filter_map(inside).collect()
}

/// What changes when the vendor's server starts an instance, even if it has ended it again (upstream.md 2.5).
fn marks(found: &Found) -> [Option<(u64, SystemTime)>; 2] {
    let directory = found.directory.as_deref().filter(|_| found.server.is_some());
    ["metadata.json", CAPTURE_DIRECTORY].map(|name| {
        let metadata = directory?.join(name).symlink_metadata().ok()?;
        Some((metadata.ino(), metadata.modified().ok()?))
    })
}

/// Leaves the memory of a standby image in its raw form only: the source's own compression is not the snapshot's.
fn expand(hm: &Hypeman, found: &Found, stage: &Stage, memory: &Memory, call: &mut Call<'_>) -> Result<()> {
    let Some((algorithm, _)) = memory.compressed else { return Ok(()) };
    let place = memory.open_dir(stage.guest())?;
    let name = memory.compressed_name(algorithm);
    if memory.raw_bytes.is_none() {
        let compressed = place.read(&name)?;
        let raw = place.create_new(&memory.name)?;
        // No record speaks of it yet.
        let most = memory::MAX_IMAGE_BYTES;
        memory::decompress(&compressed, algorithm, &raw, most, hm.threads(), call.limit(), &|_, _| ())
            .map_err(|error| of_source(error, found, &memory.directory.join(&name)))?;
    }
    place.unlink(&name)
}

/// An error in the copy of a source's own memory image, told of the source: the copy is gone when it is read.
fn of_source(error: Error, found: &Found, image: &Path) -> Error {
    if error.kind() != Kind::Corrupt {
        return error.about(&found.id);
    }
    let image = found.directory.iter().map(|directory| directory.join(image)).next().unwrap_or_default();
    let why = format!(
        "the memory image of instance {}, {}, is damaged and cannot be captured",
        found.id,
        image.display()
    );
    Error::new(Kind::Corrupt, why).at(image).about(&found.id)
}

fn snapshot(
    request: &CreateSnapshot,
    found: &Found,
    stage: &Stage,
    created_at: Timestamp,
    settings: Option<CompressionSettings>,
) -> Result<Snapshot> {
    Ok(Snapshot {
        id: stage.id().to_owned(),
        created_at,
        kind: request.kind.clone(),
        size_bytes: payload::size_bytes(stage.guest())?,
        source_hypervisor: found.hypervisor.clone(),
        source_instance_id: found.id.clone(),
        source_instance_name: found.name.clone(),
        compressed_size_bytes: None,
        compression: settings.map(CompressionConfig::from),
        compression_error: None,
        compression_state: Some(match settings {
            Some(_) => CompressionState::Compressing,
            None => CompressionState::None,
        }),
        name: request.name.clone(),
        tags: request.tags.clone().filter(|tags| !tags.is_empty()),
        uncompressed_size_bytes: None,
    })
}

/// The length of the memory file, which is raw still.
fn memory_bytes(stage: &Stage, facts: &Capture) -> Result<Option<u64>> {
    let Some(file) = &facts.memory_file else { return Ok(None) };
    Ok(stage.guest().stat(file)?.map(|stat| stat.size_bytes))
}

/// The source's metadata as its server would find it after a standby: without a process, stopped now.
fn stored_metadata(found: &Found, state: InstanceState, stopped_at: Timestamp) -> Value {
    let mut metadata = found.stored_metadata();
    if matches!(state, InstanceState::Running | InstanceState::Paused)
        && let Value::Object(object) = &mut metadata
    {
        object.insert("HypervisorPID".to_owned(), Value::Null);
        object.insert("StoppedAt".to_owned(), json!(stopped_at));
    }
    metadata
}
