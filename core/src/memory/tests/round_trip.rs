//! What is compressed comes back, by us and by the stock tools.

use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use super::super::verify;
use super::*;
use crate::call::Cancel;
use crate::error::Kind;

fn round_trip(memory: &[u8], settings: CompressionSettings) -> Compressed {
    let (file, made) = compressed(&file_of(memory), settings);
    let back = decompressed(&file, settings.algorithm, memory.len() as u64).unwrap();
    assert!(bytes_of(&back) == memory, "{settings:?}, {} bytes", memory.len());
    assert_eq!(verify(&file, settings.algorithm, TWO, &Limit::default()).unwrap(), memory.len() as u64);
    made
}

#[test]
fn every_size_comes_back() {
    for settings in [zstd(1), zstd(4), zstd(9), lz4(0)] {
        for len in [0, 1, 31, 4095, 4096, 32_768, 32_769, 65_535, 65_536, 65_537, 3 * MIB, 5 * MIB + 12_345] {
            round_trip(&guest_memory(len), settings);
            round_trip(&vec![0; len], settings);
            round_trip(&noise(len), settings);
        }
    }
}

#[test]
fn every_level_comes_back_and_higher_ones_are_no_waste() {
    let memory = guest_memory(2 * MIB + 77);
    let size = |settings| round_trip(&memory, settings).compressed_bytes;
    let zstd: Vec<_> = (1..=19).map(|level| size(zstd(level))).collect();
    let lz4: Vec<_> = (0..=9).map(|level| size(lz4(level))).collect();
    assert!(zstd[18] < zstd[0] && lz4[9] < lz4[0], "{zstd:?} {lz4:?}");
}

#[test]
fn lz4_levels_are_those_of_the_command() {
    let memory = guest_memory(MIB);
    let bytes = |level| bytes_of(&compressed(&file_of(&memory), lz4(level)).0);
    assert_eq!(bytes(0), bytes(1));
    assert_ne!(bytes(1), bytes(2));
    assert_ne!(bytes(2), bytes(3));
}

#[test]
fn more_frames_than_an_index_leaf_lists_come_back() {
    // At 64 KiB a frame and 254 frames a leaf: at least two full leaves and a short one.
    let memory = noise(40 * MIB + 1);
    for settings in [zstd(1), lz4(0)] {
        let made = round_trip(&memory, settings);
        assert!(made.compressed_bytes < made.raw_bytes + made.raw_bytes / 500, "{made:?}");
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let raw = file_of(&guest_memory(9 * MIB + 5));
    let with = |threads, settings| {
        let out = tempfile().unwrap();
        let threads = NonZeroUsize::new(threads).unwrap();
        compress(&raw, &out, settings, threads, &Limit::default(), &|_, _| ()).unwrap();
        bytes_of(&out)
    };
    for settings in [zstd(1), lz4(3)] {
        assert_eq!(with(1, settings), with(7, settings));
    }
}

#[test]
fn holes_are_not_read_and_come_back_as_holes() {
    const GIB: u64 = 1 << 30;
    let raw = tempfile().unwrap();
    raw.set_len(3 * GIB + 5).unwrap();
    let data = guest_memory(300_000);
    for at in [GIB / 2 + 4096, 2 * GIB, 3 * GIB - 300_000] {
        raw.write_all_at(&data, at).unwrap();
    }
    for (settings, most) in [(zstd(1), 500_000), (lz4(0), 15_000_000)] {
        let (file, made) = compressed(&raw, settings);
        assert!(made.compressed_bytes < most, "{made:?}");
        let back = decompressed(&file, settings.algorithm, u64::MAX).unwrap();
        assert_eq!(back.metadata().unwrap().len(), 3 * GIB + 5);
        assert!(back.metadata().unwrap().blocks() * 512 < 8 << 20, "{}", back.metadata().unwrap().blocks());
        let mut found = vec![0; data.len()];
        for at in [GIB / 2 + 4096, 2 * GIB, 3 * GIB - 300_000] {
            back.read_exact_at(&mut found, at).unwrap();
            assert!(found == data);
        }
    }
}

#[test]
fn zero_pages_that_were_written_come_back_as_holes() {
    let mut memory = noise(8 * MIB);
    memory[2 * MIB..6 * MIB].fill(0);
    for settings in [zstd(1), zstd(19), lz4(0)] {
        let (file, _) = compressed(&file_of(&memory), settings);
        let back = decompressed(&file, settings.algorithm, u64::MAX).unwrap();
        assert!(bytes_of(&back) == memory);
        assert!(back.metadata().unwrap().blocks() * 512 <= (4 * MIB + 128 * 1024) as u64);
    }
}

#[test]
fn the_stock_tools_read_it() {
    for (tool, settings) in
        [("zstd", zstd(1)), ("zstd", zstd(9)), ("zstd", zstd(19)), ("lz4", lz4(0)), ("lz4", lz4(9))]
    {
        if !has(tool, "the_stock_tools_read_it") {
            continue;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("memory.{}", settings.algorithm.extension()));
        let plain = directory.path().join("memory");
        for memory in [vec![], vec![0; 3 * MIB + 1], guest_memory(5 * MIB + 333), noise(200_000)] {
            std::fs::write(&path, bytes_of(&compressed(&file_of(&memory), settings).0)).unwrap();
            run(tool, &["-q"], [Path::new("-t"), &path]);
            convert(tool, &["-d"], &path, &plain);
            assert!(std::fs::read(&plain).unwrap() == memory, "{tool} {settings:?}");
        }
    }
}

#[test]
fn a_cancel_ends_it_within_a_frame_and_progress_ends_with_everything() {
    let raw = file_of(&noise(6 * MIB));
    for settings in [zstd(1), lz4(0)] {
        let (out, token) = (tempfile().unwrap(), Cancel::new());
        let limit = Limit::until(&token);
        let error = compress(&raw, &out, settings, TWO, &limit, &|_, _| token.cancel()).unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);

        let seen = Mutex::new(Vec::new());
        let (file, out) = (tempfile().unwrap(), tempfile().unwrap());
        let note = |done, all| seen.lock().unwrap().push((done, all));
        compress(&raw, &file, settings, TWO, &Limit::default(), &note).unwrap();
        let all = 6 * MIB as u64;
        assert_eq!(seen.lock().unwrap().last(), Some(&(all, all)));
        assert!(seen.lock().unwrap().iter().all(|&(done, of)| done <= all && of == all));

        let (token, algorithm) = (Cancel::new(), settings.algorithm);
        let limit = Limit::until(&token);
        let error =
            decompress(&file, algorithm, &out, u64::MAX, TWO, &limit, &|_, _| token.cancel()).unwrap_err();
        assert_eq!(error.kind(), Kind::Cancelled);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_no_space_and_the_caller_names_the_path() {
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    for settings in [zstd(1), lz4(0)] {
        let error =
            compress(&file_of(b"raw"), &full, settings, TWO, &Limit::default(), &|_, _| ()).unwrap_err();
        assert_eq!(error.kind(), Kind::NoSpace, "{error}");
        assert_eq!(error.at("/data/memory").path(), Some(Path::new("/data/memory")));
    }
}

#[test]
fn a_file_that_holds_something_is_not_written_over() {
    let error = compress(&file_of(b"raw"), &file_of(b"old"), zstd(1), TWO, &Limit::default(), &|_, _| ())
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
}
