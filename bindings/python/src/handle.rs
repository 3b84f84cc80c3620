//! The handle: one method for each call of the API, in core's order of arguments. The public classes of the
//! package are its only callers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use hypeman_core::{
    CreateSnapshot, Duplicates, Durability, ForkSnapshot, Hypeman, InstanceState, Options, RegisterInstance,
    RestoreSnapshot, ServeMemory, SnapshotFilter,
};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::arguments::{self, Compression};
use crate::errors::raised;
use crate::gate::{self, CancelToken, Watch};
use crate::log;
use crate::memory::Memory;
use crate::pager::Pager;
use crate::results;

type Object<'py> = PyResult<Bound<'py, PyAny>>;

/// An open data directory.
#[pyclass(frozen, module = "libhypeman._native")]
pub(crate) struct Handle {
    hm: Hypeman,
}

#[pymethods]
impl Handle {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of Hypeman()")]
    fn open(
        py: Python<'_>,
        data_dir: Option<PathBuf>,
        read_only: bool,
        compression: Option<Compression>,
        durability: &str,
        threads: Option<i64>,
        allow_network_fs: bool,
        owns_server_instances: bool,
        log: Py<PyAny>,
        offload_memory: bool,
    ) -> PyResult<Self> {
        let durability = gate::short(py, || Durability::parse(durability))?;
        let hm = gate::apart(py, move || {
            let options = Options {
                read_only,
                compression: compression.map(arguments::compression),
                durability,
                threads: arguments::threads(threads)?,
                allow_network_fs,
                owns_server_instances,
                log: log::to(log),
                offload_memory,
            };
            Hypeman::open_with(data_dir.unwrap_or_else(Hypeman::default_data_dir), options)
        })?;
        Ok(Self { hm })
    }

    fn data_dir(&self) -> PathBuf {
        self.hm.data_dir().to_owned()
    }

    fn finish<'py>(
        &self,
        py: Python<'py>,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> PyResult<()> {
        let hm = self.hm.clone();
        gate::long(py, watch(py, timeout, progress, cancel)?, move |call| hm.finish(call))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let hm = self.hm.clone();
        gate::apart(py, move || {
            hm.close();
            Ok(())
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of register()")]
    fn register<'py>(
        &self,
        py: Python<'py>,
        name: String,
        hypervisor: &str,
        id: Option<String>,
        api_socket: Option<PathBuf>,
        directory: Option<PathBuf>,
        disks: Vec<(PathBuf, bool)>,
        compression: Option<Compression>,
        staging_directory: Option<PathBuf>,
        staging_directory_in_vmm: Option<PathBuf>,
        exclusive_snapshots: bool,
    ) -> Object<'py> {
        let request = RegisterInstance {
            name,
            hypervisor: hypervisor.into(),
            id,
            api_socket,
            directory,
            disks: arguments::disks(disks),
            compression: compression.map(arguments::compression),
            staging_directory,
            staging_directory_in_vmm,
            exclusive_snapshots,
        };
        let hm = self.hm.clone();
        results::instance(py, gate::apart(py, move || hm.instances().register(&request))?)
    }

    fn get_instance<'py>(&self, py: Python<'py>, id: String) -> Object<'py> {
        let hm = self.hm.clone();
        results::instance(py, gate::apart(py, move || hm.instances().get(&id))?)
    }

    fn list_instances<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let hm = self.hm.clone();
        let instances = gate::apart(py, move || hm.instances().list())?;
        instances.into_iter().map(|instance| results::instance(py, instance)).collect()
    }

    fn unregister(&self, py: Python<'_>, id: String) -> PyResult<()> {
        let hm = self.hm.clone();
        gate::apart(py, move || hm.instances().unregister(&id))
    }

    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of create()")]
    fn create<'py>(
        &self,
        py: Python<'py>,
        id: String,
        kind: &str,
        name: Option<String>,
        tags: Option<BTreeMap<String, String>>,
        compression: Option<Compression>,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> Object<'py> {
        let request = CreateSnapshot {
            kind: kind.into(),
            name,
            tags,
            compression: compression.map(arguments::compression),
        };
        let hm = self.hm.clone();
        let made = gate::long(py, watch(py, timeout, progress, cancel)?, move |call| {
            hm.instances().snapshots().create(&id, &request, call)
        })?;
        results::snapshot(py, made)
    }

    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of restore()")]
    fn restore<'py>(
        &self,
        py: Python<'py>,
        snapshot_id: String,
        id: String,
        target_state: Option<&str>,
        api_socket: Option<PathBuf>,
        network_overrides: BTreeMap<String, String>,
        on_demand: bool,
        uffd_socket: Option<PathBuf>,
        allow_incompatible: bool,
        duplicates: &str,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> Object<'py> {
        let (target_state, duplicates) = named(py, target_state, duplicates)?;
        let request = RestoreSnapshot {
            target_state,
            api_socket,
            network_overrides,
            on_demand,
            uffd_socket,
            allow_incompatible,
            duplicates,
        };
        let hm = self.hm.clone();
        let restored = gate::long(py, watch(py, timeout, progress, cancel)?, move |call| {
            hm.instances().snapshots().restore(&snapshot_id, &id, &request, call)
        })?;
        results::instance(py, restored)
    }

    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of fork()")]
    fn fork<'py>(
        &self,
        py: Python<'py>,
        id: String,
        name: String,
        directory: Option<PathBuf>,
        disks: BTreeMap<PathBuf, PathBuf>,
        target_state: Option<&str>,
        api_socket: Option<PathBuf>,
        network_overrides: BTreeMap<String, String>,
        on_demand: bool,
        uffd_socket: Option<PathBuf>,
        allow_incompatible: bool,
        duplicates: &str,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> Object<'py> {
        let (target_state, duplicates) = named(py, target_state, duplicates)?;
        let restore = RestoreSnapshot {
            target_state,
            api_socket,
            network_overrides,
            on_demand,
            uffd_socket,
            allow_incompatible,
            duplicates,
        };
        let request = ForkSnapshot { name, directory, disks, restore };
        let hm = self.hm.clone();
        let forked = gate::long(py, watch(py, timeout, progress, cancel)?, move |call| {
            hm.snapshots().fork(&id, &request, call)
        })?;
        results::instance(py, forked)
    }

    fn list<'py>(
        &self,
        py: Python<'py>,
        kind: Option<&str>,
        name: Option<String>,
        source_instance_id: Option<String>,
        tags: BTreeMap<String, String>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let filter = SnapshotFilter { kind: kind.map(Into::into), name, source_instance_id, tags };
        let snapshots = gate::short(py, || self.hm.snapshots().list(&filter))?;
        snapshots.into_iter().map(|snapshot| results::snapshot(py, Arc::unwrap_or_clone(snapshot))).collect()
    }

    fn get<'py>(&self, py: Python<'py>, id: &str) -> Object<'py> {
        results::snapshot(py, gate::short(py, || self.hm.snapshots().get(id))?)
    }

    fn delete(&self, py: Python<'_>, id: String) -> PyResult<()> {
        let hm = self.hm.clone();
        gate::apart(py, move || hm.snapshots().delete(&id))
    }

    fn wait<'py>(
        &self,
        py: Python<'py>,
        id: String,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> Object<'py> {
        let hm = self.hm.clone();
        let ended = gate::long(py, watch(py, timeout, progress, cancel)?, move |call| {
            hm.snapshots().wait(&id, call)
        })?;
        results::snapshot(py, ended)
    }

    fn compress<'py>(&self, py: Python<'py>, id: &str, compression: Option<Compression>) -> Object<'py> {
        let config = compression.map(arguments::compression);
        results::snapshot(py, gate::short(py, || self.hm.snapshots().compress(id, config.as_ref()))?)
    }

    fn cancel_compression<'py>(&self, py: Python<'py>, id: &str) -> Object<'py> {
        results::snapshot(py, gate::short(py, || self.hm.snapshots().cancel_compression(id))?)
    }

    fn inspect<'py>(&self, py: Python<'py>, id: &str) -> Object<'py> {
        results::inspection(py, gate::short(py, || self.hm.snapshots().inspect(id))?)
    }

    fn verify<'py>(
        &self,
        py: Python<'py>,
        id: String,
        timeout: Option<f64>,
        progress: Option<Bound<'py, PyAny>>,
        cancel: Option<PyRef<'py, CancelToken>>,
    ) -> Object<'py> {
        let hm = self.hm.clone();
        let report = gate::long(py, watch(py, timeout, progress, cancel)?, move |call| {
            hm.snapshots().verify(&id, call)
        })?;
        results::verify_report(py, report)
    }

    fn memory(&self, py: Python<'_>, id: String) -> PyResult<Memory> {
        // Of some files it reads every byte.
        let hm = self.hm.clone();
        gate::apart(py, move || hm.snapshots().memory(&id)).map(Memory::new)
    }

    #[expect(clippy::too_many_arguments, reason = "the keyword arguments of serve_memory()")]
    fn serve_memory(
        slf: Py<Self>,
        py: Python<'_>,
        id: String,
        socket: Option<PathBuf>,
        cache_bytes: Option<u64>,
        prefetch: bool,
        fill: bool,
        spin_us: Option<u32>,
        cpus: Vec<u32>,
    ) -> PyResult<Pager> {
        let defaults = ServeMemory::default();
        let request = ServeMemory {
            socket,
            cache_bytes: cache_bytes.unwrap_or(defaults.cache_bytes),
            prefetch,
            fill,
            spin_us: spin_us.unwrap_or(defaults.spin_us),
            cpus,
        };
        let hm = slf.get().hm.clone();
        // As in `memory`.
        let pager = gate::apart(py, move || hm.snapshots().serve_memory(&id, &request))?;
        Ok(Pager::new(pager, slf))
    }
}

impl Drop for Handle {
    /// Closes without the GIL: the threads that this waits for want it, if they have something to log.
    fn drop(&mut self) {
        Python::try_attach(|py| py.detach(|| self.hm.close()));
    }
}

/// Finds what restore() and fork() name by texts.
fn named(
    py: Python<'_>,
    target_state: Option<&str>,
    duplicates: &str,
) -> PyResult<(Option<InstanceState>, Duplicates)> {
    gate::short(py, || {
        Ok((target_state.map(InstanceState::parse).transpose()?, Duplicates::parse(duplicates)?))
    })
}

pub(crate) fn watch<'py>(
    py: Python<'py>,
    timeout: Option<f64>,
    progress: Option<Bound<'py, PyAny>>,
    cancel: Option<PyRef<'py, CancelToken>>,
) -> PyResult<Watch<'py>> {
    let timeout = arguments::timeout(timeout).map_err(|error| raised(py, &error))?;
    // Found out now, not when the VM is paused.
    if let Some(odd) = progress.as_ref().filter(|given| !given.is_callable()) {
        return Err(PyTypeError::new_err(format!("progress must be callable, got {}", odd.repr()?)));
    }
    Ok(Watch { timeout, cancel, progress })
}
