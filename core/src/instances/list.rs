//! `instances.list`

use super::find::all;
use super::state::state;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::Instance;

pub(super) fn list(hm: &Hypeman) -> Result<Vec<Instance>> {
    let store = hm.open_store()?;
    let found = all(store)?;
    // A silent VMM takes seconds to give up on, so all of them are asked at once.
    let mut instances: Vec<Instance> = std::thread::scope(|scope| {
        let asked: Vec<_> = found
            .into_iter()
            .map(|one| {
                (
                    scope.spawn({
                        let one = one.clone();
                        move || state(store, &one)
                    }),
                    one,
                )
            })
            .collect();
        asked
            .into_iter()
            .map(|(asking, one)| {
                one.with_state(asking.join().unwrap_or(crate::types::InstanceState::Unknown))
            })
            .collect()
    });
    instances.sort_by(|a, b| a.name.cmp(&b.name).then_with(|| a.id.cmp(&b.id)));
    Ok(instances)
}
