//! `instances.unregister`

use super::REGISTRY_PATIENCE;
use super::find::find;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;

pub(super) fn unregister(hm: &Hypeman, id: &str) -> Result<()> {
    let store = hm.writable_store()?;
    let found = find(store, id)?;
    if found.server.is_some() {
        let why = format!("instance {} belongs to the hypeman server; delete it there", found.id);
        return Err(Error::new(Kind::InvalidState, why).about(&found.id));
    }
    let Some(_turn) = store.try_turn(&found.id)? else {
        let why = format!("instance {} is being captured; try again when that is done", found.id);
        return Err(Error::new(Kind::Busy, why).about(&found.id));
    };
    let _registry = store.registry_lock(Call::default().timeout(REGISTRY_PATIENCE).limit())?;
    store.remove_registration(&found.id)
}
