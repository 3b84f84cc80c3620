//! What a guard does, from its first instruction on.
//!
//! It begins as a copy of one thread of a host with many: locks may be held for ever, memory may be half changed. So that
//! nothing here locks, allocates or panics, and the C library is asked for nothing but system calls.

use std::mem::{size_of, zeroed};
use std::ops::Range;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_long};

use super::keep::Kept;
use super::linux::{Answer, FORGET, Message, STOP, WATCH};
use super::sweep::{Turn, Watched};
use super::{MOST_AREAS, MOST_VMS};

/// What of its parent a guard goes on with.
pub(super) struct Inherited {
    /// Its end of the socket.
    pub(super) socket: RawFd,
    /// The pidfd of its parent.
    pub(super) host: RawFd,
    pub(super) keep: Kept,
    /// Where the memory of the process ends.
    pub(super) end: u64,
}

/// What remains where the kernel does not let go of it is cut no smaller than this.
const SMALLEST_BYTES: u64 = 64 << 10;
/// Between two looks at VMs of a host that is dead.
const PAUSE_MS: i64 = 20;

/// Does a system call that takes and gives numbers; its error is an `errno`.
///
/// # Safety
/// As for the system call; pointers among `arguments` have to be good for it.
pub(super) unsafe fn call(number: c_long, arguments: [u64; 5]) -> Result<u64, c_int> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: up to the caller. Where a call takes a sixth argument, it is 0.
    let done = unsafe { libc::syscall(number, a, b, c, d, e, 0_u64) };
    match u64::try_from(done) {
        Ok(done) => Ok(done),
        // SAFETY: the `errno` of this thread, in memory that is kept.
        Err(_) => Err(unsafe { *libc::__errno_location() }),
    }
}

pub(super) fn run(inherited: &Inherited) -> ! {
    if !shed_descriptors(inherited) {
        end()
    }
    // SAFETY: numbers, and strings that live for ever. It leaves its parent's session, so that what is sent to all of that
    // does not end it; keeps no directory busy; and says who it is.
    unsafe {
        let _ = call(libc::SYS_setsid, [0; 5]);
        let _ = call(libc::SYS_chdir, [c"/".as_ptr() as u64, 0, 0, 0, 0]);
        let name = c"hypeman-guard".as_ptr() as u64;
        let _ = call(libc::SYS_prctl, [libc::PR_SET_NAME as u64, name, 0, 0, 0]);
    }
    shed_memory(inherited);
    let Some(vms) = room() else { end() };
    raise_limit();
    // That it is there.
    send(inherited.socket, &Answer { token: 0, is_taken: 0 });
    let mut list = List { vms, len: 0 };
    while !list.hear(inherited) {}
    list.end_all();
    end()
}

/// Closes what belongs to the host: a copy would keep its locks, its pipes and its connections alive. Answers whether the
/// kernel did that, which a filter may not let it.
fn shed_descriptors(inherited: &Inherited) -> bool {
    let (low, high) =
        (inherited.socket.min(inherited.host) as u64, inherited.socket.max(inherited.host) as u64);
    let ranges = [(0, low.wrapping_sub(1)), (low + 1, high.wrapping_sub(1)), (high + 1, u64::from(u32::MAX))];
    ranges.into_iter().filter(|(first, last)| first <= last && *last <= u64::from(u32::MAX)).all(
        |(first, last)| {
            // SAFETY: these descriptors are copies, which no one uses in this process.
            unsafe { call(libc::SYS_close_range, [first, last, 0, 0, 0]) }.is_ok()
        },
    )
}

/// Gives back all memory but that which is kept.
fn shed_memory(inherited: &Inherited) {
    let mut at = 0;
    for keep in &inherited.keep {
        give_back(at..keep.start);
        at = keep.end.max(at);
    }
    give_back(at..inherited.end);
}

fn give_back(range: Range<u64>) {
    let bytes = range.end.saturating_sub(range.start);
    if bytes == 0 {
        return;
    }
    // SAFETY: nothing in it is used by the code of this module, which has its stack and its code elsewhere.
    let done = unsafe { call(libc::SYS_munmap, [range.start, bytes, 0, 0, 0]) };
    // Something in it is sealed, or is of huge pages and not all in it: all around it can still go.
    if matches!(done, Err(libc::EPERM | libc::EINVAL)) && bytes > SMALLEST_BYTES {
        let middle = range.start + (bytes / 2).next_multiple_of(SMALLEST_BYTES).min(bytes);
        if middle < range.end {
            give_back(range.start..middle);
            give_back(middle..range.end);
        }
    }
}

/// Fresh memory for all VMs that there may be; a page of it exists once it is used.
fn room() -> Option<&'static mut [Watched; MOST_VMS]> {
    let (modes, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let bytes = size_of::<[Watched; MOST_VMS]>() as u64;
    // SAFETY: a new mapping, wherever the kernel likes. Descriptor and offset are not looked at.
    let at = unsafe { call(libc::SYS_mmap, [0, bytes, modes as u64, flags as u64, u64::MAX]) }.ok()?;
    // SAFETY: the mapping is that long, for us alone, and all zeros, which are a value of this type.
    unsafe { (at as *mut [Watched; MOST_VMS]).as_mut() }
}

/// The VMs that end when the host does.
struct List {
    vms: &'static mut [Watched; MOST_VMS],
    len: usize,
}

impl List {
    /// Waits for the host to say something or to end, and answers whether it has ended.
    fn hear(&mut self, inherited: &Inherited) -> bool {
        let polled = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polled = [polled(inherited.socket), polled(inherited.host)];
        // SAFETY: two descriptors that live as long as the call; no timeout, no mask.
        let _ = unsafe { call(libc::SYS_ppoll, [polled.as_mut_ptr() as u64, 2, 0, 0, 0]) };
        let [_, host] = polled;
        let has_ended = host.revents & libc::POLLIN != 0;
        // What it said before its end comes first: a VM that it told of just then is one.
        loop {
            match receive(inherited.socket) {
                Ok(Some((message, descriptors))) => self.obey(&message, descriptors, inherited.socket),
                Ok(None) | Err(libc::ECONNRESET) => return true,
                Err(libc::EINTR) => {}
                // Nothing more, or not now: that alone is no reason to end anyone.
                Err(_) => return has_ended,
            }
        }
    }

    fn obey(&mut self, message: &Message, [uffd, vmm]: [RawFd; 2], socket: RawFd) {
        match message.kind {
            WATCH => {
                let place = self.vms.get_mut(self.len).filter(|_| uffd >= 0);
                let answer = Answer { token: message.token, is_taken: u64::from(place.is_some()) };
                match place {
                    Some(place) => {
                        *place = Watched::new(message, uffd, vmm);
                        self.len += 1;
                    }
                    None => [uffd, vmm].into_iter().for_each(close),
                }
                send(socket, &answer);
            }
            FORGET => {
                let is_it = |vm: &Watched| vm.token == message.token;
                if let Some(at) = self.vms.iter().take(self.len).position(is_it) {
                    self.remove(at);
                }
            }
            STOP => end(),
            _ => {}
        }
    }

    fn remove(&mut self, at: usize) {
        let last = self.len.saturating_sub(1);
        if let Some(vm) = self.vms.get(at) {
            [vm.uffd, vm.vmm].into_iter().for_each(close);
            self.vms.swap(at, last);
            self.len = last;
        }
    }

    /// Makes an end of every VM, a part of each at a time.
    fn end_all(&mut self) {
        while self.len > 0 {
            let mut at = 0;
            let mut goes_on = false;
            while let Some(vm) = self.vms.get_mut(at).filter(|_| at < self.len) {
                match vm.end() {
                    Turn::Over => self.remove(at),
                    Turn::Waits => at += 1,
                    Turn::GoesOn => {
                        goes_on = true;
                        at += 1;
                    }
                }
            }
            if !goes_on && self.len > 0 {
                let pause = libc::timespec { tv_sec: 0, tv_nsec: PAUSE_MS * 1_000_000 };
                // SAFETY: no descriptors; the time lives as long as the call.
                let _ = unsafe { call(libc::SYS_ppoll, [0, 0, &raw const pause as u64, 0, 0]) };
            }
        }
    }
}

/// What the host said, with the descriptors beside it, -1 where there is none; `None` once its end is closed.
fn receive(socket: RawFd) -> Result<Option<(Message, [RawFd; 2])>, c_int> {
    // SAFETY: numbers and pointers alone, of which zeros are good ones.
    let (mut message, mut header): (Message, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut bytes = libc::iovec { iov_base: (&raw mut message).cast(), iov_len: size_of::<Message>() };
    let mut control = [0_u64; 8];
    header.msg_iov = &raw mut bytes;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = (libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC) as u64;
    // SAFETY: the header names memory of ours, which lives as long as the call, and its lengths.
    let read = unsafe { call(libc::SYS_recvmsg, [socket as u64, &raw mut header as u64, flags, 0, 0]) }?;
    if read == 0 {
        return Ok(None);
    }
    message.count = message.count.min(MOST_AREAS as u64);
    let mut descriptors = [-1; 2];
    // SAFETY: the kernel has just filled the header, and the room for what comes beside, as long as it says.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS {
            let bytes = ((*first).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
            let bytes = bytes.min(size_of_val(&descriptors));
            ptr::copy_nonoverlapping(libc::CMSG_DATA(first), descriptors.as_mut_ptr().cast(), bytes);
        }
    }
    Ok(Some((message, descriptors)))
}

/// Says something to the host, which waits for it, if it lives.
fn send(socket: RawFd, answer: &Answer) {
    let (at, bytes) = (&raw const *answer as u64, size_of::<Answer>() as u64);
    let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as u64;
    // SAFETY: reads the answer, which lives as long as the call.
    let _ = unsafe { call(libc::SYS_sendto, [socket as u64, at, bytes, flags, 0]) };
}

/// Makes room for as many descriptors as this process may have at all.
fn raise_limit() {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    let kind = u64::from(libc::RLIMIT_NOFILE);
    // SAFETY: writes a limit that lives as long as the call. The pid 0 is this process.
    if unsafe { call(libc::SYS_prlimit64, [0, kind, 0, &raw mut limit as u64, 0]) }.is_ok() {
        let most = libc::rlimit64 { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: reads a limit that lives as long as the call.
        let _ = unsafe { call(libc::SYS_prlimit64, [0, kind, &raw const most as u64, 0, 0]) };
    }
}

/// Closes a descriptor, if it is one.
fn close(fd: RawFd) {
    // SAFETY: a descriptor that was sent to us, and that is used no more.
    let _ = unsafe { call(libc::SYS_close, [fd as u64, 0, 0, 0, 0]) };
}

fn end() -> ! {
    loop {
        // SAFETY: ends this process at once.
        let _ = unsafe { call(libc::SYS_exit_group, [0; 5]) };
    }
}
