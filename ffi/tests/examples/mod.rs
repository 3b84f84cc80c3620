//! The program of `examples/` in C++, as its users run it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use hypeman_core::{Call, CompressionConfig, CreateSnapshot, Hypeman, RegisterInstance, SnapshotKind};
use serde_json::json;
use tempfile::TempDir;

use super::built;
use super::programs::{Language, root};
use super::{Linked, program};

const MIB: usize = 1 << 20;
const KEY: &[u8] = b"the-secret-key";
/// At the start, where two threads meet, behind zeros that are not read, and at the end.
const PLACES: [usize; 4] = [1, 4 * MIB - 5, 10 * MIB, 12 * MIB - KEY.len()];
/// What the guest has from address 0 on; it has the rest from 4 GiB on.
const LOW_BYTES: usize = 3 * MIB;

/// Noise that does not compress, then zeros, and the key in its places.
fn memory() -> Vec<u8> {
    let mut random = 1_u64;
    let mut noise = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random.to_le_bytes()[0]
    };
    let mut memory: Vec<_> = (0..9 * MIB).map(|_| noise()).collect();
    memory.resize(12 * MIB, 0);
    for at in PLACES {
        memory[at..][..KEY.len()].copy_from_slice(KEY);
    }
    memory
}

/// A data directory with snapshots of one VM of cloud-hypervisor, in each form of memory.
struct Store {
    place: TempDir,
    program: PathBuf,
    /// Raw, zstd, lz4.
    ids: Vec<String>,
}

impl Store {
    fn new(linked: Linked) -> Self {
        let place = tempfile::tempdir().unwrap();
        let source = root().join("../examples/memory-grep.cpp");
        let program = program(Language::Cpp17, &source, linked, &place);
        let image = place.path().join("vm/snapshots/snapshot-latest");
        fs::create_dir_all(&image).unwrap();
        fs::write(image.join("memory-ranges"), memory()).unwrap();
        fs::write(image.join("config.json"), "{}").unwrap();
        fs::write(image.join("state.json"), state()).unwrap();
        let hm = Hypeman::open(place.path().join("data")).unwrap();
        let directory = Some(place.path().join("vm"));
        let vm = RegisterInstance { directory, ..RegisterInstance::new("web", "cloud-hypervisor") };
        hm.instances().register(&vm).unwrap();
        let forms = [None, Some("zstd"), Some("lz4")];
        let ids = forms.map(|algorithm| {
            let compression = CompressionConfig {
                enabled: algorithm.is_some(),
                algorithm: algorithm.map(str::to_owned),
                level: None,
            };
            let given = CreateSnapshot {
                compression: Some(compression),
                ..CreateSnapshot::new(SnapshotKind::Standby)
            };
            hm.instances().snapshots().create("web", &given, Call::default()).unwrap().id
        });
        hm.finish(Call::default()).unwrap();
        Self { place, program, ids: ids.into() }
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn grep(&self, arguments: &[&str]) -> Output {
        Command::new(&self.program).arg(self.data()).args(arguments).output().unwrap()
    }

    /// Flips a byte of the noise in a file.
    fn damage(&self, id: &str, file: &str) {
        let image = self.data().join("snapshots").join(id).join("guest/snapshots/snapshot-latest");
        let path = image.join(file);
        let mut bytes = fs::read(&path).unwrap();
        bytes[6 * MIB] ^= 1;
        fs::write(path, bytes).unwrap();
    }
}

/// Where the guest has its memory, as cloud-hypervisor writes it down.
fn state() -> String {
    let ranges = [
        json!({ "gpa": 0, "length": LOW_BYTES }),
        json!({ "gpa": 4_u64 << 30, "length": 12 * MIB - LOW_BYTES }),
    ];
    let table = json!({ "memory_ranges": { "data": ranges } }).to_string();
    json!({ "snapshots": { "memory-manager": { "snapshot_data": { "state": table } } } }).to_string()
}

fn address(place: usize) -> String {
    if place < LOW_BYTES { format!("{place:#x}") } else { format!("{:#x}", (4 << 30) + place - LOW_BYTES) }
}

fn said(output: &Output) -> (String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    (out, err)
}

/// Requires that `out` has just these places of a snapshot, with the key, and counts them.
fn assert_found(out: &str, id: &str, places: &[usize]) {
    let mut lines = out.lines().filter(|line| line.starts_with(id));
    for place in places {
        let line = lines.next().unwrap_or_default();
        assert!(line.starts_with(&format!("{id} {} ", address(*place))), "{place:#x}: {out}");
        assert!(line.contains(std::str::from_utf8(KEY).unwrap()), "{out}");
    }
    let count = format!("{id}: {} found in ", places.len());
    assert!(lines.next().is_some_and(|line| line.starts_with(&count)), "{out}");
    assert_eq!(lines.next(), None);
}

#[test]
fn a_key_is_found_in_memory_of_every_form_wherever_it_lies() {
    if !built::found("g++", "a_key_is_found_in_memory_of_every_form_wherever_it_lies") {
        return;
    }
    for linked in [Linked::Shared, Linked::Sanitised] {
        let store = Store::new(linked);
        let key = std::str::from_utf8(KEY).unwrap();
        let (raw, zstd, lz4) = (&store.ids[0], &store.ids[1], &store.ids[2]);

        let all = store.grep(&[key]);
        let (out, err) = said(&all);
        assert_eq!((all.status.code(), err.as_str()), (Some(0), ""));
        for id in [raw, zstd, lz4] {
            assert_found(&out, id, &PLACES);
        }

        // It begins in what is not read.
        let bytes = KEY.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (out, _) = said(&store.grep(&[&format!("0x0000{bytes}"), zstd]));
        assert_found(&out, zstd, &PLACES[2..].iter().map(|place| place - 2).collect::<Vec<_>>());
        assert!(!out.contains(raw.as_str()) && !out.contains("in 12288 KiB"), "{out}");

        let none = store.grep(&["the-other-key", lz4]);
        assert_eq!(none.status.code(), Some(1), "{none:?}");

        // What lies elsewhere is found all the same.
        store.damage(lz4, "memory-ranges.lz4");
        let damaged = store.grep(&[key, lz4, raw]);
        let (out, err) = said(&damaged);
        assert_eq!(damaged.status.code(), Some(2), "{out}{err}");
        assert!(err.starts_with("memory-grep: ") && err.contains("memory-ranges.lz4"), "{err}");
        assert!(out.contains(&format!("{lz4} {} ", address(PLACES[0]))), "{out}");
        assert_found(&out, raw, &PLACES);
    }
}

#[test]
fn what_cannot_be_looked_for_is_refused() {
    if !built::found("g++", "what_cannot_be_looked_for_is_refused") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let source = root().join("../examples/memory-grep.cpp");
    let program = program(Language::Cpp17, &source, Linked::Shared, &place);
    let refused = |arguments: &[&str], words: &str| {
        let output = Command::new(&program).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).1.contains(words), "{arguments:?}: {output:?}");
    };
    refused(&["data"], "usage: memory-grep DATA_DIR");
    refused(&["data", "0x0000"], "no zeros to look for");
    refused(&["data", "0xabc"], "two digits each");
    refused(&[place.path().join("nowhere").to_str().unwrap(), "key"], "nowhere");
}
