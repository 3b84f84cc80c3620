//! The memory of a VM: which of it lies where in the image, and what became of each page.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;

use crate::error::{Error, Kind, Result};
use crate::types::{AskedMemory, AskedRegion};

pub(super) const SMALL_PAGE_BYTES: u64 = 4 << 10;
pub(super) const HUGE_PAGE_BYTES: u64 = 2 << 20;
/// The most pieces that the memory of one VM may have.
const MOST_REGIONS: usize = crate::sys::guard::MOST_AREAS;
/// No process has memory beyond that.
const ADDRESS_END: u64 = 1 << 57;

/// A piece of guest memory, as Firecracker announces it.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Announced {
    base_host_virt_addr: u64,
    size: u64,
    offset: u64,
    /// In bytes. Firecracker before 1.12 has only the other one.
    page_size: Option<u64>,
    /// In bytes all the same.
    page_size_kib: Option<u64>,
}

impl Announced {
    /// The same of a VM that asks, whose addresses are those of its guest.
    pub(super) fn asked(memory: &AskedMemory) -> Vec<Self> {
        let announced = |region: &AskedRegion| Self {
            base_host_virt_addr: region.gpa,
            size: region.bytes,
            offset: region.offset,
            page_size: Some(SMALL_PAGE_BYTES),
            page_size_kib: None,
        };
        memory.asks_for.iter().map(announced).collect()
    }
}

/// A piece of guest memory.
#[derive(Debug)]
pub(super) struct Region {
    /// Where it begins in the VMM's own memory.
    base: u64,
    bytes: u64,
    /// Where it begins in the image.
    offset: u64,
    pub(super) page_bytes: u64,
    present: Bits,
    removed: Bits,
}

impl Region {
    /// Checks what a VMM announces against the length of the image, and itself.
    pub(super) fn all(announced: &[Announced], image_bytes: u64) -> Result<Vec<Self>> {
        if !(1..=MOST_REGIONS).contains(&announced.len()) {
            return Err(refused(format!("{} regions; there must be 1 to {MOST_REGIONS}", announced.len())));
        }
        let spans = |of: fn(&Announced) -> u64| {
            let mut spans: Vec<_> =
                announced.iter().map(|one| (of(one), of(one).saturating_add(one.size))).collect();
            spans.sort_unstable();
            spans
        };
        let overlap = |spans: Vec<(u64, u64)>| spans.windows(2).any(|two| matches!(two, [a, b] if a.1 > b.0));
        // Also what bounds the bits for its pages: no byte of the image is served twice.
        if overlap(spans(|one| one.offset)) || overlap(spans(|one| one.base_host_virt_addr)) {
            return Err(refused("regions that overlap".to_owned()));
        }
        announced.iter().map(|one| Self::new(one, image_bytes)).collect()
    }

    fn new(announced: &Announced, image_bytes: u64) -> Result<Self> {
        let Announced { base_host_virt_addr: base, size: bytes, offset, .. } = *announced;
        let page_bytes = announced.page_size.or(announced.page_size_kib).unwrap_or(SMALL_PAGE_BYTES);
        if ![SMALL_PAGE_BYTES, HUGE_PAGE_BYTES].contains(&page_bytes) {
            return Err(refused(format!(
                "pages of {page_bytes} bytes; there are those of 4 KiB and of 2 MiB"
            )));
        }
        if bytes == 0 || base % page_bytes != 0 || bytes % page_bytes != 0 || offset % SMALL_PAGE_BYTES != 0 {
            return Err(refused(format!("a region of {bytes} bytes that is not made of whole pages")));
        }
        if base.checked_add(bytes).is_none_or(|end| end > ADDRESS_END) {
            return Err(refused(format!("a region at {base:#x}, where no memory is")));
        }
        if offset.checked_add(bytes).is_none_or(|end| end > image_bytes) {
            return Err(refused(format!(
                "{bytes} bytes of memory from byte {offset} of an image that has {image_bytes}; it is not the VM of this snapshot"
            )));
        }
        let pages = bytes / page_bytes;
        Ok(Self { base, bytes, offset, page_bytes, present: Bits::new(pages)?, removed: Bits::new(pages)? })
    }

    pub(super) fn pages(&self) -> u64 {
        self.bytes / self.page_bytes
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn address_of(&self, page: u64) -> u64 {
        self.base + page * self.page_bytes
    }

    pub(super) fn offset_of(&self, page: u64) -> u64 {
        self.offset + page * self.page_bytes
    }

    /// The page with this address of the VMM's memory.
    pub(super) fn page_at(&self, address: u64) -> Option<u64> {
        let inside = address.checked_sub(self.base).filter(|inside| *inside < self.bytes)?;
        Some(inside / self.page_bytes)
    }

    /// The page with this byte of the image.
    pub(super) fn page_of(&self, offset: u64) -> Option<u64> {
        let inside = offset.checked_sub(self.offset).filter(|inside| *inside < self.bytes)?;
        Some(inside / self.page_bytes)
    }

    /// The pages that lie within these bytes of the image, whole.
    pub(super) fn pages_within(&self, image: Range<u64>) -> Range<u64> {
        let start = image.start.saturating_sub(self.offset).div_ceil(self.page_bytes);
        let end = image.end.saturating_sub(self.offset).min(self.bytes) / self.page_bytes;
        start..end.max(start)
    }

    /// Whether the image has nothing to say about this page any more.
    pub(super) fn is_done(&self, page: u64) -> bool {
        self.present.has(page) || self.removed.has(page)
    }

    pub(super) fn is_removed(&self, page: u64) -> bool {
        self.removed.has(page)
    }

    pub(super) fn set_present(&self, pages: Range<u64>) {
        pages.for_each(|page| self.present.set(page));
    }

    /// Notes that the VMM gave back the pages between two of its addresses.
    pub(super) fn set_removed(&self, start: u64, end: u64) {
        let (start, end) = (start.max(self.base), end.min(self.base + self.bytes));
        let first = start.saturating_sub(self.base) / self.page_bytes;
        let last = end.saturating_sub(self.base).div_ceil(self.page_bytes);
        (first..last).for_each(|page| self.removed.set(page));
    }

    /// The first page from `from` on that the image still has something to say about.
    pub(super) fn next_missing(&self, from: u64) -> Option<u64> {
        let mut page = from;
        while page < self.pages() {
            let done = self.present.word(page) | self.removed.word(page);
            let missing = !done >> (page % 64);
            if missing != 0 {
                page += u64::from(missing.trailing_zeros());
                return (page < self.pages()).then_some(page);
            }
            page += 64 - page % 64;
        }
        None
    }
}

fn refused(what: String) -> Error {
    Error::new(Kind::InvalidRequest, format!("a VM was refused: it announced {what}"))
}

/// A bit for each page; set by many threads, never cleared.
#[derive(Debug)]
struct Bits(Vec<AtomicU64>);

impl Bits {
    fn new(bits: u64) -> Result<Self> {
        let words = usize::try_from(bits.div_ceil(64)).unwrap_or(usize::MAX);
        let mut list = Vec::new();
        list.try_reserve_exact(words).map_err(|_| refused(format!("{bits} pages, which are too many")))?;
        list.resize_with(words, AtomicU64::default);
        Ok(Self(list))
    }

    /// The bits of the 64 pages around `bit`.
    fn word(&self, bit: u64) -> u64 {
        self.0.get((bit / 64) as usize).map_or(0, |word| word.load(Ordering::Acquire))
    }

    fn has(&self, bit: u64) -> bool {
        self.word(bit) & 1 << (bit % 64) != 0
    }

    fn set(&self, bit: u64) {
        if let Some(word) = self.0.get((bit / 64) as usize) {
            word.fetch_or(1 << (bit % 64), Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(base: u64, size: u64, offset: u64, page: u64) -> Announced {
        Announced {
            base_host_virt_addr: base,
            size,
            offset,
            page_size: Some(page),
            page_size_kib: Some(page),
        }
    }

    #[test]
    fn pages_of_the_vmm_and_bytes_of_the_image_find_each_other() {
        let list = [announced(0x10_0000, 0x10_0000, 0, 4096), announced(0x80_0000, 0x8000, 0x10_0000, 4096)];
        let regions = Region::all(&list, 0x10_8000).unwrap();
        let second = &regions[1];
        assert_eq!((second.page_at(0x80_1FFF), second.page_at(0x80_8000)), (Some(1), None));
        assert_eq!((second.page_of(0x10_1000), second.page_of(0xF_FFFF)), (Some(1), None));
        assert_eq!((second.address_of(2), second.offset_of(2)), (0x80_2000, 0x10_2000));
        assert_eq!(second.pages_within(0x10_0001..0x10_4FFF), 1..4);
        assert_eq!(second.pages_within(0..u64::MAX), 0..8);
        assert!(second.pages_within(0..0x1000).is_empty());
        second.set_present(0..3);
        second.set_removed(0x80_3800, 0x80_4001);
        assert!(second.is_removed(3) && second.is_removed(4) && !second.is_removed(5));
        assert_eq!((second.next_missing(0), second.next_missing(6)), (Some(5), Some(6)));
        second.set_present(5..8);
        assert_eq!(second.next_missing(0), None);
        assert_eq!(regions[0].next_missing(70), Some(70));
    }

    #[test]
    fn what_is_not_the_memory_of_this_snapshot_is_refused() {
        let image = 4 << 20;
        let wrong: [&[Announced]; 12] = [
            &[],
            &[announced(0, image + 4096, 0, 4096)],
            &[announced(0, 4096, image, 4096)],
            &[announced(0, 4096, u64::MAX - 4095, 4096)],
            &[announced(u64::MAX - 4095, 4096, 0, 4096)],
            &[announced(0, 0, 0, 4096)],
            &[announced(1, 4096, 0, 4096)],
            &[announced(0, 4095, 0, 4096)],
            &[announced(0, 4096, 1, 4096)],
            &[announced(0, 4096, 0, 8192)],
            &[announced(0, 8192, 0, 4096), announced(4096, 4096, 8192, 4096)],
            &[announced(0, 8192, 0, 4096), announced(8192, 4096, 4096, 4096)],
        ];
        for (number, list) in wrong.into_iter().enumerate() {
            assert_eq!(Region::all(list, image).unwrap_err().kind(), Kind::InvalidRequest, "number {number}");
        }
        assert!(Region::all(&vec![announced(0, 4096, 0, 4096); 65], image).is_err());
        Region::all(&[announced(0, image, 0, HUGE_PAGE_BYTES)], image).unwrap();
    }
}
