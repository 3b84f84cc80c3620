//! An image without a guest: pages of known kinds, in the shares of a busy guest, the same on every machine but for
//! the binary ones, which are this program's own.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use crate::Result;
use crate::random::Random;

const PAGE_BYTES: usize = 4096;
/// Zero pages come in one long run in each of these, as they do in a guest; the others in runs of 16.
const PERIOD_PAGES: u64 = 16 << 10;
const RUN_PAGES: u64 = 16;
const PER_MILLE_ZERO: u64 = 397;

/// Fills a page, given this program's code.
type Fill = fn(&mut Random, &[u8], &mut [u8]);

/// Kinds of pages that are not zero, and how many of a thousand such pages are of each.
const KINDS: [(Fill, u64); 4] = [(random, 86), (text, 240), (binary, 300), (heap, 374)];

/// Writes an image of `bytes`.
pub fn write(path: &Path, bytes: u64) -> Result<()> {
    let code = fs::read(std::env::current_exe()?)?;
    let mut out = BufWriter::new(File::create(path)?);
    let mut source = Random::new(1);
    let mut page = [0; PAGE_BYTES];
    let mut fill = KINDS[0].0;
    for number in 0..bytes / PAGE_BYTES as u64 {
        let in_period = number % PERIOD_PAGES;
        page.fill(0);
        if in_period >= PERIOD_PAGES * PER_MILLE_ZERO / 1000 {
            if in_period.is_multiple_of(RUN_PAGES) {
                fill = kind(&mut source);
            }
            fill(&mut source, &code, &mut page);
        }
        out.write_all(&page)?;
    }
    out.flush()?;
    Ok(())
}

fn kind(source: &mut Random) -> Fill {
    let mut left = source.below(1000);
    for (fill, share) in KINDS {
        if left < share {
            return fill;
        }
        left -= share;
    }
    heap
}

fn random(source: &mut Random, _: &[u8], page: &mut [u8]) {
    for word in page.chunks_exact_mut(8) {
        word.copy_from_slice(&source.next().to_le_bytes());
    }
}

/// Lines of a log: words of a small vocabulary, and numbers.
fn text(source: &mut Random, _: &[u8], page: &mut [u8]) {
    const WORDS: [&str; 16] = [
        "GET ",
        "POST ",
        "/api/",
        "users ",
        "200 ",
        "404 ",
        "\"name\": ",
        "null, ",
        "info: ",
        "the ",
        "request ",
        "was ",
        "done ",
        "in ",
        "ms\n",
        "error: ",
    ];
    let mut line = Vec::with_capacity(PAGE_BYTES + 32);
    while line.len() < PAGE_BYTES {
        let word = WORDS[source.below(WORDS.len() as u64) as usize];
        line.extend_from_slice(word.as_bytes());
        if source.below(3) == 0 {
            line.extend_from_slice(source.below(100_000).to_string().as_bytes());
        }
    }
    page.copy_from_slice(&line[..PAGE_BYTES]);
}

/// A page of machine code and its tables.
fn binary(source: &mut Random, code: &[u8], page: &mut [u8]) {
    let pages = (code.len() / PAGE_BYTES) as u64;
    let at = source.below(pages) as usize * PAGE_BYTES;
    page.copy_from_slice(&code[at..at + PAGE_BYTES]);
}

/// Objects of a heap: a header, pointers into one region, small numbers, a hash.
fn heap(source: &mut Random, _: &[u8], page: &mut [u8]) {
    for object in page.chunks_exact_mut(64) {
        let pointer = |source: &mut Random| 0x7f3a_5000_0000_u64 + source.below(1 << 24) * 16;
        let words = [
            1,
            0x7f3a_4000_0000 + source.below(8) * 0x180,
            source.below(64),
            pointer(source),
            pointer(source),
            source.next(),
            source.below(1000),
            0,
        ];
        for (word, value) in object.chunks_exact_mut(8).zip(words) {
            word.copy_from_slice(&value.to_le_bytes());
        }
    }
}
