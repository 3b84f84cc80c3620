//! Random access: every byte of every form is the byte that went in.

use std::thread;

use super::super::{Image, format};
use super::*;
use crate::error::Kind;
use crate::types::{ExtentKind, MemoryExtent};

/// Reads at many offsets and lengths, around every border that a frame may have, and compares.
fn reads_as(image: &Image, memory: &[u8], what: &str) {
    assert_eq!(image.raw_bytes(), memory.len() as u64, "{what}");
    let mut buffer = vec![0; 3 * 65_536 + 2];
    let grid = (0..memory.len()).step_by(65_536).flat_map(|at| [at.saturating_sub(1), at, at + 1, at + 4097]);
    let last = [memory.len().saturating_sub(1), memory.len(), memory.len() + 1, usize::MAX >> 1];
    for (number, at) in grid.chain(last).enumerate() {
        let len = [1, 4096, 65_536, 65_537, 5000, buffer.len()][number % 6];
        let expected = memory.get(at..).unwrap_or_default();
        let expected = &expected[..len.min(expected.len())];
        buffer.fill(0xAA);
        let read = image.read_at(at as u64, &mut buffer[..len]).unwrap();
        assert_eq!(read, expected.len(), "{what}: {len} bytes at {at}");
        assert!(&buffer[..read] == expected, "{what}: {len} bytes at {at}");
    }
}

fn open(file: File, settings: CompressionSettings) -> Image {
    Image::compressed(file, settings.algorithm).unwrap()
}

#[test]
fn reads_at_any_offset_are_the_raw_bytes_in_every_form() {
    for memory in [guest_memory(9 * MIB + 4097), vec![0; 3 * MIB], guest_memory(1000), vec![]] {
        reads_as(&Image::raw(file_of(&memory)).unwrap(), &memory, "raw");
        for settings in [zstd(1), zstd(5), zstd(9), zstd(12), lz4(0), lz4(9)] {
            let image = open(compressed(&file_of(&memory), settings).0, settings);
            reads_as(&image, &memory, &format!("{settings:?}, {} bytes", memory.len()));
        }
    }
}

#[test]
fn an_index_of_many_leaves_leads_to_every_frame() {
    let memory = noise(40 * MIB + 1);
    for settings in [zstd(1), lz4(0)] {
        let image = open(compressed(&file_of(&memory), settings).0, settings);
        reads_as(&image, &memory, &format!("{settings:?}"));
    }
}

#[test]
fn what_the_stock_tools_write_is_read_at_any_offset_or_refused() {
    let name = "what_the_stock_tools_write_is_read_at_any_offset_or_refused";
    let memory = guest_memory(9 * MIB + 4097);
    let directory = tempfile::tempdir().unwrap();
    let (plain, path) = (directory.path().join("memory"), directory.path().join("compressed"));
    std::fs::write(&plain, &memory).unwrap();
    let opened = |tool: &str, arguments: &[&str], algorithm| {
        convert(tool, arguments, &plain, &path);
        Image::compressed(File::open(&path).unwrap(), algorithm)
    };
    if has("lz4", name) {
        for arguments in [
            &["--fast=1"] as &[&str],
            &["-9", "-B4"],
            &["-1", "-BX"],
            &["-1", "-B4", "-BX", "--content-size", "--no-frame-crc"],
        ] {
            reads_as(&opened("lz4", arguments, Algorithm::Lz4).unwrap(), &memory, &format!("{arguments:?}"));
        }
        let linked = opened("lz4", &["-1", "-BD"], Algorithm::Lz4).err().unwrap();
        assert_eq!(linked.kind(), Kind::NotSupported, "{linked}");
    }
    if has("zstd", name) {
        let single = opened("zstd", &["-1"], Algorithm::Zstd).err().unwrap();
        assert_eq!(single.kind(), Kind::NotSupported, "{single}");
        assert!(single.message().contains("decompress it first"), "{single}");
    }
}

#[test]
fn readers_do_not_disturb_each_other() {
    let memory = guest_memory(20 * MIB);
    for settings in [zstd(1), lz4(0)] {
        let image = open(compressed(&file_of(&memory), settings).0, settings);
        thread::scope(|scope| {
            for reader in 0..4_usize {
                let (image, memory) = (&image, &memory);
                scope.spawn(move || {
                    let mut page = [0; 4096];
                    for turn in 0..2000 {
                        let at = (turn * 7919 + reader * 104_729) * 4096 % memory.len();
                        assert_eq!(image.read_at(at as u64, &mut page).unwrap(), 4096);
                        assert!(page == memory[at..at + 4096], "reader {reader}, byte {at}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_damaged_frame_is_an_error_with_its_offset_and_its_neighbours_stay_readable() {
    let memory = noise(10 * 65_536);
    for settings in [zstd(1), lz4(0)] {
        let mut file = bytes_of(&compressed(&file_of(&memory), settings).0);
        // Noise is stored as it is, so that this is in the middle of the fifth frame.
        let damaged_at = 4 * 65_536 + 30_000;
        file[damaged_at] ^= 1;
        let image = open(file_of(&file), settings);
        let mut page = [0; 4096];
        for frame in (0..10).chain([4, 3, 5]) {
            let at = frame * 65_536 + 8192;
            let read = image.read_at(at as u64, &mut page);
            if frame == 4 {
                let error = read.unwrap_err();
                assert_eq!(error.kind(), Kind::Corrupt);
                let offset: usize = error
                    .message()
                    .split_once("damaged at byte ")
                    .and_then(|(_, rest)| rest.split(':').next()?.parse().ok())
                    .unwrap();
                assert!(offset < damaged_at && damaged_at - offset < 65_536, "{error}");
            } else {
                assert_eq!(read.unwrap(), 4096);
                assert!(page == memory[at..at + 4096]);
            }
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_is_an_error_or_does_no_harm() {
    let mut memory = guest_memory(1500);
    memory.resize(3 * 65_536, 0);
    memory.extend(noise(100));
    for settings in [zstd(1), lz4(0)] {
        let file = bytes_of(&compressed(&file_of(&memory), settings).0);
        let (mut found, mut harmless) = (0, 0);
        for bit in 0..file.len() * 8 {
            let mut damaged = file.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut back = vec![0; memory.len() + 1];
            let read = Image::compressed(file_of(&damaged), settings.algorithm)
                .and_then(|image| image.read_at(0, &mut back));
            match read {
                Ok(read) => {
                    assert!(back[..read] == memory, "{settings:?}: bit {bit} changed the memory");
                    harmless += 1;
                }
                Err(error) => {
                    // A single frame that lost its size is one that can only be read from its start.
                    assert!(matches!(error.kind(), Kind::Corrupt | Kind::NotSupported), "bit {bit}: {error}");
                    found += 1;
                }
            }
        }
        assert!(found > 0 && harmless > 0, "{settings:?}: {found} {harmless}");
    }
}

#[test]
fn a_damaged_part_of_the_index_costs_nothing_but_time() {
    let memory = noise(40 * MIB);
    for settings in [zstd(1), lz4(0)] {
        let file = compressed(&file_of(&memory), settings).0;
        let index = format::open_index(settings.algorithm, &file).unwrap().unwrap();
        let mut file = bytes_of(&file);
        // In the second leaf of three, which is where the search begins.
        file[index.begin().unwrap() as usize + 8 + 4096 + 100] ^= 1;
        reads_as(&open(file_of(&file), settings), &memory, &format!("{settings:?}"));
    }
}

#[test]
fn extents_name_data_zeros_and_holes_without_a_gap() {
    let memory = [noise(65_536), vec![0; 4 * 65_536], noise(65_536)].concat();
    let zeros = MemoryExtent { offset: 65_536, size_bytes: 4 * 65_536, kind: ExtentKind::Zero };
    let data = |offset| MemoryExtent { offset, size_bytes: 65_536, kind: ExtentKind::Data };
    for settings in [zstd(1), lz4(0)] {
        let image = open(compressed(&file_of(&memory), settings).0, settings);
        assert_eq!(image.extents().unwrap(), [data(0), zeros, data(5 * 65_536)]);
    }
    let sparse = tempfile().unwrap();
    sparse.write_all_at(&memory[..65_536], 0).unwrap();
    sparse.write_all_at(&memory[..65_536], 5 * 65_536).unwrap();
    let extents = Image::raw(sparse).unwrap().extents().unwrap();
    // A file system without holes calls all of it data.
    let hole = MemoryExtent { kind: ExtentKind::Hole, ..zeros };
    assert!(extents == [data(0), hole, data(5 * 65_536)] || extents.len() == 1, "{extents:?}");
}
