//! `snapshots.delete`

use crate::error::{Error, Kind, Result};
use crate::hypeman::Hypeman;

pub(super) fn delete(hm: &Hypeman, id: &str) -> Result<()> {
    let store = hm.writable_store()?;
    store.snapshot_dir(id)?;
    // A damaged record must not keep its snapshot alive; its name claim is found stale when it is wanted.
    let record = store.record(id).ok();
    let Some(_unread) = store.try_no_readers(id)? else {
        return Err(Error::new(
            Kind::Busy,
            format!("snapshot {id} is being read; try again when that is done"),
        )
        .about(id));
    };
    // A job of another process notices that its snapshot has gone, and ends by itself.
    hm.jobs().stop(id);
    store.discard(id)?;
    store.log().info(id, || format!("deleted snapshot {id}"));
    if let Some((snapshot, name)) = record.map(|record| record.snapshot).and_then(|snapshot| {
        let name = snapshot.name.clone()?;
        Some((snapshot, name))
    }) {
        // Only with the turn: a create that finds the claim stale may be making it its own just now. One that stays
        // is found stale: the snapshot is gone.
        if let Ok(Some(_turn)) = store.try_turn(&snapshot.source_instance_id) {
            let _ = store.release_name(&snapshot.source_instance_id, &name, id);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::thread;
    use std::time::{Duration, Instant};

    use crate::{Call, CreateSnapshot, Hypeman, Kind, RegisterInstance, SnapshotKind};

    #[test]
    fn a_snapshot_that_someone_reads_is_busy_and_stays_whole() {
        let temp = tempfile::tempdir().unwrap();
        let vm = temp.path().join("web");
        fs::create_dir(&vm).unwrap();
        fs::write(vm.join("overlay.raw"), "disk").unwrap();
        let hm = Hypeman::open(temp.path().join("data")).unwrap();
        let reader = Hypeman::open(temp.path().join("data")).unwrap();
        hm.instances()
            .register(&RegisterInstance { directory: Some(vm), ..RegisterInstance::new("web", "qemu") })
            .unwrap();
        let stopped = CreateSnapshot::new(SnapshotKind::Stopped);
        let made = hm.instances().snapshots().create("web", &stopped, Call::default()).unwrap();

        let reading = reader.open_store().unwrap().try_read(&made.id).unwrap().unwrap();
        let refused = hm.snapshots().delete(&made.id).unwrap_err();
        assert_eq!((refused.kind(), refused.id()), (Kind::Busy, Some(made.id.as_str())), "{refused}");
        assert_eq!(reader.snapshots().inspect(&made.id).unwrap().files.len(), 1);

        drop(reading);
        // A program that another test starts has our descriptors until it runs.
        let until = Instant::now() + Duration::from_secs(10);
        let mut deleted = hm.snapshots().delete(&made.id);
        while deleted.as_ref().is_err_and(|e| e.kind() == Kind::Busy) && Instant::now() < until {
            thread::yield_now();
            deleted = hm.snapshots().delete(&made.id);
        }
        deleted.unwrap();
        assert_eq!(reader.snapshots().get(&made.id).unwrap_err().kind(), Kind::NotFound);
    }
}
