//! `instances.list`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::find::{Found, all};
use super::state::state;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::store::Store;
use crate::types::{Instance, InstanceState};

/// VMMs that are asked at once, at first: asking is waiting. A silent VMM takes seconds to give up on, so that as many more
/// are asked each time that there is no end after a moment, up to a limit.
const ASKED_AT_ONCE: usize = 16;
const MOST_ASKED: usize = 256;
const MOMENT: Duration = Duration::from_millis(50);

pub(super) fn list(hm: &Hypeman) -> Result<Vec<Instance>> {
    let store = hm.open_store()?;
    let found = all(store)?;
    let states = ask_all(store, &found);
    let mut instances: Vec<_> =
        found.into_iter().zip(states).map(|(one, state)| one.with_state(state)).collect();
    instances.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(instances)
}

/// The state of each, in the order of `found`.
fn ask_all(store: &Store, found: &[Found]) -> Vec<InstanceState> {
    let states = Mutex::new(vec![InstanceState::Unknown; found.len()]);
    let next = AtomicUsize::new(0);
    let ask = || {
        while let Some((place, one)) = take(&next, found) {
            let state = state(store, one);
            if let Ok(mut states) = states.lock()
                && let Some(slot) = states.get_mut(place)
            {
                *slot = state;
            }
        }
    };
    let with_vmm = found.iter().filter(|one| one.api_socket.is_some()).count();
    std::thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let mut asking = 0;
        // Whoever ends has found no one left to ask.
        while with_vmm > 1 && asking < MOST_ASKED && told.try_recv().is_err() {
            let unasked = found.len().saturating_sub(next.load(Ordering::Relaxed));
            let before = asking;
            for _ in 0..ASKED_AT_ONCE.min(unasked) {
                let (ask, tell) = (&ask, tell.clone());
                let work = move || {
                    ask();
                    let _ = tell.send(());
                };
                let builder = std::thread::Builder::new().name("hypeman-list".to_owned());
                asking += usize::from(builder.spawn_scoped(scope, work).is_ok());
            }
            if asking == before || told.recv_timeout(MOMENT).is_ok() {
                break;
            }
        }
        // Without threads to be had, they are asked one after another.
        ask();
    });
    states.into_inner().unwrap_or_default()
}

fn take<'f>(next: &AtomicUsize, found: &'f [Found]) -> Option<(usize, &'f Found)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    found.get(place).map(|one| (place, one))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    use super::*;
    use crate::RegisterInstance;

    #[test]
    fn many_silent_vmms_keep_a_list_waiting_hardly_longer_than_one() {
        let temp = tempfile::tempdir().unwrap();
        let hm = Hypeman::open(temp.path().join("data")).unwrap();
        let mut listeners = Vec::new();
        for number in 0..96 {
            let socket = temp.path().join(format!("{number}.sock"));
            listeners.push(UnixListener::bind(&socket).unwrap());
            let vm = RegisterInstance {
                // Those that were to be asked last have nothing to be asked.
                api_socket: (number < 80).then_some(socket),
                disks: Vec::new(),
                ..RegisterInstance::new(format!("vm-{number:03}"), "cloud-hypervisor")
            };
            let store = hm.writable_store().unwrap();
            let registration = crate::store::registry::Registration {
                id: format!("id{number:03}"),
                name: vm.name,
                hypervisor: vm.hypervisor,
                created_at: crate::Timestamp::now(),
                api_socket: vm.api_socket,
                directory: None,
                disks: Vec::new(),
                compression: None,
                forked_from: None,
                staging_directory: None,
                staging_directory_in_vmm: None,
                exclusive_snapshots: false,
            };
            store.write_registration(&registration).unwrap();
        }
        let began = Instant::now();
        let listed = hm.instances().list().unwrap();
        // One takes 2.5 s to give up on; sixteen at once would take five times that.
        assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
        let states: Vec<_> = listed.iter().map(|one| one.state).collect();
        assert!(states.iter().take(80).all(|state| *state == InstanceState::Unknown), "{states:?}");
        assert!(states.iter().skip(80).all(|state| *state == InstanceState::Stopped), "{states:?}");
    }
}
