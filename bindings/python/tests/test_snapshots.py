"""Every call of the API on real files."""

import itertools
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import MEMORY_BYTES

from libhypeman import (
    ClosedError,
    CompressionConfig,
    CompressionState,
    ConflictError,
    CorruptError,
    Disk,
    Hypeman,
    HypervisorKind,
    Instance,
    InstanceState,
    InvalidRequestError,
    InvalidStateError,
    NotFoundError,
    NotSupportedError,
    Origin,
    Progress,
    SnapshotKind,
)


def test_an_instance_is_registered_found_listed_and_forgotten(hm: Hypeman, stopped: Instance) -> None:
    assert stopped.hypervisor is HypervisorKind.QEMU
    assert stopped.state is InstanceState.STOPPED
    assert stopped.origin is Origin.REGISTERED
    assert stopped.directory is not None and stopped.directory.is_dir()
    for name in (stopped.id, "stopped", stopped.id[:8]):
        assert hm.instances.get(name) == stopped
    assert hm.instances.list() == [stopped]
    hm.instances.unregister("stopped")
    assert hm.instances.list() == []
    assert (stopped.directory / "overlay.raw").exists()


def test_disks_are_given_as_paths_dicts_and_objects(hm: Hypeman, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.raw", "b.raw", "c.raw")]
    for path in paths:
        path.write_bytes(b"disk")
    given: list[Disk | Path | dict[str, object]] = [paths[0], {"path": str(paths[1]), "readonly": True}, Disk(paths[2])]
    instance = hm.instances.register(name="vm", hypervisor="qemu", disks=given)
    assert instance.disks == (Disk(paths[0]), Disk(paths[1], readonly=True), Disk(paths[2]))
    assert hm.instances.get("vm").disks == instance.disks


def test_a_stopped_snapshot_has_the_fields_of_the_api(hm: Hypeman, stopped: Instance) -> None:
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    made = hm.instances.snapshots.create("stopped", kind="Stopped", name="baseline", tags={"team": "backend"})
    assert before <= made.created_at <= datetime.now(timezone.utc)
    assert made.kind is SnapshotKind.STOPPED
    assert (made.source_instance_id, made.source_instance_name) == (stopped.id, "stopped")
    assert (made.name, made.tags) == ("baseline", {"team": "backend"})
    assert made.size_bytes >= 4096
    assert made.compression is None
    assert hm.snapshots.get(made.id) == made


def test_a_standby_snapshot_is_compressed_in_the_background(hm: Hypeman, standby: Instance) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby", compression={"enabled": True, "level": 3})
    assert made.compression == CompressionConfig(True, "zstd", 3)
    steps: list[Progress] = []
    ended = hm.snapshots.wait(made.id, timeout=60, progress=steps.append)
    assert ended.compression_state is CompressionState.COMPRESSED
    assert ended.uncompressed_size_bytes == MEMORY_BYTES
    assert ended.compressed_size_bytes is not None and ended.compressed_size_bytes < MEMORY_BYTES
    assert all(step.bytes_done <= step.bytes_total or step.bytes_total == 0 for step in steps)


def test_progress_is_told_on_the_calling_thread_in_the_order_of_the_phases(hm: Hypeman, stopped: Instance) -> None:
    heard: list[tuple[int, Progress]] = []
    hm.instances.snapshots.create(
        stopped.id, kind="Stopped", progress=lambda step: heard.append((threading.get_ident(), step))
    )
    assert {thread for thread, _ in heard} == {threading.get_ident()}
    phases = [step.phase for _, step in heard]
    # Each phase once, however often it was told of: none comes back after the next has begun.
    assert [phase for phase, _ in itertools.groupby(phases)] == ["preparing", "copying_disks", "syncing"]


def test_compression_is_repeated_and_cancelled(hm: Hypeman, standby: Instance) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")
    assert made.compression_state in (None, CompressionState.NONE)
    started = hm.snapshots.compress(made.id, compression=CompressionConfig(True, "lz4"))
    assert started.compression == CompressionConfig(True, "lz4", 0)
    assert hm.snapshots.wait(made.id, timeout=60).compression_state is CompressionState.COMPRESSED
    assert hm.snapshots.cancel_compression(made.id).compression_state is CompressionState.COMPRESSED


def test_the_default_of_the_library_is_used_and_an_explicit_off_beats_it(tmp_path: Path) -> None:
    with Hypeman(tmp_path / "data", compression=CompressionConfig(True, "lz4")) as hm:
        where = tmp_path / "vm"
        (where / "snapshots" / "snapshot-latest").mkdir(parents=True)
        (where / "snapshots" / "snapshot-latest" / "memory").write_bytes(bytes(MEMORY_BYTES))
        vm = hm.instances.register(name="vm", hypervisor="qemu", directory=where)
        create = hm.instances.snapshots.create
        by_default = create(vm.id, kind="Standby")
        assert by_default.compression == CompressionConfig(True, "lz4", 0)
        assert create(vm.id, kind="Standby", compression={"enabled": False}).compression is None


def test_filters_are_anded_and_the_newest_comes_first(hm: Hypeman, stopped: Instance, standby: Instance) -> None:
    create = hm.instances.snapshots.create
    first = create(stopped.id, kind="Stopped", name="a", tags={"team": "x", "env": "y"})
    second = create(standby.id, kind="Standby", name="a")
    third = create(stopped.id, kind="Stopped")
    assert [s.id for s in hm.snapshots.list()] == [third.id, second.id, first.id]
    assert hm.snapshots.list(kind="Standby") == [hm.snapshots.get(second.id)]
    assert [s.id for s in hm.snapshots.list(name="a", source_instance_id=stopped.id)] == [first.id]
    assert [s.id for s in hm.snapshots.list(tags={"team": "x"})] == [first.id]
    assert hm.snapshots.list(tags={"team": "x"}, kind="Standby") == []


def test_inspect_tells_the_files_and_the_capture(hm: Hypeman, standby: Instance) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")
    inside = hm.snapshots.inspect(made.id)
    assert inside.snapshot == made
    sizes = {file.path: file.size_bytes for file in inside.files}
    assert sizes["snapshots/snapshot-latest/memory"] == MEMORY_BYTES
    assert inside.capture is not None and inside.capture.source_state == "Standby"
    assert inside.to_dict()["snapshot"] == made.to_dict()


def test_a_stopped_snapshot_is_restored_onto_its_instance(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    assert stopped.directory is not None
    disk = stopped.directory / "overlay.raw"
    before = disk.read_bytes()
    disk.write_bytes(b"ruined")
    steps: list[Progress] = []
    restored = hm.instances.snapshots.restore(made.id, id="stopped", target_state="Stopped", progress=steps.append)
    assert restored == hm.instances.get(stopped.id)
    assert restored.state is InstanceState.STOPPED
    assert disk.read_bytes() == before
    assert steps


@pytest.mark.parametrize("algorithm", ["zstd", "lz4"])
def test_a_standby_snapshot_brings_its_memory_back_raw(hm: Hypeman, standby: Instance, algorithm: str) -> None:
    assert standby.directory is not None
    memory = standby.directory / "snapshots" / "snapshot-latest" / "memory"
    before = memory.read_bytes()
    compression = {"enabled": True, "algorithm": algorithm}
    made = hm.instances.snapshots.create(standby.id, kind="Standby", compression=compression)
    hm.snapshots.wait(made.id, timeout=60)
    restore = hm.instances.snapshots.restore
    assert restore(made.id, id=standby.id, target_state=InstanceState.STOPPED).state is InstanceState.STOPPED
    assert not memory.exists()
    assert restore(made.id, id=standby.id, timeout=60).state is InstanceState.STANDBY
    assert memory.read_bytes() == before


def test_a_fork_is_an_instance_of_its_own_and_has_a_generation(
    hm: Hypeman, standby: Instance, tmp_path: Path
) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby")
    forked = hm.snapshots.fork(made.id, name="fork", directory=tmp_path / "fork", duplicates="deny", timeout=60)
    assert (forked.name, forked.state, forked.generation) == ("fork", InstanceState.STANDBY, 1)
    assert forked.directory == tmp_path / "fork" and forked.directory.is_dir()
    assert hm.instances.get("fork").id == forked.id != standby.id
    assert hm.snapshots.inspect(made.id).generation == 1
    with pytest.raises(ConflictError, match="handed out before"):
        hm.snapshots.fork(made.id, name="fork-2", duplicates="deny")
    with pytest.raises(ConflictError, match="is taken"):
        hm.snapshots.fork(made.id, name="fork")
    with pytest.raises(InvalidRequestError, match="duplicates must be one of"):
        hm.instances.snapshots.restore(made.id, id=standby.id, duplicates="never")
    with pytest.raises(InvalidRequestError, match="no disk"):
        hm.snapshots.fork(made.id, name="fork-2", disks={"/no/such": "/else/where"})
    assert hm.instances.snapshots.restore(made.id, id=standby.id).generation == 2


def test_a_restore_that_does_not_fit_is_refused_and_changes_nothing(
    hm: Hypeman, stopped: Instance, standby: Instance
) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    asleep = hm.instances.snapshots.create(standby.id, kind="Standby")
    assert stopped.directory is not None
    disk = stopped.directory / "overlay.raw"
    disk.write_bytes(b"from after the snapshot")
    restore = hm.instances.snapshots.restore
    with pytest.raises(NotFoundError):
        restore("nosuch", id=stopped.id)
    with pytest.raises(InvalidRequestError, match="is of instance"):
        restore(made.id, id=standby.id)
    with pytest.raises(InvalidRequestError, match="target_state must be"):
        restore(made.id, id=stopped.id, target_state="Asleep")
    with pytest.raises(NotSupportedError):
        restore(made.id, id=stopped.id, target_state="Running")
    with pytest.raises(InvalidRequestError, match="absolute"):
        restore(asleep.id, id=standby.id, api_socket="vmm.sock")
    with pytest.raises(InvalidRequestError, match="choose one"):
        restore(asleep.id, id=standby.id, on_demand=True, uffd_socket="/run/uffd.sock")
    assert disk.read_bytes() == b"from after the snapshot"


def test_a_deleted_snapshot_is_gone_and_its_name_free(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped", name="a")
    with pytest.raises(ConflictError):
        hm.instances.snapshots.create(stopped.id, kind="Stopped", name="a")
    hm.snapshots.delete(made.id)
    with pytest.raises(NotFoundError) as caught:
        hm.snapshots.get(made.id)
    assert caught.value.id == made.id
    assert hm.snapshots.list() == []
    hm.instances.snapshots.create(stopped.id, kind="Stopped", name="a")


def test_what_a_newer_version_wrote_is_kept(
    hm: Hypeman, stopped: Instance, rewritten: Callable[[str, str, str], None]
) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    rewritten(made.id, '"Stopped"', '"Hibernated"')
    kind = hm.snapshots.get(made.id).kind
    assert kind == "Hibernated" and type(kind) is str


def test_a_damaged_record_is_corrupt_and_does_not_hide_the_others(
    hm: Hypeman, stopped: Instance, rewritten: Callable[[str, str, str], None]
) -> None:
    good = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    bad = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    rewritten(bad.id, '"', "")
    with pytest.raises(CorruptError) as caught:
        hm.snapshots.get(bad.id)
    assert caught.value.path is not None
    assert [s.id for s in hm.snapshots.list()] == [good.id]
    hm.snapshots.delete(bad.id)


BAD_REQUESTS: dict[str, dict[str, object]] = {
    "unknown kind": {"kind": "standby"},
    "bad name": {"kind": "Stopped", "name": "-a"},
    "51 tags": {"kind": "Stopped", "tags": {f"k{i}": "" for i in range(51)}},
    "bad tag": {"kind": "Stopped", "tags": {"k!": "v"}},
    "compression with Stopped": {"kind": "Stopped", "compression": {"enabled": True}},
    "unknown algorithm": {"kind": "Standby", "compression": {"enabled": True, "algorithm": "gzip"}},
    "level out of range": {"kind": "Standby", "compression": {"enabled": True, "level": 20}},
    "compression without enabled": {"kind": "Standby", "compression": {"level": 3}},
    "negative timeout": {"kind": "Stopped", "timeout": -1},
    "timeout that is no number": {"kind": "Stopped", "timeout": float("nan")},
}


@pytest.mark.parametrize("options", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_a_bad_request_is_refused_and_leaves_nothing(hm: Hypeman, stopped: Instance, options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        hm.instances.snapshots.create(stopped.id, **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, ValueError)
    assert hm.snapshots.list() == []


def test_an_argument_of_the_wrong_type_is_named_and_leaves_nothing(hm: Hypeman, stopped: Instance) -> None:
    create, register = hm.instances.snapshots.create, hm.instances.register
    for call, said in (
        (lambda: create(stopped.id, kind="Stopped", tags=["a"]), "tags must be a dict"),  # type: ignore[arg-type]
        (lambda: create(stopped.id, kind="Stopped", progress=5), "progress must be callable"),  # type: ignore[arg-type]
        (lambda: create(stopped.id, kind=None), "'kind'"),  # type: ignore[arg-type]
        (lambda: hm.snapshots.get(5), "'id'"),  # type: ignore[arg-type]
        (lambda: hm.snapshots.list(tags="a=b"), "tags must be a dict"),  # type: ignore[arg-type]
        (lambda: hm.snapshots.fork("x", name="y", disks=["/a"]), "disks must be a dict"),  # type: ignore[arg-type]
        (lambda: register(name="x", hypervisor="qemu", disks="/a.raw"), "disks must be a list"),
        (lambda: register(name="x", hypervisor="qemu", disks=[5]), "not int"),  # type: ignore[list-item]
        (lambda: Hypeman(hm.data_dir, log=print), "log must be a logging.Logger"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError) as caught:
            call()
        # A traceback shows the notes, too.
        assert said in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])
    assert hm.snapshots.list() == [] and [vm.name for vm in hm.instances.list()] == ["stopped"]


def test_the_wrong_kind_for_the_state_is_refused(hm: Hypeman, stopped: Instance, standby: Instance) -> None:
    with pytest.raises(InvalidStateError):
        hm.instances.snapshots.create(stopped.id, kind="Standby")
    with pytest.raises(ConflictError):
        hm.instances.snapshots.create(standby.id, kind="Stopped")


def test_an_empty_instance_id_is_a_value_error_as_in_the_vendors_client(hm: Hypeman, stopped: Instance) -> None:
    calls: list[Callable[[str], object]] = [hm.instances.get, hm.instances.unregister]
    calls.append(lambda id: hm.instances.snapshots.create(id, kind="Stopped"))
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    calls.append(lambda id: hm.instances.snapshots.restore(made.id, id=id))
    for call in calls:
        with pytest.raises(ValueError, match="must not be empty") as caught:
            call("")
        assert isinstance(caught.value, InvalidRequestError)


def test_what_is_unknown_is_a_lookup_error_with_its_id(hm: Hypeman) -> None:
    for call in (hm.instances.get, hm.snapshots.get, hm.snapshots.delete, hm.snapshots.inspect, hm.snapshots.wait):
        with pytest.raises(LookupError) as caught:
            call("nosuch")
        assert isinstance(caught.value, NotFoundError) and caught.value.id == "nosuch"


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="threads"):
        Hypeman(tmp_path, threads=0)
    with pytest.raises(InvalidRequestError, match="durability"):
        Hypeman(tmp_path, durability="none")
    with pytest.raises(InvalidRequestError, match="level"):
        Hypeman(tmp_path, compression={"enabled": True, "level": 99})
    with pytest.raises(InvalidRequestError, match="NUL"):
        Hypeman("a\0b")
    with pytest.raises(NotFoundError):
        Hypeman(tmp_path / "missing", read_only=True)


def test_the_data_directory_is_named_by_argument_or_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Hypeman(str(tmp_path / "a")) as hm:
        assert hm.data_dir == tmp_path / "a"
        assert repr(hm) == f"Hypeman('{tmp_path / 'a'}')"
    monkeypatch.setenv("HYPEMAN_DATA_DIR", str(tmp_path / "b"))
    with Hypeman() as hm:
        assert hm.data_dir == tmp_path / "b"


def test_a_closed_handle_says_so_and_is_closed_twice_without_harm(tmp_path: Path) -> None:
    with Hypeman(tmp_path) as hm:
        pass
    hm.close()
    for call in (hm.snapshots.list, hm.instances.list, lambda: hm.snapshots.get("x")):
        with pytest.raises(ClosedError):
            call()
