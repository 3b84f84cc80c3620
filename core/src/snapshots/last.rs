//! A new image over a copy of the last one that the same VMM process wrote or loaded: only what the guest has changed
//! since is written in the pause, and the result is as complete, and as much on its own, as any other.

use std::path::Path;

use crate::call::Limit;
use crate::copy::copy_open;
use crate::error::{Error, Kind, Result};
use crate::hypervisor::{CAPTURE_DIRECTORY, Vmm};
use crate::instances::Found;
use crate::store::Store;
use crate::sys::dir::Dir;

/// Puts a copy of the last image's memory into `place`, and tells its name; `None` where the image has to be written
/// whole.
///
/// That it is the last one only the host can promise: an image that another program had the VMM write empties the log
/// of changes, and nothing that a VMM tells shows that it was emptied.
pub(super) fn copy_last(
    store: &Store,
    found: &Found,
    vmm: &dyn Vmm,
    place: &Dir,
    limit: &Limit,
) -> Result<Option<&'static str>> {
    let Some((name, bytes)) = vmm.writes_over_last().filter(|_| found.exclusive_snapshots) else {
        return Ok(None);
    };
    let Some(last) = store.last_image(vmm.peer())? else { return Ok(None) };
    // As long as it is read, its raw memory stays. One that was deleted or compressed meanwhile is no loss.
    let Ok(Some(_pin)) = store.try_read(&last.snapshot_id) else { return Ok(None) };
    let copied = copy_memory(store, &last.snapshot_id, name, bytes, place, limit);
    match copied {
        Ok(()) => Ok(Some(name)),
        Err(error) if matches!(error.kind(), Kind::Cancelled | Kind::Timeout) => Err(error),
        Err(_) => {
            place.unlink(name)?;
            Ok(None)
        }
    }
}

fn copy_memory(store: &Store, id: &str, name: &str, bytes: u64, place: &Dir, limit: &Limit) -> Result<()> {
    let source = Path::new(CAPTURE_DIRECTORY).join(name);
    let guest = store.guest(id)?;
    let raw = guest.read(&source)?;
    let path = guest.join(&source);
    let found = raw.metadata().map_err(|e| Error::io("look at", &path, &e))?.len();
    if found != bytes {
        let why = format!("{} has {found} bytes, where guest memory has {bytes}", path.display());
        return Err(Error::new(Kind::Incompatible, why).at(path));
    }
    copy_open(&raw, &place.create_new(name)?, &path, limit)
}
