//! Names of snapshots and instances.

use crate::error::{Error, Kind, Result};

/// Checks a name of a snapshot or an instance: 1 to 63 of `[a-z0-9-]`, no dash at either end (API page of create).
pub(crate) fn check_name(name: &str) -> Result<()> {
    let refuse = |what: &str| Err(Error::new(Kind::InvalidRequest, format!("{what}, got {name:?}")));
    if name.is_empty() {
        return refuse("name must have 1 to 63 characters");
    }
    if name.len() > 63 {
        return refuse("name must be 63 characters or less");
    }
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !plain || name.starts_with('-') || name.ends_with('-') {
        return refuse(
            "name must contain only lowercase letters, digits, and dashes; cannot start or end with a dash",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rule_of_the_api_page() {
        for good in ["a", "0", "a-b", "baseline-standby", &"x".repeat(63)] {
            check_name(good).unwrap();
        }
        for bad in ["", "-a", "a-", "A", "a_b", "a b", "ä", "a.b", "a/b", &"x".repeat(64)] {
            assert_eq!(check_name(bad).unwrap_err().kind(), Kind::InvalidRequest, "{bad:?}");
        }
    }
}
