//! The thread that VMs come to: it starts a thread for each, and keeps what they tell of their working set.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use super::ask::{Asking, Present};
use super::coming::PREFETCHERS;
use super::handshake::Arrival;
use super::install::Vm;
use super::prefetch::prefetch;
use super::serve::Server;
use super::{Shared, handshake};
use crate::error::{Error, Kind, Result};
use crate::panic::guard;
use crate::sys::pidfd::PidFd;
use crate::sys::poll::wait_for;
use crate::sys::socket;

/// The most VMs at a time.
const MOST_VMS: usize = 1024;
/// How often to look whether there is something to keep.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) fn accept(shared: &Arc<Shared>, listener: &UnixListener) {
    let mut vms: Vec<JoinHandle<()>> = Vec::new();
    while !shared.is_stopping() {
        vms.retain(|thread| !thread.is_finished());
        shared.record.keep();
        let waited = wait_for([listener.as_fd(), shared.stop.as_fd()], Some(LOOK_AGAIN));
        if let Err(e) = waited {
            shared.counters.error(&Error::os("wait for", "VMs", &e));
            break;
        }
        match listener.accept() {
            Ok(_) if vms.len() == MOST_VMS => {
                let why = format!("a VM was refused: there are {MOST_VMS} already; start another pager");
                shared.counters.error(&Error::new(Kind::Busy, why));
            }
            Ok((connection, _)) => match shared.spawn(move |shared| serve(shared, &connection)) {
                Ok(thread) => vms.push(thread),
                Err(error) => shared.counters.error(&error),
            },
            Err(e) if socket::is_tick(&e) => {}
            Err(e) => {
                shared.counters.error(&Error::os("accept", "a VM", &e));
                // Such as no descriptors left: in a while there may be.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
    for thread in vms {
        let _ = thread.join();
    }
    shared.record.keep();
}

/// The life of a VM, from its handshake on.
fn serve(shared: &Arc<Shared>, connection: &UnixStream) {
    // Now, while it is surely the one that connected.
    let vmm = PidFd::of_peer(connection);
    let vm = socket::tick(connection)
        .map_err(|e| Error::os("receive", "the memory of a VM", &e))
        .and_then(|()| handshake::receive(connection, shared.image.raw_bytes(), || shared.is_stopping()));
    let vm = match vm {
        Ok(Arrival::Faulting(uffd, regions)) => {
            let token = shared.guarded.token();
            Arc::new(Vm::new(token, uffd, vmm, regions))
        }
        Ok(Arrival::Asking(asking)) => {
            return answer(shared, asking);
        }
        Err(error) => return shared.counters.error(&error),
    };
    shared.guarded.watch(&vm);
    shared.enter(&vm);
    let mut ahead = Vec::new();
    if let Some(parts) = shared.record.known() {
        for thread in 0..PREFETCHERS {
            let (vm, parts) = (Arc::clone(&vm), Arc::clone(&parts));
            // Without it, faults bring what it would have brought.
            ahead.extend(shared.spawn(move |shared| prefetch(shared, &vm, &parts, thread)));
        }
    }
    let served: Result<()> = guard(|| Server::new(shared, &vm, connection).run());
    if let Err(error) = served {
        shared.counters.error(&error);
        stand(shared, connection);
    }
    vm.is_over.store(true, Ordering::Release);
    for thread in ahead {
        let _ = thread.join();
    }
    shared.leave(&vm);
    shared.guarded.forget(&vm);
    shared.counters.vms.fetch_sub(1, Ordering::Relaxed);
}

/// The life of a VM that asks for its memory.
fn answer(shared: &Arc<Shared>, asking: Asking) {
    let _present = Present::new(shared);
    let memory = Arc::clone(asking.memory());
    let ahead = shared.record.known().and_then(|parts| {
        let memory = Arc::clone(&memory);
        // Without it, questions bring what it would have brought.
        shared.spawn(move |shared| memory.prefetch(shared, &parts)).ok()
    });
    if let Err(error) = guard(|| asking.run(shared)) {
        shared.counters.error(&error);
    }
    memory.is_over.store(true, Ordering::Release);
    if let Some(thread) = ahead {
        let _ = thread.join();
    }
}

/// Keeps the descriptor of a VM that cannot be served: without it, and without the VMM's own, missing memory would
/// read as zeros. It stands still until its VMM is ended.
fn stand(shared: &Shared, connection: &UnixStream) {
    while !shared.is_stopping() {
        match wait_for([connection.as_fd(), shared.stop.as_fd()], None) {
            Ok([connected, _]) if !connected.is_readable && !connected.is_faulty => {}
            Ok(_) if shared.is_stopping() => return,
            Ok(_) => match socket::receive(connection, &mut [0; 4096]) {
                Ok((1.., _)) => {}
                Err(e) if socket::is_tick(&e) => {}
                _ => return,
            },
            Err(_) => return,
        }
    }
}
