//! The thread of a VM whose VMM answers the page faults of its guest itself, and asks for each page over a connection:
//! cloud-hypervisor, which takes a restore for the second half of a post-copy migration.
//!
//! It asks for one page after the other from the start, too, while its guest wants nothing: that is not what a working set
//! is made of.
//!
//! A VMM that gets no answer ends, and so does one that hears that a page cannot be had.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::asked::Asked;
use super::metrics::add;
use super::record::Recorder;
use super::regions::{Region, SMALL_PAGE_BYTES};
use super::spin::Spin;
use crate::error::{Error, Kind, Result};
use crate::memory::file::u64_at;
use crate::sys::socket;

/// A request, an answer, and the range behind a request.
const FRAME_BYTES: usize = 16;
const PAGE_FAULT: u16 = 9;
const ABANDON: u16 = 6;
const OK: u16 = 1;
const FAILED: u16 = 2;

/// A VM that asks for its pages.
pub(super) struct Asking {
    questions: UnixStream,
    memory: Arc<Asked>,
    in_order: InOrder,
    spin: Spin,
}

impl Asking {
    pub(super) fn new(questions: File, memory: File, regions: Vec<Region>) -> Result<Self> {
        let refused = |what: &str| Error::new(Kind::InvalidRequest, format!("a VM was refused: {what}"));
        let questions = UnixStream::from(OwnedFd::from(questions));
        socket::tick(&questions).map_err(|e| refused(&format!("it asks over what is no socket ({e})")))?;
        let bytes = memory.metadata().map_err(|e| Error::os("look at", "guest memory", &e))?.len();
        if regions.iter().any(|region| region.offset_of(region.pages()) > bytes) {
            return Err(refused(&format!(
                "its memory is a file of {bytes} bytes, which is less than it has"
            )));
        }
        let memory = Arc::new(Asked::new(memory, regions));
        Ok(Self { questions, memory, in_order: InOrder::default(), spin: Spin::new(Duration::ZERO) })
    }

    /// The memory that it asks for.
    pub(super) fn memory(&self) -> &Arc<Asked> {
        &self.memory
    }

    /// Answers until the VMM hangs up, as it does when it has all of its memory, or the pager stops.
    pub(super) fn run(mut self, shared: &Shared) -> Result<()> {
        self.spin = Spin::new(Duration::from_micros(shared.settings.spin_us.into()));
        let mut recorder = shared.record.recorder();
        // Where the last frame was decoded.
        let mut spare = Vec::new();
        while let Some(asked) = self.question(shared)? {
            let noticed = Instant::now();
            self.note(&asked, &mut recorder);
            let given = {
                let _urgent = shared.urgent();
                self.memory.give(&asked, shared, &mut spare)
            };
            let status = match given {
                Ok(()) => OK,
                Err(error) => {
                    shared.counters.error(&error);
                    FAILED
                }
            };
            self.answer(status, shared)?;
            shared.counters.fault(noticed.elapsed());
        }
        if self.memory.is_whole() {
            add(&shared.counters.vms_whole, 1);
        }
        Ok(())
    }

    /// Notes what is asked for because a guest wants it.
    fn note(&mut self, asked: &Range<u64>, recorder: &mut Option<Recorder>) {
        let Some(wanted) = recorder else { return };
        let Some((region, page)) = self.memory.find(asked.start) else { return };
        if !self.in_order.is_next(asked, page == 0) {
            wanted.note(region.offset_of(page));
        }
        if wanted.is_full() {
            *recorder = None;
            self.in_order = InOrder::default();
        }
    }

    /// The guest-physical addresses of the pages that are wanted; `None` once nothing more is.
    fn question(&mut self, shared: &Shared) -> Result<Option<Range<u64>>> {
        let Some(request) = self.read(shared)? else { return Ok(None) };
        let [low, high, ..] = request;
        match (u16::from_le_bytes([low, high]), u64_at(&request, 8)) {
            (PAGE_FAULT, Some(16)) => {}
            (ABANDON, _) => return self.answer(OK, shared).map(|()| None),
            (other, _) => {
                let why = format!("a VM asked for what no pager gives (request {other})");
                return Err(Error::new(Kind::NotSupported, why));
            }
        }
        let Some(range) = self.read(shared)? else { return Ok(None) };
        let (start, bytes) = (u64_at(&range, 0).unwrap_or_default(), u64_at(&range, 8).unwrap_or_default());
        Ok(Some(start..start.saturating_add(bytes)))
    }

    /// The next 16 bytes; `None` where the VMM has hung up or the pager stops.
    fn read(&mut self, shared: &Shared) -> Result<Option<[u8; FRAME_BYTES]>> {
        let mut frame = [0; FRAME_BYTES];
        let mut left = &mut frame[..];
        while !left.is_empty() {
            let read = match socket::receive_now(&self.questions, left) {
                Err(e) if socket::is_tick(&e) && self.spin.goes_on() => {
                    std::thread::yield_now();
                    continue;
                }
                Err(e) if socket::is_tick(&e) => self.questions.read(left),
                read => read,
            };
            match read {
                Ok(0) => return Ok(None),
                Ok(count) => {
                    self.spin.found();
                    left = left.get_mut(count..).unwrap_or_default();
                }
                Err(e) if socket::is_tick(&e) && !shared.is_stopping() => {}
                Err(e) if socket::is_tick(&e) || e.kind() == io::ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                Err(e) => return Err(Error::os("hear", "a VM", &e)),
            }
        }
        Ok(Some(frame))
    }

    fn answer(&mut self, status: u16, shared: &Shared) -> Result<()> {
        let [low, high] = status.to_le_bytes();
        let frame: [u8; FRAME_BYTES] = [low, high, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut left = &frame[..];
        while !left.is_empty() && !shared.is_stopping() {
            match self.questions.write(left) {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(e) if socket::is_tick(&e) => {}
                // It has ended, or has all: the next read says so.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(e) => return Err(Error::os("answer", "a VM", &e)),
            }
        }
        Ok(())
    }
}

/// What a VMM asks for on its own account: from the start of each range on, and never again for what it was given.
#[derive(Default)]
struct InOrder {
    next: u64,
    given: HashSet<u64>,
}

impl InOrder {
    /// Whether it is the turn of `asked`, which may be the start of a range.
    fn is_next(&mut self, asked: &Range<u64>, is_first: bool) -> bool {
        while self.next < asked.start && self.given.remove(&self.next) {
            self.next += SMALL_PAGE_BYTES;
        }
        let is_next = is_first || self.next == asked.start;
        if is_next {
            self.next = asked.end;
        } else {
            self.given.insert(asked.start);
        }
        is_next
    }
}

/// Counts as one that has not got everything, until this is dropped.
pub(super) struct Present<'s>(&'s Shared);

impl<'s> Present<'s> {
    pub(super) fn new(shared: &'s Shared) -> Self {
        shared.asking.fetch_add(1, Ordering::AcqRel);
        add(&shared.counters.vms, 1);
        add(&shared.counters.vms_seen, 1);
        Self(shared)
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.0.counters.vms.fetch_sub(1, Ordering::Relaxed);
        self.0.asking.fetch_sub(1, Ordering::AcqRel);
    }
}
