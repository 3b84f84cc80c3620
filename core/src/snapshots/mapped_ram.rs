//! Where guest-physical memory lies in a file that QEMU wrote page by page to fixed places (mapped-ram).
//!
//! ```text
//! "QEVM" 3, 7 and the name of the machine type, capabilities     the head of any migration stream
//! 1, section, "ram", instance 0, version 4                       the section of memory
//! bytes of all blocks | 4
//! for each block: name, used bytes, 1, page size, place of its bitmap, place of its pages
//!     its pages; the next block's name follows behind them
//! ```
//! All numbers are big-endian; names are counted by a byte, that of the machine by four.

use crate::error::{Error, Kind, Result};
use crate::types::MemoryRange;

const MAGIC: [u8; 8] = *b"QEVM\0\0\0\x03";
const CONFIGURATION: u8 = 7;
/// The name, the instance and the version of the section of memory.
const RAM: [u8; 12] = *b"\x03ram\0\0\0\0\0\0\0\x04";
const MEMORY_SIZE_FLAG: u64 = 4;
/// What precedes the section of memory is far shorter.
const HEAD_BYTES: usize = 4096;
const MAX_BLOCKS: usize = 4096;
const PC_RAM: &str = "pc.ram";
/// Sizes are of whole pages, so that flags fit beneath.
const PAGE_BYTES: u64 = 4096;
const FOUR_GIB: u64 = 4 << 30;

/// A block of memory: the guest's own, or a device's.
struct Block {
    name: String,
    size_bytes: u64,
    pages_at: u64,
}

/// The ranges of guest memory in the file that `read` reads: at an offset, as much as there is of a buffer.
///
/// # Errors
/// `not_supported` for a machine type whose memory map is not known here, `corrupt` for what is not such a file.
pub(super) fn ranges(read: &dyn Fn(u64, &mut [u8]) -> Result<usize>) -> Result<Vec<MemoryRange>> {
    let mut head = vec![0; HEAD_BYTES];
    let filled = read(0, &mut head)?;
    head.truncate(filled);
    let mut words = Words(head.strip_prefix(&MAGIC).ok_or_else(|| damaged("it does not begin as one"))?);
    let machine = match words.byte() {
        Some(CONFIGURATION) => {
            let length = words.u32().and_then(|length| usize::try_from(length).ok());
            length.and_then(|length| words.text(length)).ok_or_else(|| damaged("its machine has no name"))?
        }
        _ => return Err(unknown("of an unnamed machine type")),
    };
    let ram = head.windows(RAM.len()).position(|window| window == RAM);
    let ram = ram.ok_or_else(|| damaged("it has no section of memory"))?;
    let blocks = blocks((ram + RAM.len()) as u64, read)?;
    let low_bytes = |bytes: u64| match machine.as_str() {
        // Where QEMU puts the gap for devices below 4 GiB unless max-ram-below-4g says otherwise (pc_q35.c, pc_piix.c).
        name if name.contains("q35") => Some(if bytes >= 0xb000_0000 { 0x8000_0000 } else { bytes }),
        name if name.contains("i440fx") => Some(if bytes >= 0xe000_0000 { 0xc000_0000 } else { bytes }),
        _ => None,
    };
    let main = main(&blocks).ok_or_else(|| unknown("whose guest has more than one block of memory"))?;
    let low_bytes =
        low_bytes(main.size_bytes).ok_or_else(|| unknown(&format!("of machine type {machine}")))?;
    let mut ranges = vec![MemoryRange { guest_address: 0, offset: main.pages_at, size_bytes: low_bytes }];
    if main.size_bytes > low_bytes {
        ranges.push(MemoryRange {
            guest_address: FOUR_GIB,
            offset: main.pages_at.saturating_add(low_bytes),
            size_bytes: main.size_bytes - low_bytes,
        });
    }
    Ok(ranges)
}

/// The guest's own memory: QEMU's default block, or the one object that the host named in its place.
fn main(blocks: &[Block]) -> Option<&Block> {
    let mut own = blocks.iter().filter(|block| block.name == PC_RAM || block.name.starts_with("/objects/"));
    own.next().filter(|_| own.next().is_none())
}

/// Reads the list of blocks, which begins at `at`.
fn blocks(mut at: u64, read: &dyn Fn(u64, &mut [u8]) -> Result<usize>) -> Result<Vec<Block>> {
    let mut total = None;
    let mut blocks: Vec<Block> = Vec::new();
    loop {
        let mut bytes = [0; 512];
        let filled = read(at, &mut bytes)?;
        let mut words = Words(bytes.get(..filled).unwrap_or_default());
        let left = match total {
            Some(left) => left,
            None => match words.u64() {
                Some(word) if word & (PAGE_BYTES - 1) == MEMORY_SIZE_FLAG => word & !MEMORY_SIZE_FLAG,
                _ => return Err(damaged("its section of memory has no size")),
            },
        };
        let block = words.block().filter(|block| {
            block.size_bytes > 0
                && block.size_bytes <= left
                && block.pages_at > at
                && blocks.len() < MAX_BLOCKS
        });
        let block = block.ok_or_else(|| damaged("its list of blocks makes no sense"))?;
        total = Some(left - block.size_bytes);
        at = block.pages_at.saturating_add(block.size_bytes);
        blocks.push(block);
        if total == Some(0) {
            return Ok(blocks);
        }
    }
}

/// Numbers and names from the front of what was read.
struct Words<'b>(&'b [u8]);

impl Words<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*first))
    }

    fn u64(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_be_bytes(*first))
    }

    fn text(&mut self, length: usize) -> Option<String> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(first.to_vec()).ok()
    }

    fn block(&mut self) -> Option<Block> {
        let length = self.byte()?;
        let name = self.text(length.into())?;
        let size_bytes = self.u64()?;
        let version = self.u32()?;
        let [_page_bytes, _bitmap_at, pages_at] = [self.u64()?, self.u64()?, self.u64()?];
        (version == 1).then_some(Block { name, size_bytes, pages_at })
    }
}

fn damaged(what: &str) -> Error {
    let why = format!("the memory file is not one of QEMU's mapped-ram: {what}; use another snapshot");
    Error::new(Kind::Corrupt, why)
}

fn unknown(what: &str) -> Error {
    let why = format!(
        "the memory file (qemu-mapped-ram, {what}) does not say which guest-physical addresses it holds; read it by file offsets"
    );
    Error::new(Kind::NotSupported, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// The head of a file as QEMU 10 writes it, and the offsets of the pages of its blocks.
    fn file(machine: &str, blocks: &[(&str, u64)]) -> (Vec<(u64, Vec<u8>)>, Vec<u64>) {
        let mut first = MAGIC.to_vec();
        first.push(CONFIGURATION);
        first.extend((machine.len() as u32).to_be_bytes());
        first.extend(machine.as_bytes());
        first.extend(b"\x05\x1aconfiguration/capabilities\0\0\0\x01\0\0\0\x01\x0amapped-ram");
        first.extend([1, 0, 0, 0, 2]);
        first.extend(RAM);
        let total: u64 = blocks.iter().map(|(_, bytes)| bytes).sum();
        first.extend((total | MEMORY_SIZE_FLAG).to_be_bytes());
        let (mut parts, mut places, mut at) = (Vec::new(), Vec::new(), 0);
        for (name, bytes) in blocks {
            first.push(name.len() as u8);
            first.extend(name.as_bytes());
            first.extend(bytes.to_be_bytes());
            first.extend(1_u32.to_be_bytes());
            let bitmap_at = at + first.len() as u64 + 24;
            let pages_at = (bitmap_at + bytes / 4096 / 8).next_multiple_of(MIB);
            for word in [4096, bitmap_at, pages_at] {
                first.extend(word.to_be_bytes());
            }
            places.push(pages_at);
            parts.push((at, std::mem::take(&mut first)));
            at = pages_at + bytes;
        }
        (parts, places)
    }

    fn ranges_of(parts: &[(u64, Vec<u8>)]) -> Result<Vec<MemoryRange>> {
        ranges(&|at, buffer| {
            buffer.fill(0);
            for (place, bytes) in parts {
                for (byte, here) in bytes.iter().zip(*place..) {
                    if let Some(to) = here.checked_sub(at).and_then(|to| buffer.get_mut(to as usize)) {
                        *to = *byte;
                    }
                }
            }
            Ok(buffer.len())
        })
    }

    #[test]
    fn memory_below_the_gap_lies_in_one_piece_and_more_of_it_behind_4_gib() {
        let (parts, places) = file("pc-q35-10.0", &[("vga.vram", 16 * MIB), ("pc.ram", 256 * MIB)]);
        let one = MemoryRange { guest_address: 0, offset: places[1], size_bytes: 256 * MIB };
        assert_eq!(ranges_of(&parts).unwrap(), [one]);

        for (machine, low) in [("pc-q35-10.0", 2048 * MIB), ("pc-i440fx-9.2", 3072 * MIB)] {
            let (parts, places) = file(machine, &[("/objects/mem", 8192 * MIB), ("pc.bios", 256 << 10)]);
            let low_range = MemoryRange { guest_address: 0, offset: places[0], size_bytes: low };
            let high_range = MemoryRange {
                guest_address: FOUR_GIB,
                offset: places[0] + low,
                size_bytes: 8192 * MIB - low,
            };
            assert_eq!(ranges_of(&parts).unwrap(), [low_range, high_range], "{machine}");
        }
    }

    #[test]
    fn what_is_not_known_for_certain_is_refused() {
        let kind = |parts: &[(u64, Vec<u8>)]| ranges_of(parts).unwrap_err().kind();
        assert_eq!(kind(&file("virt-10.0", &[("mach-virt.ram", MIB)]).0), Kind::NotSupported);
        assert_eq!(kind(&file("virt-10.0", &[("pc.ram", MIB)]).0), Kind::NotSupported);
        let two = [("/objects/a", 64 * MIB), ("/objects/b", 64 * MIB)];
        assert_eq!(kind(&file("pc-q35-10.0", &two).0), Kind::NotSupported);
    }

    #[test]
    fn every_cut_or_damaged_head_is_an_error_or_says_the_same() {
        let (parts, _) = file("pc-q35-10.0", &[("vga.vram", 16 * MIB), ("pc.ram", 256 * MIB)]);
        let sound = ranges_of(&parts).unwrap();
        for (part, at) in (0..parts.len()).flat_map(|part| (0..parts[part].1.len()).map(move |at| (part, at)))
        {
            let mut cut = parts.clone();
            cut[part].1.truncate(at);
            // What lies behind a cut reads as zeros here.
            let is_whole = parts[part].1[at..].iter().all(|byte| *byte == 0);
            assert_eq!(ranges_of(&cut).is_ok(), is_whole, "cut at byte {at} of block {part}");
            let mut damaged = parts.clone();
            damaged[part].1[at] ^= 0x80;
            match ranges_of(&damaged) {
                // Bytes that say nothing of places: the machine's version, capabilities, the name of a device's memory.
                Ok(ranges) => assert!(ranges.iter().all(|range| range.size_bytes > 0) && !sound.is_empty()),
                Err(error) => assert!(matches!(error.kind(), Kind::Corrupt | Kind::NotSupported)),
            }
        }
    }
}
