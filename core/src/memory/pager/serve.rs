//! The thread of one VM: it answers faults, and installs what belongs to them while there are none.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Shared;
use super::ending::Ending;
use super::fetch::{fetch, fetch_front, neighbours, read_page};
use super::install::{Refused, Vm, memory_of};
use super::metrics::Cause;
use super::record::Recorder;
use super::regions::{Region, SMALL_PAGE_BYTES};
use super::rests::{Rest, Rests};
use super::spin::Spin;
use crate::error::{Error, Kind, Result};
use crate::sys::poll::wait_for;
use crate::sys::socket;
use crate::sys::uffd::Event;

/// Pages of data that are installed between two looks for faults.
const SLICE_PAGES: u64 = 4;

pub(super) struct Server<'s> {
    shared: &'s Shared,
    vm: &'s Vm,
    connection: &'s UnixStream,
    events: Vec<Event>,
    faults: VecDeque<Fault>,
    rests: Rests,
    page: Vec<u8>,
    spin: Spin,
    recorder: Option<Recorder>,
    ending: Ending,
    was_faulty: bool,
}

#[derive(Clone, Copy)]
struct Fault {
    address: u64,
    noticed: Instant,
}

impl<'s> Server<'s> {
    pub(super) fn new(shared: &'s Shared, vm: &'s Vm, connection: &'s UnixStream) -> Self {
        Self {
            shared,
            vm,
            connection,
            events: Vec::new(),
            faults: VecDeque::new(),
            rests: Rests::default(),
            page: vec![0; SMALL_PAGE_BYTES as usize],
            spin: Spin::new(Duration::from_micros(shared.settings.spin_us.into())),
            recorder: shared.record.recorder(),
            ending: Ending::default(),
            was_faulty: false,
        }
    }

    /// Serves until the VM is gone or the pager stops.
    pub(super) fn run(mut self) -> Result<()> {
        while !self.shared.is_stopping() && !self.vm.is_over.load(Ordering::Acquire) {
            self.look()?;
            if self.ending.is_due() {
                self.end()?;
            }
            if !self.faults.is_empty() {
                self.spin.found();
                self.answer_all()?;
                // On a CPU that it shares with us the guest goes on now, and its next fault comes before the rest.
                std::thread::yield_now();
            } else if let Some(rest) = self.rests.take() {
                self.spin.found();
                self.install(rest)?;
            } else if self.spin.goes_on() {
                std::thread::yield_now();
            } else {
                self.sleep()?;
            }
            if self.recorder.as_ref().is_some_and(Recorder::is_full) {
                self.recorder = None;
            }
        }
        Ok(())
    }

    /// Reads what has happened.
    fn look(&mut self) -> Result<()> {
        self.events.clear();
        self.vm.read_events(&mut self.events).map_err(|e| failed("read the page faults of", &e))?;
        let noticed = Instant::now();
        for event in &self.events {
            match *event {
                Event::Missing(address) => self.faults.push_back(Fault { address, noticed }),
                Event::Removed(..) => {}
                Event::OtherFault(_) | Event::Other(_) => {
                    let why =
                        format!("a VM waits for something that no pager gives ({event:?}); it stands still");
                    return Err(Error::new(Kind::NotSupported, why));
                }
            }
        }
        Ok(())
    }

    fn answer_all(&mut self) -> Result<()> {
        let _urgent = self.shared.urgent();
        while let Some(fault) = self.faults.pop_front() {
            match self.answer(fault.address) {
                Ok(()) => self.shared.counters.fault(fault.noticed.elapsed()),
                Err(Refused::Again) => {
                    self.faults.push_front(fault);
                    self.look()?;
                }
                Err(Refused::Gone) => {
                    self.vm.is_over.store(true, Ordering::Release);
                    return Ok(());
                }
                Err(Refused::Failed(e)) => return Err(failed("give memory to", &e)),
            }
        }
        Ok(())
    }

    /// Goes on with the end of the VM.
    fn end(&mut self) -> Result<()> {
        match self.ending.go_on(self.vm) {
            // What has happened is read first.
            Ok(()) | Err(Refused::Again) => Ok(()),
            Err(Refused::Gone) => {
                self.vm.is_over.store(true, Ordering::Release);
                Ok(())
            }
            Err(Refused::Failed(e)) => Err(failed("end", &e)),
        }
    }

    fn answer(&mut self, address: u64) -> Result<(), Refused> {
        let regions = self.vm.regions.iter().enumerate();
        let found = regions.filter_map(|(at, region)| Some((at, region, region.page_at(address)?))).next();
        // Registered by the VMM, announced by it to no one: only it knows what belongs there.
        let Some((index, region, page)) = found else {
            let why =
                format!("a VM waits for memory at {address:#x}, which it did not announce; it stands still");
            self.shared.counters.error(&Error::new(Kind::InvalidRequest, why));
            return Ok(());
        };
        if self.came(region, page) {
            return Ok(self.vm.uffd.wake(region.address_of(page), region.page_bytes)?);
        }
        if region.is_removed(page) {
            return self.vm.answer_removed(region, page, &self.shared.counters);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.note(region.offset_of(page));
        }
        let image = &self.shared.image;
        let is_small = region.page_bytes == SMALL_PAGE_BYTES;
        let mut frame = 0..0;
        let got = if is_small && !image.is_compressed() {
            read_page(image, region.offset_of(page), &mut self.page).map(|()| None)
        } else if let Some(piece) = self.rests.held(region, page) {
            frame = piece.at..piece.end();
            Ok(Some(piece))
        } else if self.shared.is_for_one() {
            let mut buffer = self.rests.buffer();
            let fetched = fetch_front(image, region, page, &mut buffer, |begin| self.rests.is_begun(begin));
            self.rests.keep(buffer);
            fetched.map(|(piece, end)| {
                frame = piece.at..end;
                Some(piece)
            })
        } else {
            fetch(image, region, page, None).map(Some)
        };
        let piece = match got {
            Ok(piece) => piece,
            Err(error) => return self.refuse(index, page, &error),
        };
        let memory = match &piece {
            None => Some(self.page.as_slice()),
            Some(piece) if piece.memory.is_none() => Some(self.shared.zeros.as_slice()),
            Some(piece) => memory_of(region, page..page + 1, piece),
        };
        let Some(memory) = memory else {
            let error = Error::new(Kind::Internal, "a page is not where it was looked for; please report it");
            return self.refuse(index, page, &error);
        };
        self.vm.answer(region, page, memory, &self.shared.counters)?;
        if is_small {
            self.rests.add(Rest { region: index, page, next: 0, piece, frame });
        }
        Ok(())
    }

    /// Whether a page came while this waited for the thread that was about to install it.
    fn came(&self, region: &Region, page: u64) -> bool {
        self.vm.coming.wait(region.offset_of(page)) && region.is_done(page) && !region.is_removed(page)
    }

    /// A page that cannot be had: its VM ends, rather than read what it never wrote.
    fn refuse(&mut self, region: usize, page: u64, error: &Error) -> Result<(), Refused> {
        self.shared.counters.error(error);
        self.ending.add(self.vm, region, page)
    }

    /// Installs the next few neighbours.
    fn install(&mut self, mut rest: Rest) -> Result<()> {
        let Some(region) = self.vm.regions.get(rest.region) else { return Ok(()) };
        let held = rest.piece.take().or_else(|| self.rests.held(region, rest.page.max(rest.next)));
        let piece = match held {
            Some(piece) => piece,
            None => {
                let mut buffer = self.shared.is_for_one().then(|| self.rests.buffer());
                let fetched = fetch(&self.shared.image, region, rest.page, buffer.as_mut());
                self.rests.keep(buffer.unwrap_or_default());
                match fetched {
                    Ok(piece) => piece,
                    // Nobody waits for them; whoever does later is told.
                    Err(_) => return Ok(()),
                }
            }
        };
        let pages = neighbours(region, rest.page, &piece);
        let Some(first) = region.next_missing(pages.start.max(rest.next)).filter(|page| *page < pages.end)
        else {
            let behind = region.pages_within(piece.end()..rest.frame.end.max(piece.end()));
            self.rests.recycle(Some(piece));
            // It was a front, and something is missing of what lies behind it.
            if region.next_missing(behind.start).is_some_and(|page| page < behind.end) {
                self.rests.put_back(Rest { next: pages.end, piece: None, ..rest });
            }
            return Ok(());
        };
        let end = match piece.memory {
            Some(_) => pages.end.min(first + SLICE_PAGES),
            None => pages.end,
        };
        match self.vm.install(region, first..end, &piece, Cause::Fault, &self.shared.counters) {
            Ok(()) => {
                self.rests.put_back(Rest { next: end, piece: Some(piece), ..rest });
                Ok(())
            }
            Err(Refused::Again) => {
                self.rests.put_back(Rest { piece: Some(piece), ..rest });
                Ok(())
            }
            Err(Refused::Gone) => Ok(()),
            Err(Refused::Failed(e)) => Err(failed("give memory to", &e)),
        }
    }

    /// Waits for a fault, for the end of the VM, or of the pager.
    fn sleep(&mut self) -> Result<()> {
        let timeouts = [self.recorder.as_ref().map(Recorder::time_left), self.ending.time_left()];
        let timeout = timeouts.into_iter().flatten().min();
        let waited =
            wait_for([self.vm.uffd.as_fd(), self.connection.as_fd(), self.shared.stop.as_fd()], timeout);
        let [faults, connection, _] = waited.map_err(|e| failed("wait for page faults of", &e))?;
        if connection.is_readable || connection.is_faulty {
            match socket::receive(self.connection, &mut [0; 4096]) {
                Ok((0, _)) => self.vm.is_over.store(true, Ordering::Release),
                // It has nothing more to say that matters.
                Ok(_) => {}
                Err(e) if socket::is_tick(&e) => {}
                Err(_) => self.vm.is_over.store(true, Ordering::Release),
            }
        }
        if faults.is_faulty {
            // Its maker let reads wait; once may be a mistake.
            if self.was_faulty {
                let why = "a VM does not let its page faults be waited for; it stands still";
                return Err(Error::new(Kind::InvalidRequest, why));
            }
            self.was_faulty = true;
            self.vm.uffd.never_wait().map_err(|e| failed("wait for page faults of", &e))?;
        }
        Ok(())
    }
}

fn failed(action: &str, error: &std::io::Error) -> Error {
    Error::os(action, "a VM", error)
}
