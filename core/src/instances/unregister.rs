//! `instances.unregister`

use super::REGISTRY_PATIENCE;
use super::find::find;
use crate::call::Call;
use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;
use crate::types::is_safe_id;

pub(super) fn unregister(hm: &Hypeman, id: &str) -> Result<()> {
    let store = hm.writable_store()?;
    let id = match find(store, id) {
        // It is of no more use than none, and can be registered anew.
        Err(error) if error.kind() == Kind::Corrupt && is_safe_id(id) && store.is_registered(id)? => {
            id.to_owned()
        }
        found => {
            let found = found?;
            if found.server.is_some() {
                let why = format!("instance {} belongs to the hypeman server; delete it there", found.id);
                return Err(Error::new(Kind::InvalidState, why).about(&found.id));
            }
            found.id.clone()
        }
    };
    let Some(_turn) = store.try_turn(&id)? else {
        let why = format!("instance {id} is being captured or restored; try again when that is done");
        return Err(Error::new(Kind::Busy, why).about(&id));
    };
    let _registry = store.registry_lock(Call::default().timeout(REGISTRY_PATIENCE).limit())?;
    store.remove_registration(&id)
}
