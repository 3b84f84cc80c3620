//! Where the bytes of the memory file lie in the memory of a guest, slot by slot.

use super::super::image::GuestMemory;

/// Some bytes of guest memory: their place in the memory file, and in the memory of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) slot: u32,
    pub(super) slot_at: u64,
    pub(super) image_at: u64,
    pub(super) bytes: u64,
}

/// All of the memory file, in its order; `None` where some of it is in no slot.
pub(super) fn parts(memory: &GuestMemory) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut image_at = 0_u64;
    for range in &memory.ranges {
        let (mut gpa, end) = (range.gpa, range.gpa.checked_add(range.length)?);
        while gpa < end {
            let (mapping, inside) = memory.mappings.iter().find_map(|mapping| {
                let inside = gpa.checked_sub(mapping.gpa).filter(|inside| *inside < mapping.size)?;
                Some((mapping, inside))
            })?;
            let bytes = (mapping.size - inside).min(end - gpa);
            let slot_at = mapping.file_offset.checked_add(inside)?;
            slot_at.checked_add(bytes)?;
            parts.push(Part { slot: mapping.slot, slot_at, image_at, bytes });
            gpa += bytes;
            image_at = image_at.checked_add(bytes)?;
        }
    }
    Some(parts)
}

/// For each mapping, where its memory begins in the memory file; `None` where one is not there in one piece.
pub(super) fn offsets(memory: &GuestMemory) -> Option<Vec<u64>> {
    let parts = parts(memory)?;
    memory
        .mappings
        .iter()
        .map(|mapping| {
            let whole = parts.iter().find(|part| {
                part.slot == mapping.slot && part.slot_at == mapping.file_offset && part.bytes == mapping.size
            });
            whole.map(|part| part.image_at)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::image::{Mapping, Range};
    use super::*;

    fn memory(ranges: &[(u64, u64)], mappings: &[(u32, u64, u64, u64)]) -> GuestMemory {
        let ranges = ranges.iter().map(|&(gpa, length)| Range { gpa, length }).collect();
        let mappings = mappings
            .iter()
            .map(|&(slot, gpa, size, file_offset)| Mapping { slot, gpa, size, file_offset })
            .collect();
        GuestMemory { ranges, mappings }
    }

    #[test]
    fn each_byte_of_the_file_is_found_in_its_slot() {
        // One zone whose second half lies above a gap, and a range that spans two slots.
        let memory = memory(&[(40, 10), (0, 30)], &[(0, 0, 20, 0), (1, 40, 10, 30), (7, 20, 10, 0)]);
        let part = |slot, slot_at, image_at, bytes| Part { slot, slot_at, image_at, bytes };
        assert_eq!(parts(&memory).unwrap(), [part(1, 30, 0, 10), part(0, 0, 10, 20), part(7, 0, 30, 10)]);
        assert_eq!(offsets(&memory).unwrap(), [10, 0, 30]);
    }

    #[test]
    fn memory_without_a_slot_is_found_out_and_numbers_beyond_all_measure_too() {
        assert_eq!(parts(&memory(&[(0, 30)], &[(0, 0, 20, 0)])), None);
        assert_eq!(parts(&memory(&[(u64::MAX, 30)], &[(0, 0, 20, 0)])), None);
        assert_eq!(parts(&memory(&[(0, 30)], &[(0, 0, 30, u64::MAX - 5)])), None);
        assert_eq!(offsets(&memory(&[(0, 10)], &[(0, 0, 20, 0)])), None, "a half of it is not saved");
    }
}
