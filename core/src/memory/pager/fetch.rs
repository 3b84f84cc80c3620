//! Where the memory of a page comes from, and how much of what comes with it is worth installing.

use std::ops::Range;
use std::sync::Arc;

use super::regions::{HUGE_PAGE_BYTES, Region, SMALL_PAGE_BYTES};
use crate::error::{Error, Kind, Result};
use crate::memory::file::grow;
use crate::memory::image::{Image, Piece};

/// The piece of the image with all of `page`. For reading everything once where there is a `buffer`, which it may then
/// take; else kept for the next VM.
pub(super) fn fetch(
    image: &Image,
    region: &Region,
    page: u64,
    buffer: Option<&mut Vec<u8>>,
) -> Result<Piece> {
    let at = region.offset_of(page);
    if region.page_bytes == SMALL_PAGE_BYTES {
        let piece = match buffer {
            Some(buffer) => image.passing(at, buffer)?,
            None => image.piece(at)?,
        };
        if at + SMALL_PAGE_BYTES <= piece.end() && piece.at <= at {
            return Ok(piece);
        }
    }
    // A huge page, or one across the border of two frames of someone else's making.
    let mut memory = Vec::new();
    grow(&mut memory, region.page_bytes)?;
    read_page(image, at, &mut memory)?;
    Ok(Piece { at, bytes: region.page_bytes, memory: Some(Arc::new(memory)) })
}

/// A piece of the image with all of `page`, for one VM alone: of a frame whose decoding can stop there no more than its front
/// up to the page, unless `is_begun` says of the place where the frame begins that its front was decoded before. Takes
/// `buffer`; returns where the frame ends, too.
pub(super) fn fetch_front(
    image: &Image,
    region: &Region,
    page: u64,
    buffer: &mut Vec<u8>,
    is_begun: impl FnOnce(u64) -> bool,
) -> Result<(Piece, u64)> {
    let at = region.offset_of(page);
    if region.page_bytes == SMALL_PAGE_BYTES {
        let (piece, frame_end) = image.passing_front(at, SMALL_PAGE_BYTES as usize, buffer, is_begun)?;
        if at + SMALL_PAGE_BYTES <= piece.end() {
            return Ok((piece, frame_end));
        }
    }
    let piece = fetch(image, region, page, Some(buffer))?;
    let end = piece.end();
    Ok((piece, end))
}

/// Fills `memory` from byte `at` on.
pub(super) fn read_page(image: &Image, at: u64, memory: &mut [u8]) -> Result<()> {
    if image.read_at(at, memory)? == memory.len() {
        return Ok(());
    }
    // It was long enough for every region when the VM came.
    Err(Error::new(Kind::Corrupt, format!("the memory image ends before byte {at}")))
}

/// The pages to install once one of them was wanted: all that were decoded with it, and of zeros those around it.
pub(super) fn neighbours(region: &Region, page: u64, piece: &Piece) -> Range<u64> {
    let mut image = piece.at..piece.end();
    if piece.memory.is_none() {
        let at = region.offset_of(page);
        let start = at - at % HUGE_PAGE_BYTES;
        image = image.start.max(start)..image.end.min(start + HUGE_PAGE_BYTES);
    }
    region.pages_within(image)
}
