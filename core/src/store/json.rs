//! Reading JSON that someone else may have written.
//!
//! Rust and Go read a hostile record differently: of `{"id":"good","ID":"evil"}` Go takes the second. So what they
//! could disagree on is refused: a key twice, and in the vendor's structs two keys that differ in case only.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Kind, Result};

/// Records hold an instance's environment and little else; the vendor's are a few KiB.
const MAX_BYTES: u64 = 4 << 20;
const MAX_DEPTH: usize = 64;

/// Reads all of a JSON file and refuses what is too large, too deep or ambiguous.
///
/// # Errors
/// `corrupt`, errors of the disk.
pub(crate) fn read(file: &File, path: &Path) -> Result<Value> {
    parse(&read_bytes(file, path)?).map_err(|why| damaged(path, why))
}

/// Reads all of a text of at most the same size.
///
/// # Errors
/// `corrupt`, errors of the disk.
pub(crate) fn read_text(file: &File, path: &Path) -> Result<String> {
    String::from_utf8(read_bytes(file, path)?).map_err(|e| damaged(path, e))
}

/// Reads all of a file of at most the same size.
///
/// # Errors
/// `corrupt`, errors of the disk.
pub(crate) fn read_bytes(file: &File, path: &Path) -> Result<Vec<u8>> {
    // The length is only a hint: the file may grow meanwhile.
    let len = file.metadata().map_or(0, |facts| facts.len()).min(MAX_BYTES);
    let mut bytes = Vec::with_capacity(len as usize + 1);
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, &e))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(damaged(path, "it is larger than 4 MiB"));
    }
    Ok(bytes)
}

/// The error for a file of the store that cannot be used.
pub(crate) fn damaged(path: &Path, why: impl fmt::Display) -> Error {
    let advice = "put it back from a backup, or delete what it belongs to";
    Error::new(Kind::Corrupt, format!("{} is damaged: {why}; {advice}", path.display())).at(path)
}

fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Refuses two keys of `object` that Go's decoder would take for the same field.
pub(crate) fn refuse_case_twins(object: &Map<String, Value>) -> Result<(), String> {
    let mut seen = HashSet::with_capacity(object.len());
    match object.keys().find(|key| !seen.insert(key.to_lowercase())) {
        Some(twin) => Err(format!("the key {twin:?} is there twice in different case")),
        None => Ok(()),
    }
}

/// Builds a [`Value`], refusing what `serde_json` would accept: duplicate keys and great depth.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Self { depth }),
            None => Err(E::custom(format!("it is nested more than {MAX_DEPTH} deep"))),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("the key {key:?} is there twice")));
            }
            let value = entries.next_value_seed(inner)?;
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        assert!(parse(br#"{"id":"good","id":"evil"}"#).is_err());
        assert!(parse(br#"{"a":1} trailing"#).is_err());
        assert!(parse(b"{\"a\":\"\xff\"}").is_err());
        assert!(parse(b"").is_err());
        let twins = parse(br#"{"id":"good","ID":"evil"}"#).unwrap();
        assert!(refuse_case_twins(twins.as_object().unwrap()).is_err());
    }

    #[test]
    fn depth_is_bounded_everywhere() {
        let nested = |n: usize| [vec![b'['; n], vec![b']'; n]].concat();
        parse(&nested(MAX_DEPTH)).unwrap();
        assert!(parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(parse(&nested(2_000_000)).is_err());
    }
}
