//! Ids: what we make, and what we accept as one path component.

use crate::error::{Error, Kind, Result};

const LENGTH: usize = 24;

/// Makes an id in the form of the vendor's cuid2: 24 characters, the first a letter, the rest letters and digits.
pub(crate) fn new_id() -> Result<String> {
    let mut id = String::with_capacity(LENGTH);
    let mut random = [0_u8; 64];
    while id.len() < LENGTH {
        getrandom::fill(&mut random)
            .map_err(|e| Error::new(Kind::Io, format!("cannot read random bytes from the system: {e}")))?;
        for byte in random {
            // Take only what divides evenly, so that each character is equally likely.
            let alphabet: &[u8] = if id.is_empty() { LETTERS } else { LETTERS_AND_DIGITS };
            let even = 256 / alphabet.len() * alphabet.len();
            let byte = usize::from(byte);
            if byte < even && id.len() < LENGTH {
                id.push(char::from(alphabet[byte % alphabet.len()]));
            }
        }
    }
    Ok(id)
}

const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const LETTERS_AND_DIGITS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// Tells whether `id` may stand as one component of a path. Everything else is "not found", never an access.
///
/// The vendor accepts any single safe component (upstream.md 1.3); a leading dot is ours (`.libhypeman`).
pub(crate) fn is_safe_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && !id.starts_with('.')
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_has_the_form_of_a_cuid2() {
        for _ in 0..1000 {
            let id = new_id().unwrap();
            assert_eq!(id.len(), 24);
            assert!(id.starts_with(|c: char| c.is_ascii_lowercase()), "{id}");
            assert!(id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()), "{id}");
            assert!(is_safe_id(&id));
        }
    }

    #[test]
    fn an_unsafe_id_is_never_a_path() {
        for id in ["", ".", "..", "../x", "a/b", "/etc", "a\0b", ".libhypeman", "a b", "ä"] {
            assert!(!is_safe_id(id), "{id:?}");
        }
        assert!(!is_safe_id(&"x".repeat(129)));
    }
}
