//! A file system of operations: what was done to it, in order, and what of that is left when the power goes.
//!
//! Weaker than ext4, xfs and btrfs, so that what holds here holds there. After a crash an operation is sure to be
//! there only if a later flush of its file or directory had ended. Of what is not sure, any prefix of each directory's
//! changes may be left, any sectors of each file's writes, and any length that the file had. A rename is atomic, and
//! belongs to both its directories.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

use twox_hash::XxHash3_64;

use crate::scene::Mark;

/// The number of a file or directory. The root is 0.
pub type Ino = usize;
pub const ROOT: Ino = 0;
const SECTOR: usize = 512;

/// What a number stands for.
#[derive(Clone, Debug)]
pub enum Node {
    Directory(BTreeMap<String, Ino>),
    File(Rc<Vec<u8>>),
    Link(String),
}

/// A place in a directory.
pub type Place = (Ino, String);

#[derive(Clone, Debug)]
pub enum Op {
    /// A file, directory or link gets a name.
    Enter(Place, Ino),
    Leave(Place),
    Rename {
        from: Place,
        to: Place,
        ino: Ino,
    },
    Exchange {
        one: Place,
        other: Place,
        inos: (Ino, Ino),
    },
    Write {
        ino: Ino,
        offset: usize,
        data: Rc<Vec<u8>>,
    },
    Resize {
        ino: Ino,
        len: usize,
    },
    /// A flush that ended here, of the operations before number `covers`.
    Flush {
        ino: Ino,
        covers: usize,
    },
    /// Something that the program knows, or promises, from here on.
    Mark(Mark),
}

/// A file system as it was at first, and what was done to it.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub nodes: Vec<Node>,
    pub ops: Vec<Op>,
    /// A name for each operation, with what differs from run to run left out.
    pub names: Vec<String>,
}

/// What a crash leaves.
#[derive(Clone, Debug)]
pub struct State {
    pub nodes: Vec<Node>,
    /// Of all that can be reached from the root.
    pub hash: u64,
}

/// Which of the operations that are not sure are left.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// That a directory's next change is left, in 256ths.
    pub names: u32,
    /// That a write, or a sector of it, is left.
    pub data: u32,
    pub seed: u64,
}

/// Small and repeatable: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).expect("smaller than a usize")
    }

    fn happens(&mut self, chance: u32) -> bool {
        self.next() % 256 < u64::from(chance)
    }
}

impl Op {
    /// The directories or the file that this changes.
    fn changes(&self) -> [Option<Ino>; 2] {
        match self {
            Self::Enter(place, _) | Self::Leave(place) => [Some(place.0), None],
            Self::Rename { from, to, .. } => [Some(from.0), Some(to.0)],
            Self::Exchange { one, other, .. } => [Some(one.0), Some(other.0)],
            Self::Write { ino, .. } | Self::Resize { ino, .. } => [Some(*ino), None],
            Self::Flush { .. } | Self::Mark(_) => [None, None],
        }
    }

    fn is_of_data(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Resize { .. })
    }
}

impl Disk {
    /// For each operation the first moment, in operations, from which on it is sure to be left.
    pub fn sure_from(&self) -> Vec<usize> {
        let mut sure = vec![usize::MAX; self.ops.len()];
        for (at, op) in self.ops.iter().enumerate() {
            let Op::Flush { ino, covers } = op else { continue };
            for (earlier, sure) in self.ops.iter().zip(&mut sure).take(*covers) {
                if *sure == usize::MAX && earlier.changes().contains(&Some(*ino)) {
                    *sure = at + 1;
                }
            }
        }
        sure
    }

    /// What is left of the first `end` operations. `lost`, where it is given, are operations that are not sure and do
    /// not make it, whatever chance says; all others do.
    pub fn crash(&self, sure: &[usize], end: usize, chance: Chance, lost: Option<&[usize]>) -> State {
        let mut random = Random(chance.seed);
        // A directory whose next change did not make it changes no more.
        let mut closed: HashMap<Ino, bool> = HashMap::new();
        let mut nodes = self.nodes.clone();
        let mut torn: BTreeMap<Ino, Vec<usize>> = BTreeMap::new();
        for (at, op) in self.ops.iter().take(end).enumerate() {
            let is_sure = sure.get(at).is_some_and(|from| *from <= end);
            if op.is_of_data() {
                if let Some(ino) = op.changes()[0] {
                    torn.entry(ino).or_default().push(at);
                }
                continue;
            }
            let dirs: Vec<Ino> = op.changes().into_iter().flatten().collect();
            let is_kept = is_sure
                || match lost {
                    Some(lost) => !lost.contains(&at),
                    None => random.happens(chance.names),
                };
            let is_open = is_sure || dirs.iter().all(|dir| !closed.get(dir).copied().unwrap_or(false));
            if is_kept && is_open {
                rename(&mut nodes, op);
            } else {
                closed.extend(dirs.into_iter().map(|dir| (dir, true)));
            }
        }
        for (ino, ops) in torn {
            self.tear(&mut nodes, ino, &ops, (sure, end), chance, lost, &mut random);
        }
        let hash = hash(&nodes);
        State { nodes, hash }
    }

    /// Everything that was done, as those who run see it.
    pub fn volatile(&self) -> Vec<Node> {
        let all = Chance { names: 256, data: 256, seed: 0 };
        self.crash(&vec![0; self.ops.len()], self.ops.len(), all, None).nodes
    }

    #[allow(clippy::too_many_arguments, reason = "one place calls it")]
    fn tear(
        &self,
        nodes: &mut [Node],
        ino: Ino,
        ops: &[usize],
        (sure, end): (&[usize], usize),
        chance: Chance,
        lost: Option<&[usize]>,
        random: &mut Random,
    ) {
        let Some(Node::File(first)) = nodes.get(ino) else { return };
        let mut content = first.as_ref().clone();
        // Every length that the file may have: the last sure one, and each after it.
        let mut length = content.len();
        let mut lengths = vec![length];
        let file_chance = [0, chance.data, 256, chance.data][random.below(4)];
        for at in ops {
            let is_sure = sure.get(*at).is_some_and(|from| *from <= end);
            let is_lost = lost.is_some_and(|lost| lost.contains(at));
            let chance = if lost.is_some() { 256 } else { file_chance };
            match &self.ops[*at] {
                Op::Resize { len, .. } => {
                    length = *len;
                    if !is_lost || is_sure {
                        content.resize(content.len().max(*len), 0);
                        content[*len..].fill(0);
                    }
                }
                Op::Write { offset, data, .. } => {
                    length = length.max(offset + data.len());
                    content.resize(content.len().max(length), 0);
                    let is_whole = is_sure || chance == 256 && !is_lost;
                    let mut from = 0;
                    while from < data.len() {
                        let to = (((offset + from) / SECTOR + 1) * SECTOR - offset).min(data.len());
                        if is_whole || (!is_lost && random.happens(chance)) {
                            content[offset + from..offset + to].copy_from_slice(&data[from..to]);
                        }
                        from = to;
                    }
                }
                _ => {}
            }
            if is_sure {
                lengths.clear();
            }
            if !is_lost || is_sure || random.happens(128) {
                lengths.push(length);
            }
        }
        let is_all = lost.is_some() || chance.data == 256;
        let length = if is_all { lengths.last() } else { lengths.get(random.below(lengths.len())) };
        content.resize(length.copied().unwrap_or(0), 0);
        nodes[ino] = Node::File(Rc::new(content));
    }

    /// The place of `path`, whose parts are separated by `/`, as those who run see it in `nodes`.
    pub fn find(nodes: &[Node], from: Ino, path: &str) -> Option<Ino> {
        let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
        parts.into_iter().try_fold(from, |at, part| match nodes.get(at)? {
            Node::Directory(entries) => entries.get(part).copied(),
            Node::File(_) | Node::Link(_) => None,
        })
    }
}

/// Does an operation on names.
pub fn rename(nodes: &mut [Node], op: &Op) {
    let enter = |nodes: &mut [Node], place: &Place, ino: Ino| {
        if let Some(Node::Directory(entries)) = nodes.get_mut(place.0) {
            entries.insert(place.1.clone(), ino);
        }
    };
    let leave = |nodes: &mut [Node], place: &Place| {
        if let Some(Node::Directory(entries)) = nodes.get_mut(place.0) {
            entries.remove(&place.1);
        }
    };
    match op {
        Op::Enter(place, ino) => enter(nodes, place, *ino),
        Op::Leave(place) => leave(nodes, place),
        Op::Rename { from, to, ino } => {
            leave(nodes, from);
            enter(nodes, to, *ino);
        }
        Op::Exchange { one, other, inos } => {
            enter(nodes, one, inos.1);
            enter(nodes, other, inos.0);
        }
        Op::Write { .. } | Op::Resize { .. } | Op::Flush { .. } | Op::Mark(_) => {}
    }
}

/// Of every path and content.
fn hash(nodes: &[Node]) -> u64 {
    fn walk(nodes: &[Node], at: Ino, hasher: &mut XxHash3_64) {
        match &nodes[at] {
            Node::Directory(entries) => {
                entries.len().hash(hasher);
                for (name, ino) in entries {
                    name.hash(hasher);
                    walk(nodes, *ino, hasher);
                }
            }
            Node::File(content) => content.hash(hasher),
            Node::Link(target) => target.hash(hasher),
        }
    }
    let mut hasher = XxHash3_64::new();
    walk(nodes, ROOT, &mut hasher);
    hasher.finish()
}
