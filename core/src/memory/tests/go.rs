//! What a server written in Go does with our files, and we with its: `go/codec.go` is that server's decoders and
//! encoders, klauspost/compress and pierrec/lz4, as Debian packages them.

use std::path::PathBuf;

use super::super::{Image, verify};
use super::*;
use crate::error::Kind;

/// Where Debian puts the sources of Go packages.
const GOPATH: &str = "/usr/share/gocode";
const PACKAGES: [&str; 2] = ["klauspost/compress", "pierrec/lz4"];

/// The program in `go/`, built in a directory of its own.
struct Codec {
    directory: tempfile::TempDir,
}

impl Codec {
    /// `None`, with a word about it, where Go or its packages are missing and need not be there.
    fn build(test: &str) -> Option<Self> {
        let packages = PACKAGES.map(|package| Path::new(GOPATH).join("src/github.com").join(package));
        if !packages.iter().all(|package| package.is_dir()) {
            missing("go", &format!("are no Go packages {PACKAGES:?} in {GOPATH}"), test);
            return None;
        }
        if !has("go", test) {
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/memory/tests/go/codec.go");
        let output = Command::new("go")
            .envs([("GO111MODULE", "off"), ("GOPATH", GOPATH), ("GOFLAGS", "")])
            .env("GOCACHE", directory.path().join("cache"))
            .args(["build", "-o"])
            .args([directory.path().join("codec"), source])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(Self { directory })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs `compress` or `decompress` on `from`; fails with what the program says.
    fn run(&self, verb: &str, algorithm: Algorithm, level: i32, from: &File) -> Result<File, String> {
        let paths = [self.file("from"), self.file("to")];
        std::fs::write(&paths[0], bytes_of(from)).unwrap();
        let mut command = Command::new(self.file("codec"));
        let output =
            command.args([verb, algorithm.as_str(), &level.to_string()]).args(&paths).output().unwrap();
        match output.status.success() {
            true => Ok(File::open(&paths[1]).unwrap()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

/// Images whose ends, blocks and holes fall everywhere that a decoder may care about.
fn images() -> Vec<(&'static str, File)> {
    let block = 64 << 10;
    let with_holes = tempfile().unwrap();
    with_holes.write_all_at(&guest_memory(300_000), 5 << 20).unwrap();
    with_holes.write_all_at(&noise(70_000), 11 << 20).unwrap();
    with_holes.set_len(20 << 20).unwrap();
    let of = |memory: Vec<u8>| file_of(&memory);
    vec![
        ("nothing", of(vec![])),
        ("a byte", of(vec![7])),
        ("a block of noise", of(noise(block))),
        ("a block and a byte", of(guest_memory(block + 1))),
        ("blocks to the last byte", of(guest_memory(6 * MIB))),
        ("more than a block of the largest size", of(guest_memory(9 * MIB + 4097))),
        ("noise", of(noise(5 * MIB))),
        ("zeros", of(vec![0; 6 * MIB + 5])),
        ("holes", with_holes),
    ]
}

#[test]
fn a_server_in_go_reads_what_is_written_here() {
    let Some(codec) = Codec::build("a_server_in_go_reads_what_is_written_here") else { return };
    for (what, image) in images() {
        for settings in [zstd(1), zstd(5), zstd(12), lz4(0), lz4(2), lz4(9)] {
            let (file, _) = compressed(&image, settings);
            let back = codec.run("decompress", settings.algorithm, 0, &file);
            let back = back.unwrap_or_else(|why| panic!("{what}, {settings:?}: {why}"));
            assert!(bytes_of(&back) == bytes_of(&image), "{what}, {settings:?}");
        }
    }
}

#[test]
fn a_server_in_go_notices_damage_in_what_is_written_here() {
    let Some(codec) = Codec::build("a_server_in_go_notices_damage_in_what_is_written_here") else { return };
    for settings in [zstd(1), lz4(0)] {
        let (file, _) = compressed(&file_of(&noise(300_000)), settings);
        let mut bytes = bytes_of(&file);
        bytes[100_000] ^= 1;
        let refused = codec.run("decompress", settings.algorithm, 0, &file_of(&bytes));
        assert!(refused.is_err(), "{settings:?}: it read damaged memory");
        let cut = &bytes_of(&file)[..150_000];
        let refused = codec.run("decompress", settings.algorithm, 0, &file_of(cut));
        assert!(refused.is_err(), "{settings:?}: it read half an image");
    }
}

#[test]
fn what_a_server_in_go_writes_is_read_here() {
    let Some(codec) = Codec::build("what_a_server_in_go_writes_is_read_here") else { return };
    for (what, image) in images() {
        let memory = bytes_of(&image);
        for settings in [zstd(1), zstd(9), lz4(0), lz4(9)] {
            let CompressionSettings { algorithm, level } = settings;
            let file = codec.run("compress", algorithm, level, &image).unwrap();
            if memory.is_empty() && bytes_of(&file).is_empty() {
                // klauspost writes no frame for no memory.
                continue;
            }
            let most = memory.len() as u64;
            let back =
                decompressed(&file, algorithm, most).unwrap_or_else(|e| panic!("{what} {settings:?}: {e}"));
            assert!(bytes_of(&back) == memory, "{what}, {settings:?}");
            assert_eq!(
                verify(&file, algorithm, TWO, &Limit::default()).unwrap(),
                most,
                "{what}, {settings:?}"
            );
            match (algorithm, Image::compressed(file, algorithm)) {
                (Algorithm::Lz4, opened) => {
                    let mut page = vec![1; 4096.min(memory.len())];
                    let at = memory.len() - page.len();
                    opened.unwrap().read_at(at as u64, &mut page).unwrap();
                    assert!(page == memory[at..], "{what}, {settings:?}: the last page");
                }
                (Algorithm::Zstd, Ok(_)) => {}
                (Algorithm::Zstd, Err(error)) => {
                    assert_eq!(error.kind(), Kind::NotSupported, "{what}: {error}")
                }
            }
        }
    }
}
