//! Verifying snapshots: every defect is found, in the right file, and nothing unknown is called good.

mod world;

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use hypeman_core::{
    Call, Cancel, CompressionConfig, CreateSnapshot, DefectKind, FileStatus, Hypeman, InstanceState, Kind,
    RegisterInstance, VerifyReport,
};
use world::{World, create, flip, jobs_end, snapshot, standby, tree, wait};

const MEMORY: &str = "guest/snapshots/snapshot-latest/memory";

fn verify(hm: &Hypeman, id: &str) -> VerifyReport {
    hm.snapshots().verify(id, Call::default()).unwrap()
}

/// A snapshot of a few hundred bytes, with its checksums.
fn small(world: &World, hm: &Hypeman, compression: Option<&str>) -> (String, PathBuf) {
    let directory = world.temp.path().join("small");
    fs::create_dir_all(directory.join("snapshots/snapshot-latest")).unwrap();
    fs::write(directory.join("overlay.raw"), b"a small disk").unwrap();
    fs::write(directory.join("snapshots/snapshot-latest/memory"), b"small memory".repeat(4)).unwrap();
    let request = RegisterInstance { directory: Some(directory), ..RegisterInstance::new("small", "qemu") };
    hm.instances().register(&request).unwrap();
    let compression = compression.map(|algorithm| CompressionConfig::with(algorithm, None));
    let made = create(hm, "small", &CreateSnapshot { compression, ..standby() }).unwrap();
    wait(hm, &made.id);
    jobs_end(world);
    let directory = world.data().join("snapshots").join(&made.id);
    (made.id, directory)
}

/// The files that can be damaged: the payload and the sidecar.
fn files(directory: &Path) -> Vec<String> {
    let is_file = |path: &String| directory.join(path).is_file() && path != "snapshot.json";
    tree(directory).into_iter().filter(is_file).collect()
}

#[test]
fn every_flipped_bit_and_every_cut_is_found_in_the_right_file() {
    for compression in [None, Some("zstd"), Some("lz4")] {
        let world = World::new();
        let hm = world.open();
        let (id, directory) = small(&world, &hm, compression);
        assert!(verify(&hm, &id).is_good(), "{:?}", verify(&hm, &id));
        let files = files(&directory);
        assert_eq!(files.len(), 3, "{files:?}");
        for file in &files {
            let path = directory.join(file);
            let whole = fs::read(&path).unwrap();
            // Every bit of what is as it was captured; some of the sidecar and of compressed files, of which tests of
            // their own turn every one.
            let step = match file.rsplit_once('.') {
                Some((_, "json")) => 61,
                Some((_, "zst" | "lz4")) => 5,
                _ => 1,
            };
            let flips = (0..whole.len() * 8).step_by(step).map(Some);
            let cuts = (0..whole.len()).step_by(step);
            for (damage, len) in flips.zip(std::iter::repeat(whole.len())).chain(cuts.map(|len| (None, len)))
            {
                fs::write(&path, &whole[..len]).unwrap();
                if let Some(bit) = damage {
                    flip(&path, bit);
                }
                let report = verify(&hm, &id);
                assert!(!report.is_good(), "{file}: bit {damage:?}, cut to {len}");
                let named: Vec<_> = report.defects.iter().map(|defect| &defect.path).collect();
                assert!(!named.is_empty() && named.iter().all(|path| *path == file), "{report:?}");
            }
            fs::write(&path, &whole).unwrap();
        }
        assert!(verify(&hm, &id).is_good());
    }
}

#[test]
fn a_defect_says_where_and_what_it_is() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", None);
    jobs_end(&world);
    assert!(verify(&hm, &id).is_good());

    // The third and fourth of four chunks, the second of which reads as a hole.
    for byte in [(2 << 20) + 5, (3 << 20) + 7] {
        flip(&directory.join(MEMORY), byte * 8);
    }
    fs::remove_file(directory.join("guest/overlay.raw")).unwrap();
    fs::write(directory.join("guest/stranger"), "x").unwrap();
    let report = verify(&hm, &id);
    let found: Vec<_> = report
        .defects
        .iter()
        .map(|defect| (defect.path.as_str(), defect.kind, defect.offset, defect.size_bytes))
        .collect();
    assert_eq!(
        found,
        [
            ("guest/overlay.raw", DefectKind::Missing, None, None),
            (MEMORY, DefectKind::Content, Some(2 << 20), Some(2 << 20)),
            ("guest/stranger", DefectKind::Extra, None, None),
        ]
    );
    let statuses: Vec<_> = report.files.iter().map(|file| (file.path.as_str(), file.status)).collect();
    assert_eq!(statuses, [(MEMORY, FileStatus::Damaged), ("guest/stranger", FileStatus::Damaged)]);
}

#[test]
fn a_damaged_frame_is_named_beside_its_bytes() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", Some("zstd"));
    wait(&hm, &id);
    jobs_end(&world);
    flip(&directory.join(MEMORY).with_extension("zst"), 200 * 8);
    let kinds: Vec<_> = verify(&hm, &id).defects.into_iter().map(|defect| defect.kind).collect();
    assert_eq!(kinds, [DefectKind::Frame, DefectKind::Content]);
}

#[test]
fn what_has_no_checksums_is_unchecked_and_never_good() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", Some("zstd"));
    wait(&hm, &id);
    jobs_end(&world);
    // As a snapshot of the vendor's: no sidecar.
    fs::remove_file(directory.join("libhypeman.json")).unwrap();
    let report = verify(&hm, &id);
    assert!(report.defects.is_empty() && !report.is_good(), "{report:?}");
    assert!(report.files.iter().all(|file| file.status == FileStatus::Unchecked), "{report:?}");
    // Compressed memory has checksums of its own.
    flip(&directory.join(MEMORY).with_extension("zst"), 200 * 8);
    let report = verify(&hm, &id);
    assert_eq!(report.defects.iter().map(|defect| defect.kind).collect::<Vec<_>>(), [DefectKind::Frame]);
}

#[test]
fn a_record_that_cannot_be_used_is_a_defect_and_a_missing_payload_is_corrupt() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", None);
    jobs_end(&world);
    fs::write(directory.join("snapshot.json"), "{").unwrap();
    let report = verify(&hm, &id);
    assert_eq!(report.defects.len(), 1);
    assert_eq!(
        (report.defects[0].path.as_str(), report.defects[0].kind),
        ("snapshot.json", DefectKind::Metadata)
    );
    fs::remove_dir_all(directory.join("guest")).unwrap();
    assert_eq!(hm.snapshots().verify(&id, Call::default()).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(hm.snapshots().verify("nope", Call::default()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn checksums_that_a_closed_opener_left_are_finished_by_the_next() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = small(&world, &hm, None);
    hm.close();
    // As an opener leaves it that was killed before its job was done: the note, and no checksums.
    let path = directory.join("libhypeman.json");
    let mut sidecar: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    sidecar.as_object_mut().unwrap().remove("checksums");
    fs::write(&path, sidecar.to_string()).unwrap();
    fs::write(world.data().join("snapshots/.libhypeman/jobs").join(&id), "").unwrap();
    let next = world.open();
    jobs_end(&world);
    assert!(verify(&next, &id).is_good());
}

#[test]
fn checksums_follow_the_memory_through_its_forms_and_bless_no_stranger() {
    let world = World::new();
    let hm = world.open();
    let (id, directory) = snapshot(&world, &hm, "web", None);
    hm.snapshots().compress(&id, Some(&CompressionConfig::with("zstd", None))).unwrap();
    hm.snapshots().cancel_compression(&id).unwrap();
    jobs_end(&world);
    assert!(verify(&hm, &id).is_good(), "{:?}", verify(&hm, &id));
    fs::write(directory.join("guest/stranger"), "x").unwrap();
    hm.snapshots().compress(&id, Some(&CompressionConfig::with("lz4", None))).unwrap();
    wait(&hm, &id);
    jobs_end(&world);
    let report = verify(&hm, &id);
    assert_eq!(report.defects.len(), 1, "{report:?}");
    assert_eq!(report.defects[0].path, "guest/stranger");
    let memory = report.files.iter().find(|file| file.path.ends_with("memory.lz4")).unwrap();
    assert_eq!(memory.status, FileStatus::Good);
}

#[test]
fn a_verification_tells_how_far_it_is_and_can_be_ended() {
    let world = World::new();
    let hm = world.open();
    hm.instances().register(&world.vm("web", InstanceState::Standby)).unwrap();
    let made = create(&hm, "web", &standby()).unwrap();
    jobs_end(&world);
    let mut last = None;
    let call = Call::default().progress(|progress| {
        last = Some((progress.phase.as_str(), progress.bytes_done, progress.bytes_total));
        ControlFlow::Continue(())
    });
    assert!(hm.snapshots().verify(&made.id, call).unwrap().is_good());
    assert_eq!(last, Some(("verifying", 5 << 20, 5 << 20)));
    let token = Cancel::new();
    token.cancel();
    let error = hm.snapshots().verify(&made.id, Call::default().cancel(&token)).unwrap_err();
    assert_eq!(error.kind(), Kind::Cancelled);
}
