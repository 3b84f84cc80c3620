//! What a job holds while it runs: 64 MiB and 16 MiB a thread, however long the image is.

use std::fs;

use super::*;

/// Says to this program, started again, which job it is to do: codec, level, MiB.
const JOB: &str = "HYPEMAN_TEST_FOOTPRINT";
const NAME: &str = "memory::tests::footprint::a_job_holds_64_mib_and_16_a_thread_however_long_the_image_is";
const THREADS: NonZeroUsize = NonZeroUsize::new(3).unwrap();

/// A line of /proc/self/status, in KiB.
fn status_kib(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').trim_end_matches("kB").trim().parse().unwrap()
}

/// The most memory that was held during `work`, beyond `before`, in KiB.
fn peak_kib(before: u64, work: impl FnOnce()) -> u64 {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    work();
    status_kib("VmHWM").saturating_sub(before)
}

/// Compresses and decompresses, and says how much each held.
#[expect(clippy::print_stdout, reason = "read by the test that started this")]
fn work(job: &str) {
    let words: Vec<&str> = job.split(' ').collect();
    let number = |word: &str| word.parse::<usize>().unwrap();
    let settings = if words[0] == "lz4" { lz4 } else { zstd }(number(words[1]) as i32);
    let (raw, out, back) = (tempfile().unwrap(), tempfile().unwrap(), tempfile().unwrap());
    for mib in 0..number(words[2]) {
        raw.write_all_at(&guest_memory(MIB), (mib * MIB) as u64).unwrap();
    }
    let (limit, progress) = (Limit::default(), |_, _| ());
    // Before both: what the allocator keeps of the first counts against the second.
    let before = status_kib("VmRSS");
    let compressing = peak_kib(before, || {
        compress(&raw, &out, settings, THREADS, &limit, &progress).unwrap();
    });
    let decompressing = peak_kib(before, || {
        decompress(&out, settings.algorithm, &back, u64::MAX, THREADS, &limit, &progress).unwrap();
    });
    println!("peaks {compressing} {decompressing}");
}

#[test]
fn a_job_holds_64_mib_and_16_a_thread_however_long_the_image_is() {
    if let Ok(job) = std::env::var(JOB) {
        return work(&job);
    }
    let peaks = |job: &str| -> [u64; 2] {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(JOB, job)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let peaks = said.lines().find_map(|line| line.split_once("peaks ")).expect(&said).1;
        let peaks: Vec<u64> = peaks.split(' ').map(|peak| peak.parse().unwrap()).collect();
        peaks.try_into().unwrap()
    };
    let most_kib = (64 + 16 * THREADS.get() as u64) << 10;
    let mut known = Vec::new();
    for job in ["zstd 1 16", "zstd 1 160", "zstd 9 32", "zstd 19 12", "lz4 0 160", "lz4 9 16"] {
        let found = peaks(job);
        assert!(found.iter().all(|peak| (1..most_kib).contains(peak)), "{job}: {found:?} KiB");
        known.push(found);
    }
    // Ten times the image, and nothing more for it: a page of the index and what the allocator keeps.
    let [short, long, ..] = known[..] else { panic!("{known:?}") };
    assert!(long.iter().zip(short).all(|(long, short)| *long < short + (4 << 10)), "{short:?} {long:?}");
}
