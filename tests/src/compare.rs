//! What a runner said, in a form that is the same on each machine, at each time and in each language.

use std::fmt::Write;
use std::ops::RangeInclusive;

use hypeman_core::Timestamp;
use serde_json::{Map, Value};

use crate::fixture::Fixture;

/// Keys whose values depend on the machine or the moment, and what stands for them.
const VOLATILE: [(&str, &str); 11] = [
    ("allocated_bytes", "<allocated>"),
    ("paused_ms", "<ms>"),
    ("saving_memory_ms", "<ms>"),
    ("copying_disks_ms", "<ms>"),
    ("hypervisor_version", "<version>"),
    ("libhypeman_version", "<version>"),
    ("kernel", "<kernel>"),
    ("architecture", "<architecture>"),
    ("cpu_model", "<cpu>"),
    ("cpu_vendor", "<cpu>"),
    ("cpu_flags", "<flags>"),
];

/// Length of the ids that the library makes.
const ID_CHARACTERS: usize = 24;

/// Parses the output of a runner, and replaces what is volatile: paths by `${work}` and `${data}`, ids that are not
/// in the case by `<id1>`, `<id2>` in the order in which they appear, `created_at` by `<time>` where it is between the
/// making of the fixture and now. Keys are sorted.
///
/// # Errors
/// Says which line is not JSON.
pub fn normalise(output: &str, case_text: &str, fixture: &Fixture) -> Result<Vec<Value>, String> {
    let mut names = Names { case_text, ids: Vec::new(), taken: fixture.made_at()..=Timestamp::now() };
    let paths = [("${work}", fixture.expand("${work}")), ("${data}", fixture.expand("${data}"))];
    output
        .lines()
        .map(|line| {
            let portable = paths.iter().fold(line.to_owned(), |line, (name, path)| line.replace(path, name));
            let value =
                serde_json::from_str(&portable).map_err(|e| format!("not a line of JSON: {line}: {e}"))?;
            Ok(names.replace(value))
        })
        .collect()
}

/// Compares what a runner said with what it must say, byte for byte.
///
/// # Errors
/// Shows the first line that differs, and both forms of it.
pub fn compare(expected: &[&Value], said: &[Value]) -> Result<(), String> {
    for (index, (expected, said)) in expected.iter().zip(said).enumerate() {
        let (expected, said) = (sorted((*expected).clone()).to_string(), said.to_string());
        if expected != said {
            return Err(format!("line {}:\n  expected {expected}\n  said     {said}", index + 1));
        }
    }
    if expected.len() == said.len() {
        return Ok(());
    }
    let mut all = String::new();
    for line in said {
        write!(all, "\n  {line}").expect("a string takes it");
    }
    Err(format!("expected {} lines, got {}:{all}", expected.len(), said.len()))
}

struct Names<'c> {
    case_text: &'c str,
    ids: Vec<String>,
    /// When the library took the times that are its own.
    taken: RangeInclusive<Timestamp>,
}

impl Names<'_> {
    fn replace(&mut self, value: Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(
                sort(map).into_iter().map(|(key, value)| self.replace_field(key, value)).collect(),
            ),
            Value::Array(items) => items.into_iter().map(|item| self.replace(item)).collect(),
            Value::String(text) => Value::String(self.replace_ids(&text)),
            Value::Null | Value::Bool(_) | Value::Number(_) => value,
        }
    }

    fn replace_field(&mut self, key: String, value: Value) -> (String, Value) {
        if let Some((_, name)) = VOLATILE.iter().find(|(volatile, _)| *volatile == key) {
            return (key, Value::String((*name).to_owned()));
        }
        match value {
            Value::String(time) if key == "created_at" && self.is_ours(&time) => {
                (key, Value::String("<time>".to_owned()))
            }
            value => (self.replace_ids(&key), self.replace(value)),
        }
    }

    fn is_ours(&self, time: &str) -> bool {
        time.ends_with('Z') && time.parse().is_ok_and(|time| self.taken.contains(&time))
    }

    fn replace_ids(&mut self, text: &str) -> String {
        let is_id_character = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(|c| !is_id_character(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            replaced.push_str(&self.name(word));
            let other = after.find(is_id_character).unwrap_or(after.len());
            replaced.push_str(&after[..other]);
            rest = &after[other..];
        }
        replaced
    }

    fn name(&mut self, word: &str) -> String {
        let ours = word.len() == ID_CHARACTERS
            && word.starts_with(|c: char| c.is_ascii_lowercase())
            && !self.case_text.contains(word);
        if !ours {
            return word.to_owned();
        }
        let known = self.ids.iter().position(|id| id == word).unwrap_or_else(|| {
            self.ids.push(word.to_owned());
            self.ids.len() - 1
        });
        format!("<id{}>", known + 1)
    }
}

fn sort(map: Map<String, Value>) -> Map<String, Value> {
    let mut fields: Vec<_> = map.into_iter().collect();
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    fields.into_iter().collect()
}

fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => sort(map).into_iter().map(|(key, value)| (key, sorted(value))).collect(),
        Value::Array(items) => items.into_iter().map(sorted).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    const ID: &str = "q7z1w7l2af4l8y7q1h7g2m3s";
    const OTHER: &str = "a7z1w7l2af4l8y7q1h7g2m3s";

    fn said(output: &str) -> Vec<Value> {
        normalise(output, "{}", &Fixture::new(&BTreeMap::new())).unwrap()
    }

    #[test]
    fn ids_times_and_paths_are_named_and_keys_are_sorted() {
        let fixture = Fixture::new(&BTreeMap::new());
        let data = fixture.expand("${data}");
        let now = Timestamp::now();
        let line =
            format!(r#"{{"ok": {{"path": "{data}/x/{ID}", "id": "{OTHER}", "created_at": "{now}"}}}}"#);
        let said = normalise(&line, "{}", &fixture).unwrap();
        assert_eq!(
            said[0].to_string(),
            r#"{"ok":{"created_at":"<time>","id":"<id1>","path":"${data}/x/<id2>"}}"#
        );
    }

    #[test]
    fn what_the_case_itself_names_is_kept() {
        let case = format!("{ID} 2026-01-02T03:04:05Z");
        let line = format!(r#"{{"ok":{{"created_at":"2026-01-02T03:04:05Z","id":"{ID}"}}}}"#);
        assert_eq!(normalise(&line, &case, &Fixture::new(&BTreeMap::new())).unwrap()[0].to_string(), line);
    }

    /// The positive control: each of these is a binding that is broken in some way.
    #[test]
    fn a_wrong_answer_is_caught() {
        let right = json!({"ok": {"id": "<id1>", "name": "a", "size_bytes": 3}});
        let expected = [&right];
        compare(&expected, &said(&format!(r#"{{"ok":{{"size_bytes":3,"name":"a","id":"{ID}"}}}}"#))).unwrap();
        let wrong = [
            format!(r#"{{"ok":{{"size_bytes":3.0,"name":"a","id":"{ID}"}}}}"#),
            format!(r#"{{"ok":{{"size_bytes":"3","name":"a","id":"{ID}"}}}}"#),
            format!(r#"{{"ok":{{"size_bytes":3,"name":"a","id":"{ID}","tags":null}}}}"#),
            format!(r#"{{"ok":{{"size_bytes":3,"id":"{ID}"}}}}"#),
            r#"{"ok":{"size_bytes":3,"name":"a","id":"short"}}"#.to_owned(),
            r#"{"error":{"code":"internal","message":"a"}}"#.to_owned(),
            String::new(),
            format!("{0}\n{0}", format_args!(r#"{{"ok":{{"size_bytes":3,"name":"a","id":"{ID}"}}}}"#)),
        ];
        for output in wrong {
            assert!(compare(&expected, &said(&output)).is_err(), "{output}");
        }
        assert!(normalise("hello", "{}", &Fixture::new(&BTreeMap::new())).is_err());
    }

    #[test]
    fn a_time_that_was_not_taken_now_is_kept() {
        for time in ["2026-01-02T03:04:05+02:00", "2026-01-02T03:04:05Z", "2999-01-02T03:04:05Z", "now"] {
            let line = format!(r#"{{"ok":{{"created_at":"{time}"}}}}"#);
            assert_eq!(said(&line)[0].to_string(), line);
        }
    }
}
