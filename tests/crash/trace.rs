//! From what `strace` saw of a program to the operations on its file system.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;

use crate::disk::{Disk, Ino, Node, Op, Place, ROOT, rename};

/// What the recorder asks strace for: all that changes a file system, and what tells which file is meant.
pub const CALLS: &str = "openat,openat2,mkdir,mkdirat,unlink,unlinkat,rmdir,rename,renameat,renameat2,link,linkat,\
    symlink,symlinkat,write,writev,pwrite64,pwritev,pwritev2,lseek,truncate,ftruncate,fallocate,copy_file_range,\
    sendfile,splice,ioctl,fsync,fdatasync,sync,syncfs,close,dup,dup2,dup3,fcntl,newfstatat";

/// Stands for the number of an inode in a note of a restore, an `inode` or a `parent_inode`, in as many bytes as
/// [`INODE_DIGITS`].
pub const INODE_TOKEN: &str = "inode\": @";
const INODE_KEY: &str = "inode\": ";
const INODE_DIGITS: usize = 20;

/// The number of inode `ino` in a file, or its stand-in.
fn stand_in(ino: Ino) -> String {
    format!("@{ino:0width$}", width = INODE_DIGITS - 1)
}

/// Puts the real numbers in the place of their stand-ins. They are as long, with spaces behind them, which JSON allows.
/// `real` is told what of the note is before each.
pub fn with_inodes(content: &[u8], real: impl Fn(Ino, &str) -> u64) -> Vec<u8> {
    let mut content = content.to_vec();
    let key = INODE_TOKEN.as_bytes();
    let mut at = 0;
    while let Some(found) =
        content.get(at..).and_then(|rest| rest.windows(key.len()).position(|part| part == key))
    {
        let start = at + found + INODE_KEY.len();
        let Some(token) = content.get(start + 1..start + INODE_DIGITS) else { break };
        if let Some(ino) = std::str::from_utf8(token).ok().and_then(|digits| digits.parse().ok()) {
            let before = String::from_utf8_lossy(&content[..start]);
            let number = format!("{:<width$}", real(ino, &before), width = INODE_DIGITS);
            content[start..start + INODE_DIGITS].copy_from_slice(number.as_bytes());
        }
        at = start;
    }
    content
}

/// Reads the directory `root` as it lies, with the real number of each inode.
pub fn read_tree(root: &Path) -> (Vec<Node>, HashMap<u64, Ino>) {
    fn read(path: &Path, nodes: &mut Vec<Node>, real: &mut HashMap<u64, Ino>) -> Ino {
        let metadata = path.symlink_metadata().unwrap();
        let ino = nodes.len();
        real.insert(metadata.ino(), ino);
        if metadata.is_dir() {
            nodes.push(Node::Directory(BTreeMap::new()));
            let mut entries = BTreeMap::new();
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().expect("names are text");
                entries.insert(name, read(&entry.path(), nodes, real));
            }
            nodes[ino] = Node::Directory(entries);
        } else if metadata.is_symlink() {
            nodes.push(Node::Link(fs::read_link(path).unwrap().to_string_lossy().into_owned()));
        } else if metadata.is_file() {
            nodes.push(Node::File(Rc::new(fs::read(path).unwrap())));
        } else {
            // A socket: nothing of it outlives a crash.
            nodes.push(Node::Link(String::new()));
        }
        ino
    }
    let (mut nodes, mut real) = (Vec::new(), HashMap::new());
    assert_eq!(read(root, &mut nodes, &mut real), ROOT);
    (nodes, real)
}

/// Reads what strace wrote of programs that worked in `root` one after the other; it held `base` before.
pub fn parse(texts: impl Iterator<Item = String>, root: &Path, base: &Path, inodes: &str) -> Disk {
    let (nodes, _) = read_tree(base);
    // The copy has other inodes than what was worked on.
    let mut real = HashMap::new();
    for line in inodes.lines() {
        let (number, path) = line.split_once(' ').expect("a number and a path");
        let ino = Disk::find(&nodes, ROOT, path).expect("it was there before");
        real.insert(number.parse().expect("a number"), ino);
    }
    let disk = Disk { nodes: nodes.clone(), ops: Vec::new(), names: Vec::new() };
    let root = root.to_str().expect("paths are text").to_owned();
    let mut parser = Parser { disk, now: nodes, root, files: HashMap::new(), real, phase: String::new() };
    texts.for_each(|text| parser.program(&text));
    for (at, node) in parser.disk.nodes.iter_mut().enumerate() {
        if let Node::File(content) = node {
            *content = Rc::new(with_stand_ins(content, &parser.real));
        }
        assert!(at < parser.now.len());
    }
    for op in &mut parser.disk.ops {
        if let Op::Write { data, .. } = op {
            *data = Rc::new(with_stand_ins(data, &parser.real));
        }
    }
    parser.disk
}

/// Puts stand-ins in the place of inode numbers. Notes are written at once, so that what follows may move.
fn with_stand_ins(content: &[u8], real: &HashMap<u64, Ino>) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(content) else { return content.to_vec() };
    if !text.contains(INODE_KEY) {
        return content.to_vec();
    }
    let mut parts = text.split(INODE_KEY);
    let mut replaced = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        replaced.push_str(INODE_KEY);
        match part[..end].parse().ok().and_then(|number: u64| real.get(&number)) {
            Some(ino) => replaced.push_str(&stand_in(*ino)),
            None => replaced.push_str(&part[..end]),
        }
        replaced.push_str(&part[end..]);
    }
    replaced.into_bytes()
}

struct Parser {
    disk: Disk,
    /// As those who run see it.
    now: Vec<Node>,
    root: String,
    /// Open files by descriptor, with their position.
    files: HashMap<u64, (Ino, usize)>,
    /// Inodes by their real number.
    real: HashMap<u64, Ino>,
    /// The last mark, for the names of operations.
    phase: String,
}

impl Parser {
    /// All calls of a program, which begins with nothing open.
    fn program(&mut self, text: &str) {
        self.files.clear();
        let mut unfinished: HashMap<&str, (String, usize)> = HashMap::new();
        for line in text.lines() {
            let Some((pid, call)) = line.split_once(' ') else { continue };
            let call = call.trim_start();
            if call.starts_with("+++") || call.starts_with("---") {
                continue;
            }
            if let Some(begun) = call.strip_suffix(" <unfinished ...>") {
                if begun.starts_with("close(") {
                    // Its number is free at once: another thread may be given it before this one is seen to return.
                    self.call(&format!("{begun}) = 0"), self.disk.ops.len());
                }
                unfinished.insert(pid, (begun.to_owned(), self.disk.ops.len()));
            } else if let Some(rest) = call.strip_prefix("<... ") {
                let rest = rest.split_once("resumed>").expect("a resumed call").1;
                let (begun, covers) = unfinished.remove(pid).expect("it had begun");
                if !begun.starts_with("close(") {
                    self.call(&format!("{begun}{rest}"), covers);
                }
            } else {
                let covers = self.disk.ops.len();
                self.call(call, covers);
            }
        }
    }

    fn call(&mut self, call: &str, covers: usize) {
        let (name, rest) = call.split_once('(').expect("a call has arguments");
        let Some((arguments, result)) = rest.rsplit_once(" = ") else { return };
        let arguments = split(arguments.trim_end().strip_suffix(')').unwrap_or(arguments));
        if result.starts_with('-') || result.starts_with('?') {
            return;
        }
        let end = result.find(|c: char| !c.is_ascii_digit()).unwrap_or(result.len());
        let returned: u64 = result[..end].parse().unwrap_or(0);
        let argument = |at: usize| arguments.get(at).map_or("", String::as_str);
        match name {
            "openat" | "openat2" => self.open(&arguments, returned, result),
            "close" => drop(self.files.remove(&number(argument(0)))),
            "dup" | "dup2" | "dup3" => self.duplicate(number(argument(0)), returned),
            "fcntl" if argument(1).starts_with("F_DUPFD") => self.duplicate(number(argument(0)), returned),
            "mkdir" => self.make(&self.place("AT_FDCWD", argument(0)), Node::Directory(BTreeMap::new())),
            "mkdirat" => self.make(&self.place(argument(0), argument(1)), Node::Directory(BTreeMap::new())),
            "symlinkat" => {
                let target = text(argument(0));
                self.make(&self.place(argument(1), argument(2)), Node::Link(target));
            }
            "unlink" | "rmdir" => self.leave(&self.place("AT_FDCWD", argument(0))),
            "unlinkat" => self.leave(&self.place(argument(0), argument(1))),
            "rename" => self.rename("AT_FDCWD", argument(0), "AT_FDCWD", argument(1), ""),
            "renameat" | "renameat2" => {
                self.rename(argument(0), argument(1), argument(2), argument(3), argument(4));
            }
            "linkat" => {
                let source = text(argument(1));
                let file = source.strip_prefix("/proc/self/fd/").and_then(|fd| fd.parse().ok());
                let Some((ino, _)) = file.and_then(|fd: u64| self.files.get(&fd)).copied() else { return };
                if let Some(place) = self.place(argument(2), argument(3)) {
                    self.push(Op::Enter(place.clone(), ino), &format!("link {}", self.shown(&place)));
                }
            }
            "write" if number(argument(0)) == 1 => self.mark(&string(argument(1))),
            "write" => self.write(number(argument(0)), &string(argument(1)), None, returned),
            "pwrite64" => {
                let offset = usize::try_from(number(argument(3))).ok();
                self.write(number(argument(0)), &string(argument(1)), offset, returned);
            }
            "lseek" => {
                let at = usize::try_from(returned).expect("a position is a usize");
                self.files.entry(number(argument(0))).and_modify(|file| file.1 = at);
            }
            "ftruncate" => self.resize(number(argument(0)), number(argument(1))),
            "copy_file_range" => self.copy(&arguments, returned),
            "fsync" | "fdatasync" => {
                if let Some((ino, _)) = self.files.get(&number(argument(0))).copied() {
                    let path = path_of(argument(0)).replacen(&self.root, "", 1);
                    self.push(Op::Flush { ino, covers }, &format!("flush {}", anonymous(&path)));
                }
            }
            "newfstatat" => self.learn(argument(0), argument(1), argument(2)),
            "fcntl" => {}
            "ioctl" | "writev" | "pwritev" | "pwritev2" | "truncate" | "fallocate" | "sendfile"
            | "splice" | "link" | "symlink" | "sync" | "syncfs" => {
                let is_ours = self.files.contains_key(&number(argument(0)));
                assert!(!is_ours, "the recorder does not know what this did: {call}");
            }
            other => panic!("the recorder does not know {other}"),
        }
    }

    fn push(&mut self, op: Op, name: &str) {
        rename(&mut self.now, &op);
        self.disk.names.push(format!("{}: {name}", self.phase));
        self.disk.ops.push(op);
    }

    fn mark(&mut self, line: &[u8]) {
        let mark = serde_json::from_slice(line).expect("programs print marks only");
        let shown = format!("{mark:?}");
        self.phase = shown.split_once(' ').map_or(shown.as_str(), |(word, _)| word).to_owned();
        self.push(Op::Mark(mark), "mark");
    }

    fn add(&mut self, node: Node) -> Ino {
        self.now.push(node.clone());
        self.disk.nodes.push(node);
        self.now.len() - 1
    }

    fn open(&mut self, arguments: &[String], fd: u64, result: &str) {
        let flags = arguments.get(2).map_or("", String::as_str);
        if flags.contains("O_TMPFILE") {
            let path = path_of(result);
            if path.starts_with(&self.root) {
                let ino = self.add(Node::File(Rc::default()));
                if let Some(real) = path.rsplit_once('#').and_then(|(_, number)| number.parse().ok()) {
                    self.real.insert(real, ino);
                }
                self.files.insert(fd, (ino, 0));
            }
            return;
        }
        let path = path_of(result);
        let Some(below) = path.strip_prefix(&self.root) else { return };
        let ino = Disk::find(&self.now, ROOT, below).or_else(|| {
            let (directory, name) = below.rsplit_once('/').expect("it lies beneath the root");
            let parent = Disk::find(&self.now, ROOT, directory).expect("its directory is known");
            assert!(flags.contains("O_CREAT"), "the recorder missed how {path} came to be");
            let ino = self.add(Node::File(Rc::default()));
            let place = (parent, name.to_owned());
            self.push(Op::Enter(place.clone(), ino), &format!("make {}", self.shown(&place)));
            Some(ino)
        });
        let ino = ino.expect("it was found or made");
        let end = if flags.contains("O_APPEND") { usize::MAX } else { 0 };
        if flags.contains("O_TRUNC") && matches!(self.now[ino], Node::File(_)) {
            self.push(Op::Resize { ino, len: 0 }, &format!("empty {}", anonymous(below)));
        }
        self.files.insert(fd, (ino, end));
    }

    fn duplicate(&mut self, from: u64, to: u64) {
        if let Some(file) = self.files.get(&from).copied() {
            self.files.insert(to, file);
        }
    }

    /// The place of `path` beneath the open directory `at`; `None` outside the scene.
    fn place(&self, at: &str, path: &str) -> Option<Place> {
        let path = text(path);
        let (from, below) = match path.strip_prefix(crate::scene::SCENE) {
            Some(below) => (ROOT, below.to_owned()),
            None if path.starts_with('/') => (ROOT, path.strip_prefix(&self.root)?.to_owned()),
            None => (self.files.get(&number(at))?.0, path),
        };
        let (directory, name) = below.rsplit_once('/').unwrap_or(("", &below));
        Some((Disk::find(&self.now, from, directory)?, name.to_owned()))
    }

    fn make(&mut self, place: &Option<Place>, node: Node) {
        if let Some(place) = place {
            let ino = self.add(node);
            self.push(Op::Enter(place.clone(), ino), &format!("make {}", self.shown(place)));
        }
    }

    fn leave(&mut self, place: &Option<Place>) {
        if let Some(place) = place {
            self.push(Op::Leave(place.clone()), &format!("remove {}", self.shown(place)));
        }
    }

    fn rename(&mut self, from_dir: &str, from: &str, to_dir: &str, to: &str, flags: &str) {
        let (Some(from), Some(to)) = (self.place(from_dir, from), self.place(to_dir, to)) else { return };
        let at = |place: &Place| Disk::find(&self.now, place.0, &place.1);
        let ino = at(&from).expect("what is renamed is known");
        let name = format!("{} to {}", self.shown(&from), self.shown(&to));
        if flags.contains("RENAME_EXCHANGE") {
            let other = at(&to).expect("what it is exchanged with is known");
            self.push(Op::Exchange { one: from, other: to, inos: (ino, other) }, &format!("exchange {name}"));
        } else {
            self.push(Op::Rename { from, to, ino }, &format!("rename {name}"));
        }
    }

    fn write(&mut self, fd: u64, data: &[u8], offset: Option<usize>, written: u64) {
        let Some((ino, position)) = self.files.get(&fd).copied() else { return };
        let written = usize::try_from(written).expect("a write is of a usize");
        let data = data[..written].to_vec();
        let len = self.len(ino);
        let at = offset.unwrap_or(if position == usize::MAX { len } else { position });
        if offset.is_none() && position != usize::MAX {
            self.files.insert(fd, (ino, at + written));
        }
        self.put(ino, at, data);
    }

    fn put(&mut self, ino: Ino, offset: usize, data: Vec<u8>) {
        let Node::File(content) = &mut self.now[ino] else { panic!("a write to a directory") };
        let content = Rc::make_mut(content);
        content.resize(content.len().max(offset + data.len()), 0);
        content[offset..offset + data.len()].copy_from_slice(&data);
        self.push(Op::Write { ino, offset, data: Rc::new(data) }, "write");
    }

    fn resize(&mut self, fd: u64, len: u64) {
        let Some((ino, _)) = self.files.get(&fd).copied() else { return };
        let len = usize::try_from(len).expect("a length is a usize");
        let Node::File(content) = &mut self.now[ino] else { panic!("a directory has no length") };
        Rc::make_mut(content).resize(len, 0);
        self.push(Op::Resize { ino, len }, "resize");
    }

    fn copy(&mut self, arguments: &[String], copied: u64) {
        let place = |at: usize| {
            let inside = arguments.get(at).map_or("", |text| text.trim_matches(['[', ']']));
            usize::try_from(number(inside)).expect("an offset is a usize")
        };
        let (from, to) = (number(&arguments[0]), number(&arguments[2]));
        let Some((target, _)) = self.files.get(&to).copied() else { return };
        let (source, _) = self.files.get(&from).copied().expect("what is copied lies in the scene");
        let Node::File(content) = &self.now[source] else { panic!("a copy of a directory") };
        let len = usize::try_from(copied).expect("a length is a usize");
        let data = content[place(1)..place(1) + len].to_vec();
        self.put(target, place(3), data);
    }

    fn len(&self, ino: Ino) -> usize {
        match &self.now[ino] {
            Node::File(content) => content.len(),
            Node::Directory(_) | Node::Link(_) => 0,
        }
    }

    /// The real number of an inode that the program looked at.
    fn learn(&mut self, at: &str, path: &str, stat: &str) {
        let Some(place) = self.place(at, path) else { return };
        let Some(ino) = Disk::find(&self.now, place.0, &place.1) else { return };
        if let Some((_, rest)) = stat.split_once("st_ino=") {
            self.real.insert(number(rest), ino);
        }
    }

    /// A place by its path, with what differs from run to run left out.
    fn shown(&self, place: &Place) -> String {
        fn path_to(nodes: &[Node], at: Ino, wanted: Ino) -> Option<String> {
            if at == wanted {
                return Some(String::new());
            }
            let Node::Directory(entries) = &nodes[at] else { return None };
            entries.iter().find_map(|(name, ino)| Some(format!("/{name}{}", path_to(nodes, *ino, wanted)?)))
        }
        let directory = path_to(&self.now, ROOT, place.0).unwrap_or_default();
        anonymous(&format!("{directory}/{}", place.1))
    }
}

/// `path` with stand-ins for ids and hashes, and without the parts that say nothing.
fn anonymous(path: &str) -> String {
    let path = path.replace("/data/snapshots/.libhypeman", "");
    let mut words = Vec::new();
    for word in path.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        // Of a file without a name its inode is told.
        let is_inode = words.last().is_some_and(|last: &String| last.ends_with('#'));
        let is_id = bare.len() == 24 || bare.len() == 64 || is_inode;
        words.push(if is_id { word.replacen(bare, "*", 1) } else { word.to_owned() });
    }
    words.concat()
}

/// The arguments of a call, at its commas.
fn split(arguments: &str) -> Vec<String> {
    let (mut parts, mut depth, mut is_quoted) = (vec![String::new()], 0_u32, false);
    for c in arguments.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            '{' | '[' if !is_quoted => depth += 1,
            '}' | ']' if !is_quoted => depth -= 1,
            ',' if !is_quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut().filter(|last| !(last.is_empty() && c == ' ')) {
            last.push(c);
        }
    }
    parts
}

/// The number at the start of `text`; of no use where there is none.
fn number(text: &str) -> u64 {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().unwrap_or(u64::MAX >> 1)
}

/// The path behind a descriptor, `3<\x2f...>`.
fn path_of(descriptor: &str) -> String {
    let inside = descriptor.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
    inside.map_or(String::new(), |(path, _)| String::from_utf8_lossy(&unescape(path)).into_owned())
}

fn text(argument: &str) -> String {
    String::from_utf8(string(argument)).expect("paths are text")
}

/// The bytes of a string argument, `"\x2f..."`.
fn string(argument: &str) -> Vec<u8> {
    assert!(
        argument.ends_with('"'),
        "strace cut a string short: {}",
        &argument[argument.len().saturating_sub(40)..]
    );
    unescape(argument.trim_matches('"'))
}

fn unescape(text: &str) -> Vec<u8> {
    let digits = text.split("\\x").skip(1);
    digits.map(|digits| u8::from_str_radix(digits, 16).expect("two hexadecimal digits")).collect()
}

/// The real inode and the path of all beneath `root`, a line each: what [`parse`] wants to know of it.
pub fn inodes(root: &Path) -> String {
    fn walk(root: &Path, at: &Path, lines: &mut String) {
        let below = at.strip_prefix(root).expect("it lies beneath");
        let path = String::from_utf8_lossy(below.as_os_str().as_bytes());
        lines.push_str(&format!("{} /{path}\n", at.symlink_metadata().unwrap().ino()));
        if at.symlink_metadata().unwrap().is_dir() {
            for entry in fs::read_dir(at).unwrap() {
                walk(root, &entry.unwrap().path(), lines);
            }
        }
    }
    let mut lines = String::new();
    walk(root, root, &mut lines);
    lines
}
