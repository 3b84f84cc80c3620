"""Guest memory at random access, and verification."""

import mmap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import MEMORY_BYTES

from libhypeman import (
    BusyError,
    CallCancelledError,
    CancelToken,
    ClosedError,
    DefectKind,
    ExtentKind,
    FileStatus,
    Hypeman,
    Instance,
    InvalidStateError,
    NotFoundError,
    NotSupportedError,
    Snapshot,
)

MEMORY = Path("snapshots/snapshot-latest/memory")
WORDS = b"".join(word.to_bytes(4, "little") for word in range(MEMORY_BYTES // 4))
GAP = range(512 << 10, 1 << 20)


@pytest.fixture(params=[None, "zstd", "lz4"])
def captured(request: pytest.FixtureRequest, hm: Hypeman, standby: Instance) -> Snapshot:
    """A snapshot with memory in each of its forms, a quarter of it zeros."""
    memory = memory_of(standby)
    memory.write_bytes(WORDS[: GAP.start] + bytes(len(GAP)) + WORDS[GAP.stop :])
    compression = {"enabled": request.param is not None, "algorithm": request.param}
    made = hm.instances.snapshots.create(standby.id, kind="Standby", compression=compression)
    return hm.snapshots.wait(made.id, timeout=60)


def memory_of(instance: Instance) -> Path:
    assert instance.directory is not None
    return instance.directory / MEMORY


def test_reads_are_the_bytes_of_the_raw_memory(hm: Hypeman, standby: Instance, captured: Snapshot) -> None:
    raw = memory_of(standby).read_bytes()
    with hm.snapshots.memory(captured.id) as image:
        assert len(image) == image.size_bytes == MEMORY_BYTES
        assert image.snapshot_id == captured.id
        assert image.path.is_file()
        assert image[:] == raw
        assert image[70_001:200_003] == raw[70_001:200_003]
        assert image[-5:] == raw[-5:]
        assert image[10:5] == b""
        assert (image[0], image[12_345], image[-1]) == (raw[0], raw[12_345], raw[-1])
        assert image.read_at(MEMORY_BYTES - 3, 100) == raw[-3:]
        assert image.read_at(1 << 60, 100) == b""
        assert memoryview(image[4096:8192])[1:3] == raw[4097:4099]


def test_an_image_lends_all_of_its_bytes(hm: Hypeman, standby: Instance, captured: Snapshot) -> None:
    raw = memory_of(standby).read_bytes()
    with hm.snapshots.memory(captured.id) as image:
        view = memoryview(image)
        assert view.readonly
        assert bytes(image) == raw
    # Closed, and still lent.
    assert view == raw
    with pytest.raises(ClosedError):
        memoryview(image)


def test_a_buffer_of_the_caller_is_filled(hm: Hypeman, standby: Instance, captured: Snapshot) -> None:
    raw = memory_of(standby).read_bytes()
    with hm.snapshots.memory(captured.id) as image, mmap.mmap(-1, 8192) as page:
        assert image.readinto(page, 4096) == 8192
        assert page[:] == raw[4096 : 4096 + 8192]
        # Longer than one piece of a read, and than the image: the rest of it is left alone.
        large = bytearray(b"?" * (MEMORY_BYTES + 3))
        assert image.readinto(large, 7) == MEMORY_BYTES - 7
        assert large == raw[7:] + b"?" * 10
        assert image.readinto(large, MEMORY_BYTES) == 0
        with pytest.raises(TypeError):
            image.readinto(memoryview(b"read-only"))
        with pytest.raises(TypeError):
            image.readinto(memoryview(bytearray(8))[::2])


def test_extents_cover_the_image_without_a_gap_and_zeros_are_not_data(hm: Hypeman, captured: Snapshot) -> None:
    with hm.snapshots.memory(captured.id) as image:
        extents = image.extents()
    assert extents[0].offset == 0
    assert all(one.offset + one.size_bytes == next.offset for one, next in pairwise(extents))
    assert extents[-1].offset + extents[-1].size_bytes == MEMORY_BYTES
    if captured.compression is not None:
        zeros = [e for e in extents if e.kind is ExtentKind.ZERO]
        assert [(e.offset, e.size_bytes) for e in zeros] == [(GAP.start, len(GAP))]


def test_what_is_no_byte_of_an_image_is_refused(hm: Hypeman, captured: Snapshot) -> None:
    with hm.snapshots.memory(captured.id) as image:
        for outside in (MEMORY_BYTES, -MEMORY_BYTES - 1):
            with pytest.raises(IndexError):
                image[outside]
        with pytest.raises(ValueError, match="step"):
            image[::2]
        with pytest.raises(OverflowError):
            image.read_at(-1, 1)
        with pytest.raises(NotSupportedError):
            image.ranges()


def test_an_open_image_keeps_its_snapshot_and_outlives_its_handle(
    tmp_path: Path, hm: Hypeman, standby: Instance, captured: Snapshot
) -> None:
    image = hm.snapshots.memory(captured.id)
    with pytest.raises(BusyError):
        hm.snapshots.delete(captured.id)
    hm.close()
    assert image[:100] == memory_of(standby).read_bytes()[:100]
    image.close()
    image.close()
    for use in (lambda: image[0], lambda: len(image), image.extents, lambda: image.path):
        with pytest.raises(ClosedError):
            use()
    with Hypeman(tmp_path / "data") as again:
        again.snapshots.delete(captured.id)


def test_a_snapshot_without_memory_has_none_to_open(hm: Hypeman, stopped: Instance) -> None:
    made = hm.instances.snapshots.create(stopped.id, kind="Stopped")
    with pytest.raises(InvalidStateError):
        hm.snapshots.memory(made.id)
    with pytest.raises(NotFoundError):
        hm.snapshots.memory("nosuch")


def test_a_good_snapshot_is_verified_and_a_damaged_one_says_where(
    hm: Hypeman, captured: Snapshot, settled: Callable[[], None]
) -> None:
    settled()
    good = hm.snapshots.verify(captured.id)
    assert good.is_good, good
    assert good.snapshot_id == captured.id
    assert {file.status for file in good.files} == {FileStatus.GOOD}

    disk = hm.data_dir / "snapshots" / captured.id / "guest" / "overlay.raw"
    disk.write_bytes(disk.read_bytes().replace(b"d", b"D", 1))
    with hm.snapshots.memory(captured.id) as image:
        memory = image.path
    memory.unlink()
    damaged = hm.snapshots.verify(captured.id)
    assert not damaged.is_good
    assert {(defect.path, defect.kind) for defect in damaged.defects} == {
        ("guest/overlay.raw", DefectKind.CONTENT),
        (f"guest/{MEMORY.parent}/{memory.name}", DefectKind.MISSING),
    }
    content = next(defect for defect in damaged.defects if defect.kind is DefectKind.CONTENT)
    assert (content.offset, content.size_bytes) == (0, 4096)
    assert damaged.to_dict()["files"] == [{"path": "guest/overlay.raw", "size_bytes": 4096, "status": "damaged"}]


def test_a_verification_is_watched_and_ended(
    hm: Hypeman, captured: Snapshot, settled: Callable[[], None]
) -> None:
    settled()
    phases: list[str] = []
    hm.snapshots.verify(captured.id, timeout=60, progress=lambda step: phases.append(step.phase))
    assert set(phases) == {"verifying"}
    token = CancelToken()
    token.cancel()
    with pytest.raises(CallCancelledError):
        hm.snapshots.verify(captured.id, cancel=token)
    with pytest.raises(NotFoundError):
        hm.snapshots.verify("nosuch")
