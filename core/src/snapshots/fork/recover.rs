//! A fork whose owner died, or that failed.

use crate::error::Result;
use crate::snapshots::restore::exchange::{is_made, parent_if_any};
use crate::store::Store;
use crate::store::journals::{Journal, Step};

/// Forgets the journal of a fork that is registered, and so whole; of any other it removes what was made.
///
/// The caller has the turn of the instance.
pub(in crate::snapshots) fn recover(store: &Store, journal: &Journal) -> Result<()> {
    // What is seen of a registration, or of its removal, may not be on the disk yet; without the journal it must be.
    store.flush_registrations()?;
    if !store.is_registered(&journal.instance_id)? {
        for exchange in &journal.exchanges {
            let Some(parent) = parent_if_any(exchange)? else { continue };
            // Out of sight first. Something else of that name is not ours to touch.
            if journal.step == Step::Forward && is_made(&parent, exchange)? {
                parent.rename_new(&exchange.target, &parent, &exchange.staged)?;
            }
            parent.remove_tree(&exchange.staged)?;
            // Before the journal goes: nothing else knows of what would be back.
            store.durable().dir(&parent)?;
        }
        store.end_placed(&journal.instance_id)?;
    }
    store.end_journal(&journal.instance_id)
}
