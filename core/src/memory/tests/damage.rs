//! Damage is found, or does no harm; bombs are refused.

use super::super::compress::{Written, check, write};
use super::super::{format, verify};
use super::*;
use crate::error::Kind;

/// A small image with every kind of frame, and its compressed form.
fn small(settings: CompressionSettings) -> (Vec<u8>, Vec<u8>) {
    let mut memory = guest_memory(1500);
    memory.extend(noise(200));
    memory.resize(3 * 65_536, 0);
    memory.extend(noise(100));
    let file = bytes_of(&compressed(&file_of(&memory), settings).0);
    (memory, file)
}

/// Decompresses `file`: what comes out is `memory`, or nothing does and the file is called corrupt.
fn is_harmless(file: &[u8], algorithm: Algorithm, memory: &[u8], what: &str) -> bool {
    match decompressed(&file_of(file), algorithm, memory.len() as u64) {
        Ok(back) => {
            assert!(bytes_of(&back) == memory, "{what}: other memory came out");
            true
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
            false
        }
    }
}

#[test]
fn every_flipped_bit_is_found_or_does_no_harm() {
    for settings in [zstd(1), lz4(0)] {
        let (memory, file) = small(settings);
        let (mut found, mut harmless) = (0, 0);
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                match is_harmless(&damaged, settings.algorithm, &memory, &format!("bit {bit} of byte {at}")) {
                    true => harmless += 1,
                    false => found += 1,
                }
            }
        }
        assert!(found > 0 && harmless > 0, "{found} {harmless}");
    }
}

#[test]
fn verify_finds_every_flipped_bit_of_a_zstd_file() {
    let (_, file) = small(zstd(1));
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            let verified = verify(&file_of(&damaged), Algorithm::Zstd, TWO, &Limit::default());
            assert_eq!(verified.map_err(|error| error.kind()), Err(Kind::Corrupt), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn every_cut_is_found_or_does_no_harm() {
    for settings in [zstd(1), lz4(0)] {
        let (memory, file) = small(settings);
        for len in 0..file.len() {
            is_harmless(&file[..len], settings.algorithm, &memory, &format!("cut to {len}"));
        }
    }
}

#[test]
fn an_image_cut_between_two_frames_is_not_a_shorter_image() {
    let memory = noise(300_000);
    for settings in [zstd(1), lz4(0)] {
        let file = bytes_of(&compressed(&file_of(&memory), settings).0);
        // Noise is stored as it is: each cut near a frame's end has to be refused.
        for len in (60_000..memory.len()).filter(|len| len % 65_536 < 200) {
            assert!(!is_harmless(&file[..len], settings.algorithm, &memory, &format!("cut to {len}")));
        }
    }
}

#[test]
fn a_lost_or_damaged_index_costs_nothing_but_verify_says_so() {
    for settings in [zstd(1), lz4(0)] {
        let memory = guest_memory(3 * MIB);
        let file = bytes_of(&compressed(&file_of(&memory), settings).0);
        let index = format::open_index(settings.algorithm, &file_of(&file)).unwrap().unwrap();
        let begin = usize::try_from(index.begin().unwrap()).unwrap();
        let frames = usize::try_from(index.totals.frames).unwrap();
        assert!(is_harmless(&file[..begin], settings.algorithm, &memory, "nothing but the frames"));
        for at in [begin + 8, begin + 100, begin + 8 + 32 + frames * 16 + 10] {
            let mut damaged = file.clone();
            damaged[at] ^= 0xA5;
            assert!(is_harmless(&damaged, settings.algorithm, &memory, "a damaged index"));
            let strict = verify(&file_of(&damaged), settings.algorithm, TWO, &Limit::default());
            assert_eq!(strict.map_err(|error| error.kind()), Err(Kind::Corrupt));
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    for settings in [zstd(1), lz4(0)] {
        let memory = vec![0; 10 * MIB];
        let file = bytes_of(&compressed(&file_of(&memory), settings).0);
        let refuse = |file: &[u8], max_bytes: usize| {
            let error = decompressed(&file_of(file), settings.algorithm, max_bytes as u64).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt);
        };
        refuse(&file, memory.len() - 1);
        // Without its index, too.
        refuse(&file[..file.len() - 10], memory.len() - 1);
    }
}

#[test]
fn what_is_read_back_is_compared_with_what_was_compressed() {
    let (limit, silent) = (Limit::default(), &|_, _| ());
    for settings in [zstd(1), lz4(0)] {
        let (memory, other) = (guest_memory(500_000), noise(500_000));
        let out = tempfile().unwrap();
        let written = write(&file_of(&memory), &out, settings, TWO, &limit, silent).unwrap();
        check(&out, settings, &written, TWO, &limit, silent).unwrap();

        // A sound file of other memory.
        let (sound, _) = compressed(&file_of(&other), settings);
        let error = check(&sound, settings, &written, TWO, &limit, silent).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        let short = Written { raw_bytes: written.raw_bytes + 1, ..written };
        assert_eq!(check(&out, settings, &short, TWO, &limit, silent).unwrap_err().kind(), Kind::Corrupt);

        // A disk that wrote one bit wrong.
        let bytes = bytes_of(&out);
        for at in (0..bytes.len()).step_by(997) {
            out.write_all_at(&[bytes[at] ^ 4], at as u64).unwrap();
            let checked = check(&out, settings, &written, TWO, &limit, silent);
            assert_eq!(checked.map_err(|error| error.kind()), Err(Kind::Corrupt), "byte {at}");
            out.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
}

#[test]
fn hostile_bytes_are_refused_without_harm() {
    for algorithm in Algorithm::ALL {
        let magic = match algorithm {
            Algorithm::Zstd => 0xFD2F_B528_u32,
            Algorithm::Lz4 => 0x184D_2204,
        };
        for len in [0, 3, 4, 5, 8, 17, 100, 5000] {
            let mut hostile = magic.to_le_bytes().to_vec();
            hostile.extend(noise(5000));
            hostile.truncate(len);
            let error = decompressed(&file_of(&hostile), algorithm, u64::MAX).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{algorithm:?} {len}: {error}");
        }
    }
}
