//! Files that others wrote, as the vendor's server does by running the stock tools.

use super::super::verify;
use super::*;
use crate::error::Kind;

/// Compresses with a stock tool, and reads that.
fn read_back(tool: &str, arguments: &[&str], algorithm: Algorithm, memory: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let (plain, path) = (directory.path().join("memory"), directory.path().join("compressed"));
    std::fs::write(&plain, memory).unwrap();
    convert(tool, arguments, &plain, &path);
    let file = File::open(&path).unwrap();
    let back = decompressed(&file, algorithm, memory.len() as u64).unwrap();
    assert!(bytes_of(&back) == memory, "{tool} {arguments:?}");
    assert_eq!(verify(&file, algorithm, TWO, &Limit::default()).unwrap(), memory.len() as u64);
    if memory.len() > 1 {
        let error = decompressed(&file, algorithm, memory.len() as u64 - 1).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{tool} {arguments:?}: a byte too much");
        let bytes = bytes_of(&file);
        for len in [1, 5, 20, bytes.len() / 2, bytes.len() - 1] {
            let error = decompressed(&file_of(&bytes[..len]), algorithm, u64::MAX).unwrap_err();
            assert_eq!(error.kind(), Kind::Corrupt, "{tool} {arguments:?}, cut to {len}");
        }
    }
}

#[test]
fn what_zstd_writes_is_read() {
    if !has("zstd", "what_zstd_writes_is_read") {
        return;
    }
    for memory in [guest_memory(9 * MIB + 1), vec![0; 6 * MIB], guest_memory(1000), vec![]] {
        for arguments in
            [&["-1"] as &[&str], &["-3", "-T2", "-B524288"], &["-19", "--long"], &["-1", "--no-check"]]
        {
            read_back("zstd", arguments, Algorithm::Zstd, &memory);
        }
    }
}

#[test]
fn what_lz4_writes_is_read() {
    if !has("lz4", "what_lz4_writes_is_read") {
        return;
    }
    for memory in [guest_memory(9 * MIB + 1), noise(5 * MIB), vec![0; 6 * MIB], guest_memory(1000), vec![]] {
        for arguments in [
            &["-1"] as &[&str],
            &["--fast=1"],
            &["-9", "-BD"],
            &["-1", "-BD", "-B4", "-BX"],
            &["-B4", "--content-size", "--no-frame-crc"],
        ] {
            read_back("lz4", arguments, Algorithm::Lz4, &memory);
        }
    }
}

#[test]
fn several_files_in_one_are_read_to_the_end() {
    let memory = guest_memory(200_000);
    let twice = |file: Vec<u8>| file_of(&[&file[..], &file[..]].concat());
    let both = [&memory[..], &memory[..]].concat();

    let ours = bytes_of(&compressed(&file_of(&memory), lz4(0)).0);
    assert!(bytes_of(&decompressed(&twice(ours), Algorithm::Lz4, u64::MAX).unwrap()) == both);

    let mut foreign = Vec::with_capacity(memory.len());
    zstd_safe::compress(&mut foreign, &memory, 1).unwrap();
    assert!(bytes_of(&decompressed(&twice(foreign), Algorithm::Zstd, u64::MAX).unwrap()) == both);

    // Ours says how long it is, and so that something else follows it.
    let ours = bytes_of(&compressed(&file_of(&memory), zstd(1)).0);
    let error = decompressed(&twice(ours), Algorithm::Zstd, u64::MAX).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
}
