//! Both sides of a migration as the scripted cloud-hypervisor plays them, byte by byte.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::model::{MEMORY_BYTES, Model, state};
use crate::sys::{memfd, socket};

const START: u16 = 1;
const CONFIG: u16 = 2;
const STATE: u16 = 3;
const COMPLETE: u16 = 5;
const MEMORY_FD: u16 = 7;
const COMPLETE_PAUSED: u16 = 8;

/// What a migration asks, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Start,
    MemoryFd,
    Config,
    State,
    Complete,
}

impl Step {
    pub(super) const ALL: [Self; 6] =
        [Self::Connect, Self::Start, Self::MemoryFd, Self::Config, Self::State, Self::Complete];
}

/// What comes in place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    HangUp,
    /// Half a request, and then the end.
    Half,
    Garbage,
    /// Text without a meaning, or for a destination: a refusal.
    Nonsense,
}

impl Break {
    pub(super) const ALL: [Self; 4] = [Self::HangUp, Self::Half, Self::Garbage, Self::Nonsense];
}

/// What a destination was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) config: Value,
    pub(super) state: Value,
    pub(super) memory: Vec<u8>,
    pub(super) is_paused: bool,
}

/// Guest memory as the memory file has it: every page has a number, and some are zero.
pub(super) fn image() -> Vec<u8> {
    let page = |page: u64| if (100..300).contains(&page) { 0 } else { (page % 251) as u8 + 1 };
    (0..MEMORY_BYTES).map(|at| page(at / 4096)).collect()
}

/// Plays the source of a migration to `path`; afterwards the VM is paused, or as it was where it failed.
pub(super) fn send(path: &str, model: &Arc<Mutex<Model>>) {
    let (before, config, breaks, forgets) = {
        let model = model.lock().unwrap();
        (model.state, model.config.clone(), model.breaks, model.forgets_bytes)
    };
    let sent = source(path, model, &config, breaks, forgets);
    let mut model = model.lock().unwrap();
    if sent.is_err() {
        model.state = before;
    }
    model.breaks = None;
    model.migrates_to = None;
}

fn source(
    path: &str,
    model: &Arc<Mutex<Model>>,
    config: &Value,
    breaks: Option<(Step, Break)>,
    forgets_bytes: u64,
) -> io::Result<()> {
    let image = image();
    let memory = memfd::create()?;
    memory.write_all_at(&image[1 << 20..], 0)?;
    memory.write_all_at(&image[..1 << 20], 2 << 20)?;
    memory.set_len(MEMORY_BYTES - forgets_bytes)?;
    let broken = |step| breaks.filter(|(at, _)| *at == step).map(|(_, how)| how);
    if broken(Step::Connect).is_some() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let stream = UnixStream::connect(path)?;
    let ask = |step: Step, command: u16, payload: &[u8], file: Option<&File>| -> io::Result<()> {
        match broken(step) {
            None => {}
            Some(Break::HangUp) => return Err(io::ErrorKind::Other.into()),
            Some(Break::Half) => {
                (&stream).write_all(&frame(command, payload.len() as u64)[..9])?;
                return Err(io::ErrorKind::Other.into());
            }
            Some(Break::Garbage) => {
                (&stream).write_all(&[0xff; 64])?;
                return Err(io::ErrorKind::Other.into());
            }
            Some(Break::Nonsense) => {
                (&stream).write_all(&frame(command, 3))?;
                (&stream).write_all(b"{]}")?;
                return answered(&stream);
            }
        }
        (&stream).write_all(&frame(command, payload.len() as u64))?;
        if !payload.is_empty() {
            let (first, rest) = payload.split_at(payload.len().min(4));
            assert_eq!(socket::send(&stream, first, file.map(AsFd::as_fd).as_slice())?, first.len());
            (&stream).write_all(rest)?;
        }
        answered(&stream)
    };
    ask(Step::Start, START, &[], None)?;
    for slot in [1_u32, 0] {
        ask(Step::MemoryFd, MEMORY_FD, &slot.to_le_bytes(), Some(&memory))?;
    }
    let payload = json!({ "vm_config": config, "common_cpuid": [], "memory_manager_data": {} }).to_string();
    ask(Step::Config, CONFIG, payload.as_bytes(), None)?;
    model.lock().unwrap().state = Some("Paused");
    ask(Step::State, STATE, state().to_string().as_bytes(), None)?;
    ask(Step::Complete, COMPLETE, &[], None)
}

/// Plays the destination at `path`, which `asks` for its memory or has been given it; `None` where it was broken off.
pub(super) fn receive(path: &Path, breaks: Option<(Step, Break)>, asks: bool) -> Option<Received> {
    if breaks.is_some_and(|(at, _)| at == Step::Connect) {
        return None;
    }
    let listener = UnixListener::bind(path).unwrap();
    let (stream, _) = listener.accept().unwrap();
    let mut slots = Vec::new();
    let (mut config, mut vm_state) = (Value::Null, Value::Null);
    loop {
        let (command, length) = split(read(&stream, 16).ok()?);
        let text = || read(&stream, length as usize).unwrap();
        let step = match command {
            START => Step::Start,
            MEMORY_FD => {
                let mut slot = [0; 4];
                let (count, file) = socket::receive(&stream, &mut slot).unwrap();
                assert_eq!(count, 4);
                slots.push((u32::from_le_bytes(slot), file.into_iter().next().unwrap()));
                Step::MemoryFd
            }
            CONFIG => {
                config = serde_json::from_slice(&text()).unwrap();
                Step::Config
            }
            STATE => {
                vm_state = serde_json::from_slice(&text()).unwrap();
                if asks {
                    ask_for_all(&listener, &config)?;
                }
                Step::State
            }
            COMPLETE | COMPLETE_PAUSED => Step::Complete,
            other => panic!("{other}"),
        };
        match breaks.filter(|(at, _)| *at == step) {
            None => (&stream).write_all(&frame(1, 0)).unwrap(),
            Some((_, Break::HangUp)) => return None,
            Some((_, Break::Half)) => {
                (&stream).write_all(&frame(1, 0)[..5]).unwrap();
                return None;
            }
            Some((_, Break::Garbage)) => {
                (&stream).write_all(&[0xff; 64]).unwrap();
                return None;
            }
            Some((_, Break::Nonsense)) => {
                (&stream).write_all(&frame(2, 0)).unwrap();
                return None;
            }
        }
        if step == Step::Complete {
            let memory = memory_of(&config, &slots);
            return Some(Received { config, state: vm_state, memory, is_paused: command == COMPLETE_PAUSED });
        }
    }
}

/// Asks for every page over a connection of its own; `None` where one cannot be had.
fn ask_for_all(listener: &UnixListener, config: &Value) -> Option<()> {
    let (questions, _) = listener.accept().unwrap();
    assert_eq!(read(&questions, 2).unwrap(), [2, 0], "it says what it is for");
    for mapping in config["memory_manager_data"]["guest_ram_mappings"].as_array().unwrap() {
        let (gpa, size) = (mapping["gpa"].as_u64().unwrap(), mapping["size"].as_u64().unwrap());
        for page in (gpa..gpa + size).step_by(4096) {
            let range = [page.to_le_bytes(), 4096_u64.to_le_bytes()].concat();
            (&questions).write_all(&[frame(9, 16), range].concat()).ok()?;
            answered(&questions).ok()?;
        }
    }
    Some(())
}

/// The ranges one after the other, read as a guest would read them.
fn memory_of(config: &Value, slots: &[(u32, File)]) -> Vec<u8> {
    let mut memory = Vec::new();
    for mapping in config["memory_manager_data"]["guest_ram_mappings"].as_array().unwrap() {
        let (_, file) = slots.iter().find(|(slot, _)| json!(slot) == mapping["slot"]).unwrap();
        let mut bytes = vec![0; mapping["size"].as_u64().unwrap() as usize];
        file.read_exact_at(&mut bytes, mapping["file_offset"].as_u64().unwrap()).unwrap();
        memory.extend(bytes);
    }
    memory
}

fn answered(stream: &UnixStream) -> io::Result<()> {
    let (status, _) = split(read(stream, 16)?);
    if status == 1 { Ok(()) } else { Err(io::ErrorKind::Other.into()) }
}

fn read(mut stream: &UnixStream, count: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn frame(number: u16, length: u64) -> Vec<u8> {
    [&number.to_le_bytes()[..], &[0; 6], &length.to_le_bytes()].concat()
}

fn split(frame: Vec<u8>) -> (u16, u64) {
    let (head, length) = frame.split_at(8);
    (u16::from_le_bytes([head[0], head[1]]), u64::from_le_bytes(length.try_into().unwrap()))
}
