//! Our own guest (`tests/guest/guest.S`), built from source, and what it leaves in its memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use memchr::memmem;

/// Bytes of a page of the guest.
pub const PAGE_BYTES: usize = 4096;
/// Pages that the guest fills with its pattern and checks for ever, from `PATTERN_ADDRESS` on.
pub const PATTERN_PAGES: usize = 256;
const PATTERN_ADDRESS: u32 = 0x100_0000;
const MULTIPLIER: u32 = 0x9e37_79b1;
const SALT: u32 = 0x5a5a_1234;

/// Builds the guest into `directory` with gcc, and returns the path of its ELF.
pub fn build(directory: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest");
    let elf = directory.join("guest.elf");
    let gcc = Command::new("gcc")
        .args([
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,--build-id=none",
            "-Wl,-z,max-page-size=4096",
            "-Wl,-n",
        ])
        .arg("-T")
        .arg(sources.join("guest.ld"))
        .arg(sources.join("guest.S"))
        .arg("-o")
        .arg(&elf)
        .output()
        .expect("gcc is needed to build the guest: apt-get install gcc");
    assert!(gcc.status.success(), "gcc cannot build the guest: {}", String::from_utf8_lossy(&gcc.stderr));
    elf
}

/// What a captured memory holds of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Ticks since boot, from the state page.
    pub ticks: u64,
    /// Dwords of the pattern that the guest had found wrong.
    pub wrong: u64,
    /// Offset of the state page in the file.
    pub state_at: usize,
    /// Offset of the first page of the pattern in the file.
    pub pattern_at: usize,
}

/// Looks for the guest in the memory file of a QEMU capture, raw.
///
/// # Errors
/// Says what is missing or wrong: the state page, or the first page of the pattern that is not as the guest wrote it.
pub fn examine(memory: &[u8]) -> Result<Memory, String> {
    let mut found = memmem::find_iter(memory, b"HYPEGST1");
    let (Some(state_at), None) = (found.next(), found.next()) else {
        return Err("the memory must hold exactly one state page".into());
    };
    let word = |offset: usize| {
        let bytes =
            memory.get(state_at + offset..state_at + offset + 8).ok_or("the state page is cut off")?;
        Ok::<_, String>(u64::from_le_bytes(bytes.try_into().expect("8 bytes were taken")))
    };
    let pattern_at =
        memmem::find(memory, &pattern_page(0)).ok_or("the first page of the pattern is missing")?;
    // A stream has a header of 8 bytes before each page; a mapped-ram file has none.
    let stride = [PAGE_BYTES, PAGE_BYTES + 8]
        .into_iter()
        .find(|stride| page_at(memory, pattern_at + stride) == Some(&pattern_page(1)))
        .ok_or("page 1 of the pattern is not as the guest wrote it")?;
    for page in 2..PATTERN_PAGES {
        if page_at(memory, pattern_at + page * stride) != Some(&pattern_page(page)) {
            return Err(format!("page {page} of the pattern is not as the guest wrote it"));
        }
    }
    Ok(Memory { ticks: word(0x08)?, wrong: word(0x10)?, state_at, pattern_at })
}

fn page_at(memory: &[u8], offset: usize) -> Option<&[u8]> {
    memory.get(offset..offset + PAGE_BYTES)
}

/// Page `page` of the pattern, as the guest writes it.
pub fn pattern_page(page: usize) -> [u8; PAGE_BYTES] {
    let page = u32::try_from(page * PAGE_BYTES).expect("the pattern is small");
    let mut bytes = [0; PAGE_BYTES];
    for (dword, offset) in bytes.chunks_exact_mut(4).zip((0_u32..).step_by(4)) {
        let address = PATTERN_ADDRESS + page + offset;
        dword.copy_from_slice(&(address.wrapping_mul(MULTIPLIER) ^ SALT).to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream as QEMU's: a header of 8 bytes before each page.
    fn stream() -> Vec<u8> {
        let mut state = [0; PAGE_BYTES];
        state[..8].copy_from_slice(b"HYPEGST1");
        state[8] = 7;
        let mut stream = b"QEVM and devices".to_vec();
        for page in std::iter::once(state).chain((0..PATTERN_PAGES).map(pattern_page)) {
            stream.extend_from_slice(&[0; 8]);
            stream.extend_from_slice(&page);
        }
        stream
    }

    #[test]
    fn the_guest_is_found_in_a_stream() {
        let found = examine(&stream()).unwrap();
        assert_eq!((found.ticks, found.wrong), (7, 0));
    }

    #[test]
    fn one_flipped_bit_of_the_pattern_is_found() {
        let pattern_at = examine(&stream()).unwrap().pattern_at;
        for at in [0, 1, 2 * (PAGE_BYTES + 8), 255 * (PAGE_BYTES + 8) + PAGE_BYTES - 1] {
            let mut broken = stream();
            broken[pattern_at + at] ^= 0x10;
            assert!(examine(&broken).is_err(), "{at}");
        }
        assert!(examine(&stream()[..pattern_at + PAGE_BYTES]).is_err());
    }
}
