"""The data types."""

import copy
import dataclasses
import json
import pickle
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from libhypeman import (
    CompressionConfig,
    CompressionState,
    Disk,
    Hypeman,
    HypervisorKind,
    Instance,
    InvalidRequestError,
    Progress,
    Snapshot,
    SnapshotKind,
    _names,
    _record,
)


def snapshot(**more: object) -> Snapshot:
    return Snapshot(
        "q7z1w7l2af4l8y7q1h7g2m3s",
        datetime(2026, 3, 6, 13, 56, 11, tzinfo=timezone.utc),
        SnapshotKind.STANDBY,
        104_857_600,
        HypervisorKind.QEMU,
        "qilviffnqzck2jrim1x6s2b1",
        "nginx1",
        **more,  # type: ignore[arg-type]
    )


def test_results_are_frozen_equal_hashable_and_matched_by_position() -> None:
    one = snapshot(tags={"team": "backend"})
    with pytest.raises(AttributeError):
        one.name = "other"  # type: ignore[misc]
    assert one == snapshot(tags={"team": "backend"}) != snapshot(tags={"team": "frontend"})
    assert len({one, snapshot(tags={"team": "backend"})}) == 1
    match one:
        case Snapshot(id, datetime(), SnapshotKind.STANDBY, name=None):
            assert id == one.id
        case _:
            pytest.fail("did not match")


def test_results_survive_pickling_and_copying() -> None:
    one = snapshot(compression=CompressionConfig(True, "zstd", 3), compression_state=CompressionState.COMPRESSED)
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert again == one
        assert again.to_dict() == one.to_dict()


def test_every_kind_of_result_that_calls_give_survives_pickling_and_is_json(hm: Hypeman, standby: Instance) -> None:
    made = hm.instances.snapshots.create(standby.id, kind="Standby", tags={"a": "b"}, compression={"enabled": True})
    hm.finish(timeout=60)
    steps: list[Progress] = []
    with hm.snapshots.memory(made.id) as image:
        extents = image.extents()
    results = [
        hm.instances.get(standby.id),
        hm.snapshots.get(made.id),
        hm.snapshots.inspect(made.id),
        hm.snapshots.verify(made.id, progress=steps.append),
        steps[-1],
        *extents,
    ]
    for one in results:
        again = pickle.loads(pickle.dumps(one))
        assert (type(again), again, repr(again)) == (type(one), one, repr(one))
        assert hash(again) == hash(one)
        assert json.loads(json.dumps(one.to_dict())) == again.to_dict()
        assert again != results[0] or one == results[0]
        with pytest.raises(AttributeError):
            setattr(one, dataclasses.fields(one)[0].name, None)


def test_a_dict_is_json_and_leaves_out_what_is_absent() -> None:
    assert json.loads(json.dumps(snapshot(name="a", compression=CompressionConfig(True)).to_dict())) == {
        "id": "q7z1w7l2af4l8y7q1h7g2m3s",
        "created_at": "2026-03-06T13:56:11Z",
        "kind": "Standby",
        "size_bytes": 104_857_600,
        "source_hypervisor": "qemu",
        "source_instance_id": "qilviffnqzck2jrim1x6s2b1",
        "source_instance_name": "nginx1",
        "compression": {"enabled": True},
        "name": "a",
    }


def test_a_copy_with_another_time_has_that_time_in_its_dict() -> None:
    text = "2026-03-06T13:56:11.123456789Z"
    told = dataclasses.replace(snapshot(), created_at=_record.moment(text), _created_at_text=text)
    assert told.to_dict()["created_at"] == text
    moved = dataclasses.replace(told, created_at=datetime(2030, 1, 1, tzinfo=timezone.utc))
    assert moved.to_dict()["created_at"] == "2030-01-01T00:00:00Z"


def test_the_members_of_an_enumeration_are_found_by_their_names_in_the_api() -> None:
    assert _names.members(SnapshotKind) == {"Standby": SnapshotKind.STANDBY, "Stopped": SnapshotKind.STOPPED}


def test_times_are_in_utc_and_one_before_year_1_is_the_earliest() -> None:
    read = _record.moment("2026-08-17T15:25:15.123456789Z")
    assert read == datetime(2026, 8, 17, 15, 25, 15, 123456, tzinfo=timezone.utc)
    assert read.utcoffset() == timedelta(0)
    assert _record.moment("-000001-01-01T00:00:00Z") == datetime.min.replace(tzinfo=timezone.utc)


def test_compression_and_disks_are_taken_as_dicts_and_a_wrong_key_is_refused() -> None:
    assert CompressionConfig.of({"enabled": True, "level": 3}) == CompressionConfig(True, level=3)
    assert Disk.of("/a") == Disk.of(Path("/a")) == Disk.of({"path": "/a"}) == Disk(Path("/a"), readonly=False)
    for wrong in ({}, {"algorithm": "zstd"}, {"enabled": True, "levle": 3}):
        with pytest.raises(InvalidRequestError, match="enabled, algorithm, level"):
            CompressionConfig.of(wrong)
    with pytest.raises(InvalidRequestError, match="path, readonly"):
        Disk.of({"file": "/a"})
