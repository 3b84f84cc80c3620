//! `instances.get`

use super::find::find;
use super::state::state;
use crate::error::Result;
use crate::hypeman::Hypeman;
use crate::types::Instance;

pub(super) fn get(hm: &Hypeman, id: &str) -> Result<Instance> {
    let store = hm.open_store()?;
    let found = find(store, id)?;
    let state = state(store, &found);
    Ok(found.with_state(state))
}
