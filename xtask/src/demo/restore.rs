//! Brings a captured guest back without the library: the files are standard ones, so stock tools and QEMU suffice.

use std::fs;
use std::path::{Path, PathBuf};

use super::claims::{Claims, tell};
use super::examples::Taken;
use super::pauses::Pause;
use super::serial::{is_seamless, ticks};
use super::vm::{Boot, Vm};
use crate::Result;
use crate::program::{Run, program};

/// What the guest filled 24 MiB of its memory with (`init.sh`).
const WORDS: &str = "libhypeman demo: this line lives in guest memory";
const WORDS_BYTES: usize = 24 << 20;

/// Restores `taken` into a new QEMU in `directory` and checks that its guest goes on from `pause`.
pub fn restore(
    claims: &mut Claims,
    payload: &Path,
    taken: &Taken,
    pause: &Pause,
    boot: &Boot,
    directory: &Path,
) -> Result<()> {
    fs::create_dir_all(directory)?;
    let memory = directory.join("memory");
    let (tool, image) = decompress(&payload.join(&taken.memory_file), &memory)?;
    tell(&format!("{tool} -d {}", image.display()));
    claims.claim(
        format!("it is a standard file: {tool} gives back all {} bytes", taken.uncompressed_bytes),
        fs::metadata(&memory)?.len() == taken.uncompressed_bytes,
    );
    let lines = count_lines(&memory)?;
    // Lines that cross a page are cut by the page's header in QEMU's stream: about one in 80.
    let enough = WORDS_BYTES / (WORDS.len() + 1) * 9 / 10;
    claims.claim(
        format!("it holds what the guest wrote into its memory: {lines} lines of it"),
        lines >= enough,
    );

    let vm = Vm::boot_incoming(directory, boot, &payload.join("disk.raw"))?;
    vm.load(&memory, &taken.memory_format)?;
    let last = ticks(&pause.said).last().copied().unwrap_or_default();
    vm.serial().wait_for_tick(last + 3)?;
    let said = vm.serial().wait_for("MEM OK", |text| text.contains("MEM ").then(|| text.to_owned()))?;
    let whole = ticks(&format!("{}{said}", pause.said));
    let after = whole.iter().skip_while(|tick| **tick <= last).take(3);
    let after: Vec<_> = after.map(ToString::to_string).collect();
    tell(&format!(
        "a new QEMU loads it and goes on; the first guest had said tick {last} when it was captured"
    ));
    claims.claim(
        format!("the restored guest counts on: {} ...", after.join(", ")),
        is_seamless(&whole) && after.len() > 1,
    );
    claims.claim(
        "its memory still has the checksum from before the capture",
        said.contains("MEM OK") && !said.contains("MEM BAD"),
    );
    fs::remove_file(memory)?;
    Ok(())
}

/// Decompresses whichever compressed form of `raw` there is, with the tool that everybody has for it.
fn decompress(raw: &Path, into: &Path) -> Result<(&'static str, PathBuf)> {
    for (tool, suffix) in [("zstd", "zst"), ("lz4", "lz4")] {
        let image = PathBuf::from(format!("{}.{suffix}", raw.display()));
        if image.exists() {
            let output = fs::File::create(into)?;
            let done = program(tool).args(["-d", "-c", "-q"]).arg(&image).stdout(output).status()?;
            return if done.success() {
                Ok((tool, image))
            } else {
                Err(format!("{tool} ended with {done}").into())
            };
        }
    }
    Err(format!("neither {0}.zst nor {0}.lz4 is there", raw.display()).into())
}

fn count_lines(memory: &Path) -> Result<usize> {
    Ok(program("grep")
        .args(["--count", "--text", "--fixed-strings", WORDS])
        .arg(memory)
        .read()?
        .trim()
        .parse()?)
}
