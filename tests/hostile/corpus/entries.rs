//! What an enemy who can write to a data directory puts there.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use hypeman_core::Hypeman;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use twox_hash::XxHash3_64;

use crate::scene::{directory, open, snapshot, standby_vm};

const MEMORY: &str = "guest/snapshots/snapshot-latest/memory";
const ZEROS: u64 = 4 << 30;

/// Given the directory of a good snapshot and that of the canary, makes it an evil one.
type Tamper = fn(&Path, &Path);

/// Each entry, and whether its memory is compressed before.
const ENTRIES: &[(&str, Option<&str>, Tamper)] = &[
    ("good", None, |_, _| {}),
    ("good-zstd", Some("zstd"), |_, _| {}),
    ("good-lz4", Some("lz4"), |_, _| {}),
    ("record-is-a-link", None, |at, canary| link(&canary.join("record"), &at.join("snapshot.json"))),
    ("record-is-a-pipe", None, |at, _| pipe(&at.join("snapshot.json"))),
    ("record-is-a-directory", None, |at, _| {
        fs::remove_file(at.join("snapshot.json")).unwrap();
        fs::create_dir(at.join("snapshot.json")).unwrap();
    }),
    ("record-is-empty", None, |at, _| fs::write(at.join("snapshot.json"), "").unwrap()),
    ("record-is-no-utf8", None, |at, _| rewrite(at, |text| text.replacen("Standby", "St\u{fffd}", 1))),
    ("record-has-another-id", None, |at, _| record(at, |record| record["snapshot"]["id"] = json!("other"))),
    ("record-has-two-ids", None, |at, _| {
        rewrite(at, |text| text.replacen("{\n    \"id\"", "{\n    \"id\": \"x\",\n    \"id\"", 1))
    }),
    ("record-has-case-twins", None, |at, _| {
        rewrite(at, |text| text.replacen("{\n    \"id\"", "{\n    \"ID\": \"../../canary\",\n    \"id\"", 1));
    }),
    ("record-is-2000000-deep", None, |at, _| {
        let deep = format!("{}{}", "[".repeat(2_000_000), "]".repeat(2_000_000));
        rewrite(at, |text| {
            text.replacen("\"stored_metadata\": {", &format!("\"stored_metadata\": {{\"deep\": {deep},"), 1)
        });
    }),
    ("record-is-5-mib", None, |at, _| rewrite(at, |text| text + &" ".repeat(5 << 20))),
    ("record-has-a-huge-size", None, |at, _| {
        record(at, |record| record["snapshot"]["size_bytes"] = json!(u64::MAX))
    }),
    ("record-has-a-number-past-all", None, |at, _| {
        rewrite(at, |text| text.replacen("\"size_bytes\": ", "\"size_bytes\": 1e400, \"x\": ", 1))
    }),
    ("record-names-another-instance", None, |at, _| {
        record(at, |record| record["snapshot"]["source_instance_id"] = json!("../../canary"));
    }),
    ("record-has-a-kind-of-tomorrow", None, |at, _| {
        record(at, |record| record["snapshot"]["kind"] = json!("Frozen"))
    }),
    ("payload-is-a-link", None, |at, canary| link(canary, &at.join("guest"))),
    ("payload-is-missing", None, |at, _| fs::remove_dir_all(at.join("guest")).unwrap()),
    ("memory-is-a-link", None, |at, canary| link(&canary.join("secret"), &at.join(MEMORY))),
    ("memory-is-a-pipe", None, |at, _| pipe(&at.join(MEMORY))),
    ("disk-is-a-hard-link", None, |at, canary| {
        let disk = at.join("guest/overlay.raw");
        fs::remove_file(&disk).unwrap();
        fs::hard_link(canary.join("secret"), disk).unwrap();
    }),
    ("a-link-leads-out", None, |at, canary| symlink(canary.join("secret"), at.join("guest/link")).unwrap()),
    ("a-link-leads-up", None, |at, _| symlink("../../../../canary/secret", at.join("guest/link")).unwrap()),
    ("a-link-leads-out-of-a-vendors", None, |at, canary| {
        fs::remove_file(at.join("libhypeman.json")).unwrap();
        symlink(canary.join("secret"), at.join("guest/link")).unwrap();
    }),
    ("a-stranger-lies-in-the-payload", None, |at, _| fs::write(at.join("guest/stranger"), "x").unwrap()),
    ("a-qcow2-header-in-a-raw-disk", None, |at, _| qcow2(at)),
    ("a-qcow2-header-in-a-vendors-raw-disk", None, |at, _| {
        fs::remove_file(at.join("libhypeman.json")).unwrap();
        qcow2(at);
    }),
    ("sidecar-is-a-link", None, |at, canary| link(&canary.join("record"), &at.join("libhypeman.json"))),
    ("sidecar-is-broken", None, |at, _| fs::write(at.join("libhypeman.json"), "{").unwrap()),
    ("sidecar-is-of-tomorrow", None, |at, _| {
        sidecar(at, |sidecar| sidecar["format"] = json!(4_000_000_000_u32))
    }),
    ("sidecar-has-a-disk-outside", None, |at, canary| {
        sidecar(at, |sidecar| {
            sidecar["disks"] =
                json!([{ "payload": "overlay.raw", "source": canary.join("secret"), "readonly": false }]);
        });
    }),
    ("sidecar-has-a-disk-above", None, |at, _| {
        sidecar(at, |sidecar| {
            sidecar["disks"] =
                json!([{ "payload": "../../../canary/secret", "source": "/disk", "readonly": false }]);
        });
    }),
    ("sidecar-has-huge-chunks", None, |at, _| {
        sidecar(at, |sidecar| sidecar["checksums"]["chunk_bytes"] = json!(1_u64 << 62));
    }),
    ("sidecar-has-tiny-chunks", None, |at, _| {
        sidecar(at, |sidecar| sidecar["checksums"]["chunk_bytes"] = json!(1))
    }),
    ("sidecar-has-50000-files", None, |at, _| {
        sidecar(at, |sidecar| {
            let file = |n: u32| json!({ "path": format!("../{n}"), "size_bytes": u64::MAX, "chunks": "" });
            sidecar["checksums"]["files"] = (0..50_000).map(file).collect();
        });
    }),
    ("zstd-of-4-gib-of-zeros", None, |at, _| {
        // 29,000:1 and legitimate: guests are mostly zeros.
        vendors(at, "zst", &[zstd_zeros(ZEROS / 4, ZEROS / 4), zstd_zeros(ZEROS / 4, ZEROS / 4)].concat());
    }),
    ("zstd-that-holds-more-than-it-says", None, |at, _| vendors(at, "zst", &zstd_zeros(1 << 20, 1 << 30))),
    ("zstd-that-holds-less-than-it-says", None, |at, _| vendors(at, "zst", &zstd_zeros(1 << 30, 1 << 20))),
    ("zstd-with-a-window-of-2-gib", None, |at, _| {
        vendors(
            at,
            "zst",
            &[&0xfd2f_b528_u32.to_le_bytes()[..], &[0, 21 << 3], &block(true, 1, 1 << 20), &[0]].concat(),
        );
    }),
    ("zstd-with-a-seek-table-of-4-billion", None, |at, _| {
        let table = [
            &0x184d_2a5e_u32.to_le_bytes()[..],
            &9_u32.to_le_bytes(),
            &u32::MAX.to_le_bytes(),
            &[0x80],
            &0x8f92_eab1_u32.to_le_bytes(),
        ];
        vendors(at, "zst", &[zstd_zeros(1 << 20, 1 << 20), table.concat()].concat());
    }),
    ("zstd-that-is-cut", Some("zstd"), |at, _| {
        let path = at.join(MEMORY).with_extension("zst");
        let whole = fs::read(&path).unwrap();
        fs::write(path, &whole[..whole.len() - 7]).unwrap();
    }),
    ("zstd-of-noise", None, |at, _| vendors(at, "zst", &[0xa5; 4096])),
    ("lz4-that-says-16-exbibytes", None, |at, _| vendors(at, "lz4", &lz4(Some(u64::MAX), 64 << 10))),
    ("lz4-block-of-4-gib", None, |at, _| vendors(at, "lz4", &lz4(None, 0x7fff_ffff))),
    ("lz4-of-noise", None, |at, _| vendors(at, "lz4", &[0x5a; 4096])),
];

/// Builds the store in `run`, with its instance and its canary. Returns each entry's label and id.
pub fn build(run: &Path) -> Vec<(String, String)> {
    let canary = run.join("canary");
    fs::create_dir_all(&canary).unwrap();
    fs::write(canary.join("secret"), "no one reads or writes this").unwrap();
    fs::write(canary.join("record"), "{}").unwrap();
    let hm = open(&run.join("data")).unwrap();
    let memory = [b"guest memory ".repeat(10_000), vec![0; 300_000]].concat();
    standby_vm(&hm, "web", &run.join("web"), b"a disk", &memory);
    let labels = ENTRIES.iter().map(|(label, compression, tamper)| {
        let id = made(&hm, *compression);
        tamper(&directory(&hm, &id), &canary);
        ((*label).to_owned(), id)
    });
    let mut labels: Vec<_> = labels.collect();
    hm.close();
    // Ids that no one gave out.
    for (label, id) in
        [("id-above", "..\u{2f}canary"), ("id-of-our-own", ".libhypeman"), ("id-of-no-one", "nosuch")]
    {
        labels.push((label.to_owned(), id.to_owned()));
    }
    labels
}

fn made(hm: &Hypeman, compression: Option<&str>) -> String {
    snapshot(hm, "web", None, compression).id
}

fn link(to: &Path, at: &Path) {
    if at.is_dir() {
        fs::remove_dir_all(at).unwrap()
    } else {
        fs::remove_file(at).unwrap()
    }
    symlink(to, at).unwrap();
}

fn pipe(at: &Path) {
    fs::remove_file(at).unwrap();
    mkfifo(at, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
}

fn rewrite(at: &Path, change: impl FnOnce(String) -> String) {
    let path = at.join("snapshot.json");
    let text = fs::read_to_string(&path).unwrap();
    let changed = change(text.clone());
    assert!(changed != text, "{}: nothing changed", at.display());
    let bytes: Vec<u8> = changed.bytes().map(|byte| if byte == 0xef { 0xff } else { byte }).collect();
    fs::write(path, bytes).unwrap();
}

fn record(at: &Path, change: impl FnOnce(&mut Value)) {
    rewrite(at, |text| {
        let mut value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        serde_json::to_string_pretty(&value).unwrap()
    });
}

/// An enemy can seal what it wrote: the seal is against damage, not against forgers.
fn sidecar(at: &Path, change: impl FnOnce(&mut Value)) {
    let path = at.join("libhypeman.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    value["sidecar_xxh3"] = json!("0000000000000000");
    let text = serde_json::to_string_pretty(&value).unwrap();
    let seal = format!("{:016x}", XxHash3_64::oneshot(text.as_bytes()));
    fs::write(
        path,
        text.replacen("\"sidecar_xxh3\": \"0000000000000000", &format!("\"sidecar_xxh3\": \"{seal}"), 1),
    )
    .unwrap();
}

fn qcow2(at: &Path) {
    let disk = File::options().write(true).open(at.join("guest/overlay.raw")).unwrap();
    disk.write_all_at(b"QFI\xfb", 0).unwrap();
}

/// A snapshot as the vendor writes them, without a sidecar, whose memory is `bytes` in a compressed form.
fn vendors(at: &Path, extension: &str, bytes: &[u8]) {
    fs::remove_file(at.join("libhypeman.json")).unwrap();
    fs::remove_file(at.join(MEMORY)).unwrap();
    File::create(at.join(MEMORY).with_extension(extension)).unwrap().write_all(bytes).unwrap();
    let algorithm = if extension == "zst" { "zstd" } else { "lz4" };
    record(at, |record| {
        record["snapshot"]["compression_state"] = json!("compressed");
        record["snapshot"]["compression"] = json!({ "enabled": true, "algorithm": algorithm, "level": 1 });
        record["snapshot"]["compressed_size_bytes"] = json!(bytes.len());
    });
}

/// A zstd frame that says it holds `says` bytes and holds `holds` zeros, in RLE blocks of 128 KiB.
fn zstd_zeros(says: u64, holds: u64) -> Vec<u8> {
    let mut frame = [&0xfd2f_b528_u32.to_le_bytes()[..], &[0xc0, 7 << 3], &says.to_le_bytes()].concat();
    let blocks = holds / (128 << 10);
    for n in 1..=blocks {
        frame.extend(block(n == blocks, 1, 128 << 10));
        frame.push(0);
    }
    frame
}

fn block(is_last: bool, kind: u32, size: u32) -> [u8; 3] {
    let head = u32::from(is_last) | kind << 1 | size << 3;
    [head as u8, (head >> 8) as u8, (head >> 16) as u8]
}

/// An lz4 frame of independent blocks that says how much it holds, and whose first block says it is so long.
fn lz4(says: Option<u64>, block_bytes: u32) -> Vec<u8> {
    let mut descriptor = vec![if says.is_some() { 0x68 } else { 0x60 }, 0x40];
    descriptor.extend(says.into_iter().flat_map(u64::to_le_bytes));
    let check = (twox_hash::XxHash32::oneshot(0, &descriptor) >> 8) as u8;
    [&0x184d_2204_u32.to_le_bytes()[..], &descriptor, &[check], &block_bytes.to_le_bytes(), &[0; 64]].concat()
}
