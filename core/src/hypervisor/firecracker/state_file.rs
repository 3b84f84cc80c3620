//! The head and the checksum of a state file, as far as they are the same in every version of Firecracker.
//!
//! ```text
//! [0] magic: u64 LE    the machine; its low 16 bits are a version in the oldest ones, else 0
//! length version       of the format, as text: a byte (bitcode) or a u64 LE (bincode) before it
//! ..                   the state, in a form of its own in each version
//! CRC64                over all before it, so that the CRC64 of the whole file is 0
//! ```
//! The byte before the magic is bitcode's.

use std::fmt;

/// Firecracker reads none that is larger.
pub(super) const LARGEST_BYTES: u64 = 10_000_000;

const X86_64: u64 = 0x0710_1984_8664_0000;
const AARCH64: u64 = 0x0710_1984_aaaa_0000;

/// Whose state a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The machine, in Rust's word.
    pub(super) arch: &'static str,
    /// The version of the format, where the file tells it as text.
    pub(super) format: Option<String>,
}

/// Why a file is no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Damage {
    Magic,
    Checksum,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "does not begin as a state file of firecracker does",
            Self::Checksum => "does not match its checksum",
        })
    }
}

/// Reads the head of `bytes`, the whole of a file, and compares its checksum.
pub(super) fn examine(bytes: &[u8]) -> Result<Head, Damage> {
    let (arch, rest) = [0, 1].into_iter().find_map(|at| magic_at(bytes, at)).ok_or(Damage::Magic)?;
    if crc64::crc64(0, bytes) != 0 {
        return Err(Damage::Checksum);
    }
    Ok(Head { arch, format: text_in(rest, 1).or_else(|| text_in(rest, 8)) })
}

fn magic_at(bytes: &[u8], at: usize) -> Option<(&'static str, &[u8])> {
    let (magic, rest) = bytes.get(at..)?.split_first_chunk()?;
    match u64::from_le_bytes(*magic) & !0xffff {
        X86_64 => Some(("x86_64", rest)),
        AARCH64 => Some(("aarch64", rest)),
        _ => None,
    }
}

/// A version at the start of `bytes`, behind `width` bytes of its length.
fn text_in(bytes: &[u8], width: usize) -> Option<String> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let (&length, zeros) = length.split_first()?;
    let text = str::from_utf8(rest.get(..usize::from(length))?).ok()?;
    let is_version = text.contains('.') && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    (is_version && zeros.iter().all(|&byte| byte == 0)).then(|| text.to_owned())
}

/// Whether the state names `text`, such as a path or an interface. It may be found where it only looks like it.
pub(super) fn names(bytes: &[u8], text: &[u8]) -> bool {
    !text.is_empty() && bytes.windows(text.len()).any(|window| window == text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A state file of `arch`'s magic with `state` in it, as Firecracker writes them since 1.14.
    pub(in super::super) fn sealed(state: &[u8]) -> Vec<u8> {
        let magic = if cfg!(target_arch = "aarch64") { AARCH64 } else { X86_64 };
        seal(&[&[0], &magic.to_le_bytes()[..], b"\x0611.0.0", state].concat())
    }

    fn seal(bytes: &[u8]) -> Vec<u8> {
        [bytes, &crc64::crc64(0, bytes).to_le_bytes()].concat()
    }

    #[test]
    fn the_version_is_found_in_each_of_the_three_forms() {
        let bitcode = seal(b"\0\0\0\x64\x86\x84\x19\x10\x07\x0611.0.0\x06\x80\0");
        let bincode = seal(b"\0\0\x64\x86\x84\x19\x10\x07\x05\0\0\0\0\0\0\x008.0.0state");
        let oldest = seal(b"\x02\0\xaa\xaa\x84\x19\x10\x07state");
        let head = |arch, format: Option<&str>| Ok(Head { arch, format: format.map(str::to_owned) });
        assert_eq!(examine(&bitcode), head("x86_64", Some("11.0.0")));
        assert_eq!(examine(&bincode), head("x86_64", Some("8.0.0")));
        assert_eq!(examine(&oldest), head("aarch64", None));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let whole = sealed(b"/vms/a/disk.raw");
        examine(&whole).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            assert!(examine(&flipped).is_err(), "{at}");
            assert!(examine(&whole[..at]).is_err(), "{at}");
        }
        assert_eq!(examine(b"{\"state\": 1}"), Err(Damage::Magic));
    }

    #[test]
    fn a_path_in_the_state_is_found() {
        let state = sealed(b"\x0f/vms/a/disk.raw");
        assert!(names(&state, b"/vms/a/") && !names(&state, b"/vms/b/") && !names(&state, b""));
    }
}
