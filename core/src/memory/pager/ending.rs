//! The end of a VM that waits for a page that cannot be had.
//!
//! Its VMM is sent what touching such memory means, SIGBUS, and its guest stays where it is until then, so that it reads
//! nothing. To poison the page would do where a processor runs all of the guest, and is what is left where the VMM may not
//! be sent a signal: an instruction that KVM carries out for the guest takes a poisoned page for a device, and goes on with
//! what is not there.

use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::install::{Refused, Vm};

/// From one signal to the next: a handler, such as that of every Rust program, may restore the default and go back to what
/// raised it.
const AGAIN: Duration = Duration::from_millis(100);
/// How long a VMM has to end by itself. After that it is killed, and after as long again its pages are poisoned.
const PATIENCE: Duration = Duration::from_secs(2);

/// A VM that is to end.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// When it was sent its first signal, and when it is to be sent the next.
    told: Option<(Instant, Instant)>,
    /// What it waits for, and cannot be given: the region, and the page.
    pages: Vec<(usize, u64)>,
}

impl Ending {
    /// Begins with it, or goes on: `vm` waits for `page` of the region of this number.
    pub(super) fn add(&mut self, vm: &Vm, region: usize, page: u64) -> Result<(), Refused> {
        // Who is sent a signal asks once more when it comes back.
        if !self.pages.contains(&(region, page)) {
            self.pages.push((region, page));
        }
        self.go_on(vm)
    }

    /// When to go on with it, if it has begun.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.told.map(|(_, next)| next.saturating_duration_since(Instant::now()))
    }

    pub(super) fn is_due(&self) -> bool {
        self.time_left().is_some_and(|left| left.is_zero())
    }

    /// Does what is to be done now.
    pub(super) fn go_on(&mut self, vm: &Vm) -> Result<(), Refused> {
        let now = Instant::now();
        let (began, next) = self.told.unwrap_or((now, now));
        if now < next {
            return Ok(());
        }
        let waited = now.duration_since(began);
        let signal = if waited < PATIENCE { Signal::SIGBUS } else { Signal::SIGKILL };
        let sent = match &vm.vmm {
            Some(vmm) if waited < 2 * PATIENCE => vmm.signal(signal),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        if sent.is_ok() {
            self.told = Some((began, now + AGAIN));
            return Ok(());
        }
        // Until all of them are poisoned this is due.
        self.told = Some((began, now));
        while let Some(&(region, page)) = self.pages.last() {
            poison(vm, region, page)?;
            self.pages.pop();
        }
        self.told = None;
        Ok(())
    }
}

/// Whoever touches the page dies of it.
fn poison(vm: &Vm, region: usize, page: u64) -> Result<(), Refused> {
    let Some(region) = vm.regions.get(region) else { return Ok(()) };
    match vm.uffd.poison(region.address_of(page), region.page_bytes) {
        Ok(_) => Ok(()),
        // It is there by now.
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {
            Ok(vm.uffd.wake(region.address_of(page), region.page_bytes)?)
        }
        // A kernel that cannot do this: the fault stays without an answer, and the guest stands still there.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::ENOTTY)) => Ok(()),
        Err(e) => Err(e.into()),
    }
}
