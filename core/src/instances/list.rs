//! `instances.list`

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::find::{Found, all};
use super::state::state;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::store::Store;
use crate::types::{Instance, InstanceState};

/// VMMs that are asked at once. Asking is waiting, and a silent VMM takes seconds to give up on.
const ASKED_AT_ONCE: usize = 16;

pub(super) fn list(hm: &Hypeman) -> Result<Vec<Instance>> {
    let store = hm.open_store()?;
    let found = all(store)?;
    let states = ask_all(store, &found);
    let mut instances: Vec<_> =
        found.into_iter().zip(states).map(|(one, state)| one.with_state(state)).collect();
    instances.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(instances)
}

/// The state of each, in the order of `found`. Without threads to be had, they are asked one after another.
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
    let helpers = NonZeroUsize::new(with_vmm.min(ASKED_AT_ONCE)).map_or(0, |asked| asked.get() - 1);
    std::thread::scope(|scope| {
        for _ in 0..helpers {
            if std::thread::Builder::new().spawn_scoped(scope, ask).is_err() {
                break;
            }
        }
        ask();
    });
    states.into_inner().unwrap_or_default()
}

fn take<'f>(next: &AtomicUsize, found: &'f [Found]) -> Option<(usize, &'f Found)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    found.get(place).map(|one| (place, one))
}
