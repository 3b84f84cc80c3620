//! What is known of the records: by id, and in the order of lists.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::sys::version::Version;
use crate::types::{Snapshot, SnapshotFilter};

/// From so many changes on, sorting everything is cheaper than moving all that lies behind each.
const MANY_CHANGES: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Table {
    entries: HashMap<String, Entry>,
    /// The good records, newest first, then by id, but for what came and went since they were arranged.
    rows: Vec<Row>,
    came: Vec<Arc<Snapshot>>,
    went: Vec<Arc<Snapshot>>,
    /// Grows with every change but those that [`Table::offer`] makes.
    generation: u64,
}

#[derive(Debug)]
struct Entry {
    /// None while the record has to be read again, whatever its version.
    version: Option<Version>,
    /// None where the record is damaged.
    snapshot: Option<Arc<Snapshot>>,
}

#[derive(Debug)]
struct Row {
    sketch: Sketch,
    snapshot: Arc<Snapshot>,
}

impl Table {
    /// The snapshot `id`, if its record has this version.
    pub(super) fn known(&self, id: &str, version: Version) -> Option<Arc<Snapshot>> {
        let entry = self.entries.get(id)?;
        entry.snapshot.as_ref().filter(|_| entry.version == Some(version)).map(Arc::clone)
    }

    /// The version of the record of `id` when it was last read, if that still says anything.
    pub(super) fn version(&self, id: &str) -> Option<Version> {
        self.entries.get(id)?.version
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Takes in what was read of a record: without a version it is read again, without a snapshot it is damaged.
    pub(super) fn put(&mut self, id: String, version: Option<Version>, snapshot: Option<Arc<Snapshot>>) {
        self.generation += 1;
        self.replace(id, version, snapshot);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.generation += 1;
        self.went.extend(self.entries.remove(id).and_then(|entry| entry.snapshot));
    }

    /// Has the record of `id` read again. What is known of it stays until then.
    pub(super) fn doubt(&mut self, id: &str) {
        self.generation += 1;
        if let Some(entry) = self.entries.get_mut(id) {
            entry.version = None;
        }
    }

    pub(super) fn doubt_all(&mut self) {
        self.generation += 1;
        self.entries.values_mut().for_each(|entry| entry.version = None);
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes in a record that was read on the way, unless this table learnt anything newer since `generation`.
    pub(super) fn offer(&mut self, generation: u64, version: Version, snapshot: &Arc<Snapshot>) {
        if self.generation == generation {
            self.replace(snapshot.id.clone(), Some(version), Some(Arc::clone(snapshot)));
        }
    }

    fn replace(&mut self, id: String, version: Option<Version>, snapshot: Option<Arc<Snapshot>>) {
        self.came.extend(snapshot.clone());
        let old = self.entries.insert(id, Entry { version, snapshot });
        self.went.extend(old.and_then(|entry| entry.snapshot));
    }

    /// Tells whether what came and went has its place in the lists.
    pub(super) fn is_arranged(&self) -> bool {
        self.came.is_empty() && self.went.is_empty()
    }

    /// Brings the lists up to date.
    pub(super) fn arrange(&mut self) {
        let (came, went) = (std::mem::take(&mut self.came), std::mem::take(&mut self.went));
        if came.len() + went.len() > MANY_CHANGES {
            self.rows.clear();
            self.rows.extend(self.entries.values().filter_map(|entry| entry.snapshot.clone()).map(Row::from));
            self.rows.sort_unstable_by(|a, b| order(&a.snapshot, &b.snapshot));
            return;
        }
        // First those that came: some of them went again.
        for snapshot in came {
            let place = self.place_of(&snapshot);
            self.rows.insert(place, Row::from(snapshot));
        }
        for snapshot in went {
            let alike = self.rows.iter().enumerate().skip(self.place_of(&snapshot));
            let mut alike = alike.take_while(|(_, row)| order(&row.snapshot, &snapshot).is_eq());
            if let Some((place, _)) = alike.find(|(_, row)| Arc::ptr_eq(&row.snapshot, &snapshot)) {
                self.rows.remove(place);
            }
        }
    }

    fn place_of(&self, snapshot: &Snapshot) -> usize {
        self.rows.partition_point(|row| order(&row.snapshot, snapshot).is_lt())
    }

    /// The snapshots that match, in order.
    pub(super) fn matching(&self, filter: &SnapshotFilter) -> Vec<Arc<Snapshot>> {
        let wanted = Wanted::from(filter);
        let likely = self.rows.iter().filter(|row| wanted.may_be(row.sketch)).map(|row| &row.snapshot);
        likely.filter(|snapshot| filter.matches(snapshot)).map(Arc::clone).collect()
    }

    /// At most `count` snapshots that follow `last` in the order of lists; from the start without it.
    pub(super) fn after(&self, last: Option<&Snapshot>, count: usize) -> Vec<Arc<Snapshot>> {
        let is_before = |row: &Row| last.is_some_and(|last| order(&row.snapshot, last).is_le());
        let from = self.rows.partition_point(is_before);
        self.rows.iter().skip(from).take(count).map(|row| Arc::clone(&row.snapshot)).collect()
    }

    /// The ids that are known and not among `listed`.
    pub(super) fn missing_from(&self, listed: &HashSet<String>) -> Vec<String> {
        self.entries.keys().filter(|id| !listed.contains(*id)).cloned().collect()
    }
}

fn order(a: &Snapshot, b: &Snapshot) -> Ordering {
    b.created_at.cmp(&a.created_at).then_with(|| a.id.cmp(&b.id))
}

impl From<Arc<Snapshot>> for Row {
    fn from(snapshot: Arc<Snapshot>) -> Self {
        Self { sketch: Sketch::from(&*snapshot), snapshot }
    }
}

/// What filters ask for, in 16 bytes that lie in a row: most snapshots are ruled out without being looked at, and any
/// filter has all that an index of its own would give it, at any number of tags.
#[derive(Clone, Copy, Debug)]
struct Sketch {
    name: u32,
    source: u32,
    /// Two bits for each tag.
    tags: u64,
}

/// What a sketch must have.
struct Wanted {
    name: Option<u32>,
    source: Option<u32>,
    tags: u64,
}

impl Wanted {
    fn may_be(&self, sketch: Sketch) -> bool {
        self.name.is_none_or(|name| name == sketch.name)
            && self.source.is_none_or(|source| source == sketch.source)
            && sketch.tags & self.tags == self.tags
    }
}

impl From<&Snapshot> for Sketch {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            name: short_hash(snapshot.name.as_deref().unwrap_or_default()),
            source: short_hash(&snapshot.source_instance_id),
            tags: tag_bits(snapshot.tags.iter().flatten()),
        }
    }
}

impl From<&SnapshotFilter> for Wanted {
    fn from(filter: &SnapshotFilter) -> Self {
        Self {
            name: filter.name.as_deref().map(short_hash),
            source: filter.source_instance_id.as_deref().map(short_hash),
            tags: tag_bits(&filter.tags),
        }
    }
}

fn tag_bits<'t>(tags: impl IntoIterator<Item = (&'t String, &'t String)>) -> u64 {
    tags.into_iter().map(hash).fold(0, |bits, hash| bits | 1 << (hash % 64) | 1 << ((hash >> 32) % 64))
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
fn short_hash(text: &str) -> u32 {
    hash(text) as u32
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::{HypervisorKind, SnapshotKind};

    fn snapshot(number: usize, name: &str) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            id: format!("s{number:04}"),
            created_at: format!("2026-03-06T13:{:02}:00Z", number % 60).parse().unwrap(),
            kind: SnapshotKind::Stopped,
            size_bytes: 1,
            source_hypervisor: HypervisorKind::Qemu,
            source_instance_id: format!("i{}", number % 7),
            source_instance_name: "web".to_owned(),
            compressed_size_bytes: None,
            compression: None,
            compression_error: None,
            compression_state: None,
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            tags: Some(BTreeMap::from([("n".to_owned(), (number % 50).to_string())])),
            uncompressed_size_bytes: None,
        })
    }

    fn with(table: &mut Table, number: usize, name: &str) {
        let snapshot = snapshot(number, name);
        table.put(snapshot.id.clone(), None, Some(snapshot));
    }

    /// As `matching` is defined.
    fn by_looking_at_all(table: &Table, filter: &SnapshotFilter) -> Vec<Arc<Snapshot>> {
        let mut all: Vec<_> = table.entries.values().filter_map(|entry| entry.snapshot.clone()).collect();
        all.retain(|snapshot| filter.matches(snapshot));
        all.sort_by(|a, b| order(a, b));
        all
    }

    fn assert_lists_are_right(table: &Table) {
        let tags = |n: &str| BTreeMap::from([("n".to_owned(), n.to_owned())]);
        let filters = [
            SnapshotFilter::default(),
            SnapshotFilter { name: Some("name-3".to_owned()), ..SnapshotFilter::default() },
            SnapshotFilter { name: Some(String::new()), ..SnapshotFilter::default() },
            SnapshotFilter { source_instance_id: Some("i3".to_owned()), ..SnapshotFilter::default() },
            SnapshotFilter { tags: tags("17"), ..SnapshotFilter::default() },
            SnapshotFilter { tags: tags("none has it"), ..SnapshotFilter::default() },
        ];
        for filter in filters {
            assert_eq!(table.matching(&filter), by_looking_at_all(table, &filter), "{filter:?}");
        }
    }

    #[test]
    fn lists_are_the_same_after_few_changes_and_after_many() {
        let mut table = Table::default();
        (0..1000).for_each(|n| with(&mut table, n, &format!("name-{}", n % 100)));
        table.arrange();
        assert_lists_are_right(&table);
        for n in 0..10 {
            with(&mut table, n * 100, "");
            with(&mut table, 2000 + n, "name-3");
            table.remove(&format!("s{:04}", n * 100 + 1));
            with(&mut table, n * 100 + 1, "came again");
            table.remove(&format!("s{:04}", n * 100 + 1));
        }
        assert!(!table.is_arranged());
        assert!(table.came.len() + table.went.len() <= MANY_CHANGES);
        table.arrange();
        assert!(table.is_arranged());
        assert_lists_are_right(&table);
    }

    #[test]
    fn walking_through_the_table_meets_every_snapshot_whatever_comes_and_goes_meanwhile() {
        let mut table = Table::default();
        (0..1000).for_each(|n| with(&mut table, n, ""));
        table.arrange();
        let (mut met, mut last) = (HashSet::new(), None);
        for step in 0.. {
            let next = table.after(last.as_deref(), 100);
            met.extend(next.iter().map(|snapshot| snapshot.id.clone()));
            let Some(end) = next.last() else { break };
            table.remove(&end.id);
            with(&mut table, 1000 + step, "");
            table.arrange();
            last = Some(Arc::clone(end));
        }
        assert!((0..1000).all(|n| met.contains(&format!("s{n:04}"))));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_taken_in_after_it() {
        let temp = tempfile::NamedTempFile::new().unwrap();
        let dir = crate::sys::dir::Dir::open(temp.path().parent().unwrap()).unwrap();
        let version = dir.version(temp.path().file_name().unwrap().to_str().unwrap()).unwrap();
        let mut table = Table::default();
        let read = snapshot(1, "as it was");
        table.offer(table.generation(), version, &read);
        assert_eq!(table.known("s0001", version), Some(Arc::clone(&read)));
        let generation = table.generation();
        table.remove("s0001");
        table.offer(generation, version, &read);
        assert_eq!(table.known("s0001", version), None);
    }
}
