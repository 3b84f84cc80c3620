//! Tags of snapshots.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};

const MAX_TAGS: usize = 50;
const MAX_KEY: usize = 128;
const MAX_VALUE: usize = 256;

/// Checks tags: at most 50; keys of 1 to 128, values of 0 to 256 characters, of `[A-Za-z0-9 _.:/=+@-]`.
pub(crate) fn check_tags(tags: &BTreeMap<String, String>) -> Result<()> {
    let refuse = |what: String| Err(Error::new(Kind::InvalidRequest, format!("invalid tags: {what}")));
    if tags.len() > MAX_TAGS {
        return refuse(format!("too many entries: {} (max {MAX_TAGS})", tags.len()));
    }
    for (key, value) in tags {
        let key_characters = key.chars().count();
        if !(1..=MAX_KEY).contains(&key_characters) {
            return refuse(format!("key {key:?} length {key_characters} out of range [1,{MAX_KEY}]"));
        }
        if !key.chars().all(is_tag_character) {
            return refuse(format!("key {key:?} contains unsupported characters; {ALLOWED}"));
        }
        let value_characters = value.chars().count();
        if value_characters > MAX_VALUE {
            return refuse(format!(
                "value for key {key:?} length {value_characters} out of range [0,{MAX_VALUE}]"
            ));
        }
        if !value.chars().all(is_tag_character) {
            return refuse(format!("value for key {key:?} contains unsupported characters; {ALLOWED}"));
        }
    }
    Ok(())
}

const ALLOWED: &str = "allowed are letters, digits, space and _.:/=+@-";

fn is_tag_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || " _.:/=+@-".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn fifty_tags_are_enough_and_fifty_one_too_many() {
        let many = |n: usize| (0..n).map(|i| (format!("k{i}"), String::new())).collect();
        check_tags(&many(50)).unwrap();
        assert!(check_tags(&many(51)).unwrap_err().message().contains("too many entries: 51 (max 50)"));
    }

    #[test]
    fn keys_and_values_have_limits_of_length_and_characters() {
        check_tags(&one("team", "back end/x=1+2@3:4_5.6-7")).unwrap();
        check_tags(&one(&"k".repeat(128), &"v".repeat(256))).unwrap();
        check_tags(&one("k", "")).unwrap();
        for (key, value) in
            [("", "v"), (&*"k".repeat(129), "v"), ("k", &*"v".repeat(257)), ("k!", "v"), ("k", "ü")]
        {
            assert_eq!(
                check_tags(&one(key, value)).unwrap_err().kind(),
                Kind::InvalidRequest,
                "{key:?}={value:?}"
            );
        }
    }
}
