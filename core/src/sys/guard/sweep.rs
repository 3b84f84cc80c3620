//! The end of a VM whose pager died.
//!
//! It may go on with what it has. When it touches what it has not, its VMM gets the signal of that, SIGBUS; it stays where it
//! is until then, so that it reads nothing. To poison its pages instead would do where a processor runs all of its guest,
//! and is what is left where its VMM may not be sent a signal: an instruction that KVM carries out for the guest takes a
//! poisoned page for a device, and reads what is not there.

use std::mem::size_of;
use std::os::fd::RawFd;

use super::child::call;
use super::linux::Message;
use super::{Area, MOST_AREAS};
use crate::sys::uffd::{Change, EVENT_BYTES, EVENT_PAGEFAULT, Span, UFFDIO};

const POISON: u64 = nix::request_code_readwrite!(UFFDIO, 0x08, size_of::<Change>()) as u64;
const UNREGISTER: u64 = nix::request_code_read!(UFFDIO, 0x01, size_of::<Span>()) as u64;
const WAKE: u64 = nix::request_code_read!(UFFDIO, 0x02, size_of::<Span>()) as u64;

/// After so much of one VM it is the turn of the next.
const TURN_BYTES: u64 = 1 << 30;
/// Turns that a VMM has to end after its signal: then it is killed, and after as many more its pages are poisoned.
const PATIENCE_TURNS: u64 = 100;
/// Turns from one signal to the next.
const SIGNAL_TURNS: u64 = 5;

/// A VM of the host.
#[derive(Clone, Copy)]
pub(super) struct Watched {
    pub(super) token: u64,
    pub(super) uffd: RawFd,
    /// The pidfd of its VMM; -1 where there is none that it can be sent a signal by.
    pub(super) vmm: RawFd,
    /// How many turns ago it was sent one, and 1; 0 before it was.
    told: u64,
    /// Whoever waited for the host has been asked to say so again.
    is_woken: bool,
    count: u64,
    areas: [Area; MOST_AREAS],
    /// How many bytes of its areas, one after the other, are there or poisoned.
    swept: u64,
    /// How many of them to poison at a time.
    step: u64,
}

/// What came of a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    Over,
    GoesOn,
    /// The kernel asks for some time.
    Waits,
}

impl Watched {
    pub(super) fn new(message: &Message, uffd: RawFd, vmm: RawFd) -> Self {
        let Message { token, count, areas, .. } = *message;
        Self { token, uffd, vmm, told: 0, is_woken: false, count, areas, swept: 0, step: TURN_BYTES }
    }

    /// Goes on with the end of this VM.
    pub(super) fn end(&mut self) -> Turn {
        if !self.is_woken {
            self.is_woken = true;
            self.for_all_memory(WAKE);
            // Whether it may be sent signals at all.
            if self.signal(0).is_err() {
                self.give_up_vmm();
            }
        }
        if self.vmm < 0 { self.sweep() } else { self.await_touch() }
    }

    /// Waits until it touches what it has not got, and until it has ended of that.
    fn await_touch(&mut self) -> Turn {
        let mut vmm = libc::pollfd { fd: self.vmm, events: libc::POLLIN, revents: 0 };
        let no_time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let poll = [&raw mut vmm as u64, 1, &raw const no_time as u64, 0, 0];
        // SAFETY: one descriptor and a time that live as long as the call.
        let polled = unsafe { call(libc::SYS_ppoll, poll) };
        if polled == Ok(1) {
            // Who connected has ended. The memory may be another's all the same; where it is not, it is gone, too.
            self.give_up_vmm();
            return self.sweep();
        }
        let has_touched = self.read_events();
        if has_touched || self.told > 0 {
            self.told = self.told.saturating_add(1);
        }
        let sent = match self.told {
            PATIENCE_TURNS => self.signal(libc::SIGKILL),
            told if told > 2 * PATIENCE_TURNS => Err(libc::EPERM),
            // Again and again: a handler, such as that of every Rust program, may restore the default and go back to what
            // raised it.
            told if told < PATIENCE_TURNS && told % SIGNAL_TURNS == 1 => self.signal(libc::SIGBUS),
            _ => Ok(0),
        };
        if sent.is_err() {
            self.give_up_vmm();
        }
        Turn::Waits
    }

    fn signal(&self, signal: libc::c_int) -> Result<u64, i32> {
        // SAFETY: numbers alone.
        unsafe { call(libc::SYS_pidfd_send_signal, [self.vmm as u64, signal as u64, 0, 0, 0]) }
    }

    fn give_up_vmm(&mut self) {
        // SAFETY: a descriptor of ours, which is used no more.
        let _ = unsafe { call(libc::SYS_close, [self.vmm as u64, 0, 0, 0, 0]) };
        self.vmm = -1;
    }

    /// Poisons what it has not got, and lets it go then.
    ///
    /// What it has got it keeps, and what it gives back later reads as zeros, as it should, because the kernel answers then:
    /// a page is let go only once it is there or poisoned. Without that, a balloon would wait for ever for someone to read
    /// what it does.
    fn sweep(&mut self) -> Turn {
        let mut left = TURN_BYTES;
        while let Some((address, bytes, page_bytes)) = self.next() {
            if left == 0 {
                return Turn::GoesOn;
            }
            let bytes = bytes.min(self.step.max(page_bytes));
            let swept = match poison(self.uffd, address, bytes) {
                Ok(done) => {
                    self.step = self.step.saturating_mul(2).min(TURN_BYTES);
                    done
                }
                // It is there.
                Err(libc::EEXIST) => page_bytes,
                // Something in this range is not, or not any more, for others to answer.
                Err(libc::ENOENT) if bytes > page_bytes => {
                    self.step = bytes / page_bytes / 2 * page_bytes;
                    continue;
                }
                Err(libc::ENOENT) => page_bytes,
                Err(libc::EAGAIN) => {
                    let _ = self.read_events();
                    return Turn::Waits;
                }
                Err(libc::EINTR | libc::ENOMEM) => return Turn::Waits,
                // It is gone, or the kernel cannot do this. It is not let go then: that would be zeros.
                Err(_) => return Turn::Over,
            };
            self.swept = self.swept.saturating_add(swept);
            left = left.saturating_sub(swept);
        }
        self.let_go()
    }

    /// What comes next: its address, how many bytes from there on are alike, and how long its pages are.
    fn next(&self) -> Option<(u64, u64, u64)> {
        let mut inside = self.swept;
        for area in self.areas.iter().take(self.count as usize) {
            if inside < area.bytes {
                return Some((area.start.wrapping_add(inside), area.bytes - inside, area.page_bytes));
            }
            inside -= area.bytes;
        }
        None
    }

    fn let_go(&self) -> Turn {
        self.for_all_memory(UNREGISTER);
        // Who began to give memory back before that still waits until it is read. No bytes are none to poison, but an error
        // that comes only when nobody waits.
        if poison(self.uffd, 0, 0) == Err(libc::EAGAIN) {
            let _ = self.read_events();
            return Turn::Waits;
        }
        Turn::Over
    }

    fn for_all_memory(&self, what: u64) {
        for area in self.areas.iter().take(self.count as usize) {
            let span = Span { start: area.start, len: area.bytes };
            // SAFETY: `span` is what these requests take.
            let _ = unsafe { request(self.uffd, what, &raw const span as u64) };
        }
    }

    /// Reads what the VM waits to have read, and answers whether it waits for a page.
    fn read_events(&self) -> bool {
        let mut bytes = [0_u8; 16 * EVENT_BYTES];
        let read = [self.uffd as u64, bytes.as_mut_ptr() as u64, bytes.len() as u64, 0, 0];
        let flags = [self.uffd as u64, libc::F_SETFL as u64, libc::O_NONBLOCK as u64, 0, 0];
        // SAFETY: numbers alone. The maker of the descriptor shares this flag, and may have changed it.
        let _ = unsafe { call(libc::SYS_fcntl, flags) };
        let mut has_fault = false;
        loop {
            // SAFETY: reads into memory of ours of that length.
            let Ok(read @ 1..) = (unsafe { call(libc::SYS_read, read) }) else { return has_fault };
            let events = bytes.chunks_exact(EVENT_BYTES).take(read as usize / EVENT_BYTES);
            has_fault |= events.into_iter().any(|event| event.first() == Some(&EVENT_PAGEFAULT));
        }
    }
}

/// Poisons missing pages until one is there, and tells how many bytes those were.
fn poison(uffd: RawFd, start: u64, len: u64) -> Result<u64, i32> {
    let mut change = Change { range: Span { start, len }, mode: 0, changed: 0 };
    // SAFETY: `change` is what this request takes; it changes only the process that made the descriptor.
    let done = unsafe { request(uffd, POISON, &raw mut change as u64) };
    match done {
        Err(libc::EAGAIN) if change.changed > 0 => Ok(change.changed.unsigned_abs()),
        Err(errno) => Err(errno),
        Ok(_) => Ok(change.changed.unsigned_abs()),
    }
}

/// # Safety
/// `argument` has to point to what the request takes.
unsafe fn request(uffd: RawFd, request: u64, argument: u64) -> Result<u64, i32> {
    // SAFETY: up to the caller.
    unsafe { call(libc::SYS_ioctl, [uffd as u64, request, argument, 0, 0]) }
}
