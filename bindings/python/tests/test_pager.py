"""Serving guest memory: start, metrics, stop."""

import gc
import socket
import stat
import time
from pathlib import Path

import pytest
from conftest import directory

from libhypeman import (
    BusyError,
    CallTimeoutError,
    ClosedError,
    ConflictError,
    Hypeman,
    InvalidRequestError,
    NotSupportedError,
    Pager,
    PagerMetrics,
    Snapshot,
)


@pytest.fixture
def snapshot(hm: Hypeman, tmp_path: Path) -> Snapshot:
    """A snapshot with memory that has pages."""
    where = directory(tmp_path / "paged")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(bytes(range(256)) * 4096)
    vm = hm.instances.register(name="paged", hypervisor="firecracker", directory=where)
    made = hm.instances.snapshots.create(vm.id, kind="Standby", compression={"enabled": True})
    return hm.snapshots.wait(made.id, timeout=60)


def test_a_pager_listens_counts_and_stops(hm: Hypeman, snapshot: Snapshot) -> None:
    with hm.snapshots.serve_memory(snapshot.id) as pager:
        assert pager.snapshot_id == snapshot.id
        assert stat.S_IMODE(pager.socket.stat().st_mode) == 0o600
        assert pager.metrics() == PagerMetrics(0, 0, 0, 0, 0, 0, 0, 0, (0,) * 20, 0)
        with pytest.raises(BusyError):
            hm.snapshots.delete(snapshot.id)
        with pytest.raises(CallTimeoutError):
            pager.wait(timeout=0.01)
        refused = a_stranger_is_refused(pager)
        assert (refused.errors, refused.vms_seen) == (1, 0)
        assert refused.last_error is not None
        assert "refused" in refused.last_error
        assert refused.to_dict()["fault_us"] == [0] * 20
    assert not pager.socket.exists()
    pager.stop()
    assert pager.metrics() == refused
    with pytest.raises(ClosedError):
        pager.wait()
    hm.snapshots.delete(snapshot.id)


def a_stranger_is_refused(pager: Pager) -> PagerMetrics:
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.connect(str(pager.socket))
        stranger.sendall(b"hello")
        patience = time.monotonic() + 60
        while not (metrics := pager.metrics()).errors:
            assert time.monotonic() < patience
            time.sleep(0.01)
    return metrics


def test_options_are_the_cores_and_checked_by_it(hm: Hypeman, snapshot: Snapshot, tmp_path: Path) -> None:
    place = tmp_path / "p"
    options = {"socket": place, "cache_bytes": 1 << 20, "prefetch": False, "fill": True, "spin_us": 0, "cpus": [0]}
    with hm.snapshots.serve_memory(snapshot.id, **options) as pager:
        assert pager.socket == place
        with pytest.raises(ConflictError):
            hm.snapshots.serve_memory(snapshot.id, socket=place)
    for wrong in ({"socket": "relative"}, {"spin_us": 1001}, {"cpus": [100_000]}):
        with pytest.raises(InvalidRequestError):
            hm.snapshots.serve_memory(snapshot.id, **wrong)


def test_a_pager_ends_with_its_handle(tmp_path: Path, hm: Hypeman, snapshot: Snapshot) -> None:
    other = Hypeman(hm.data_dir)
    pager = other.snapshots.serve_memory(snapshot.id)
    other.close()
    assert not pager.socket.exists()
    with pytest.raises(ClosedError):
        other.snapshots.serve_memory(snapshot.id)


def test_a_pager_outlives_a_handle_that_is_forgotten(hm: Hypeman, snapshot: Snapshot) -> None:
    pager = Hypeman(hm.data_dir).snapshots.serve_memory(snapshot.id)
    gc.collect()
    with pytest.raises(CallTimeoutError):
        pager.wait(timeout=0.01)
    place = pager.socket
    del pager
    gc.collect()
    assert not place.exists()


def test_memory_without_pages_is_not_served(hm: Hypeman, standby: object) -> None:
    made = hm.instances.snapshots.create("standby", kind="Standby")
    with pytest.raises(NotSupportedError):
        hm.snapshots.serve_memory(made.id)
