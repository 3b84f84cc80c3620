"""The API as Python spells it is the API of the library: tests/conformance/api.json, written by core."""

import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import need

import libhypeman
from libhypeman import (
    Hypeman,
    Instances,
    InstanceSnapshots,
    MemoryImage,
    Pager,
    Snapshots,
    _names,
    _record,
    _types,
)

CONFORMANCE = Path(__file__).parents[3] / "tests" / "conformance"
API: dict[str, Any] = json.loads((CONFORMANCE / "api.json").read_text())

# What hosts write, and the examples that they read.
PROGRAMS = sorted(
    [*Path(__file__).parent.glob("typed_*.py"), *(Path(__file__).parents[1] / "examples").glob("*.py")]
)

ALLOWLIST = Path(__file__).parent / "stubtest-allowlist.txt"

DOCUMENTED = [
    name
    for name in libhypeman.__all__
    if name.removeprefix("Async")
    in ("Hypeman", "Instances", "InstanceSnapshots", "Snapshots", "MemoryImage", "Pager")
]
CALLS = {
    "instances": Instances,
    "instances.snapshots": InstanceSnapshots,
    "snapshots": Snapshots,
    "memory": MemoryImage,
    "pager": Pager,
}


@pytest.mark.parametrize("name", API["results"])
def test_a_result_has_the_fields_of_the_core_and_the_same_ones_are_optional(name: str) -> None:
    cls = getattr(libhypeman, name)
    public = {f.name: f for f in dataclasses.fields(cls) if not f.name.startswith("_")}
    assert set(public) == set(API["results"][name]) == set(cls.__match_args__)
    optional = {name for name, field in public.items() if field.default is None}
    assert optional == {name for name, field in API["results"][name].items() if field["optional"]}


@pytest.mark.parametrize(
    ("request_name", "call", "more"),
    [
        ("Options", Hypeman.__init__, {"data_dir"}),
        ("RegisterInstance", Instances.register, set()),
        ("CreateSnapshot", InstanceSnapshots.create, {"id", "timeout", "progress", "cancel"}),
        ("RestoreSnapshot", InstanceSnapshots.restore, {"snapshot_id", "id", "timeout", "progress", "cancel"}),
        (
            "ForkSnapshot",
            Snapshots.fork,
            {"id", "timeout", "progress", "cancel", *API["requests"]["RestoreSnapshot"]},
        ),
        ("ServeMemory", Snapshots.serve_memory, {"id"}),
        ("SnapshotFilter", Snapshots.list, set()),
    ],
)
def test_a_call_takes_the_arguments_of_the_core(request_name: str, call: Any, more: set[str]) -> None:
    # How a fork is restored is spelled out among its own arguments.
    taken = set(API["requests"][request_name]) - {"restore"}
    assert set(inspect.signature(call).parameters) - {"self"} == taken | more


def test_progress_has_the_fields_of_the_core() -> None:
    assert libhypeman.Progress.__match_args__ == tuple(API["requests"]["Progress"])


@pytest.mark.parametrize(
    ("key", "enumeration"),
    [
        ("phases", libhypeman.Phase),
        ("instance_states", libhypeman.InstanceState),
        ("snapshot_kinds", libhypeman.SnapshotKind),
        ("compression_states", libhypeman.CompressionState),
        ("hypervisors", libhypeman.HypervisorKind),
        ("origins", libhypeman.Origin),
        ("durabilities", libhypeman.Durability),
        ("extent_kinds", libhypeman.ExtentKind),
        ("file_statuses", libhypeman.FileStatus),
        ("defect_kinds", libhypeman.DefectKind),
    ],
)
def test_an_enumeration_has_the_names_of_the_core(key: str, enumeration: Any) -> None:
    assert [member.value for member in enumeration] == API[key]


def test_every_call_of_the_conformance_table_is_there() -> None:
    table = (CONFORMANCE / "README.md").read_text().partition("| call |")[2].partition("\n\n")[0].splitlines()
    cells = [line.split("|")[1] for line in table if line.startswith("| `")]
    calls = [name.strip(" `") for cell in cells for name in cell.split(",")]
    assert {"instances.register", "snapshots.inspect", "memory.read_at", "pager.wait", "close"} <= set(calls)
    for call in calls:
        resource, _, method = call.rpartition(".")
        assert callable(getattr(CALLS.get(resource, Hypeman), method))


def test_every_class_of_results_and_errors_is_exported() -> None:
    ours = {
        name
        for module in (_names, _record, _types)
        for name, value in vars(module).items()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    assert ours - {"Record"} <= set(libhypeman.__all__)
    assert {row["class"] for row in API["errors"]} <= set(libhypeman.__all__)
    assert libhypeman.__version__ == API["version"]


def test_everything_public_says_what_it_does() -> None:
    for name in libhypeman.__all__:
        thing = getattr(libhypeman, name)
        assert inspect.getdoc(thing), name
        methods = inspect.getmembers(thing, inspect.isfunction) if name in DOCUMENTED else []
        assert all(inspect.getdoc(method) for called, method in methods if not called.startswith("_"))


@pytest.mark.parametrize(
    "check",
    [
        ["mypy", "--strict", "--package", "libhypeman"],
        ["mypy", "--strict", *map(str, PROGRAMS)],
        ["mypy.stubtest", "--allowlist", str(ALLOWLIST), "libhypeman"],
    ],
    ids=["package", "callers", "stub"],
)
def test_types_are_checked_strictly_and_the_stub_is_what_the_module_has(check: list[str]) -> None:
    need("mypy")
    result = subprocess.run([sys.executable, "-m", *check], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_package_is_marked_as_typed() -> None:
    assert (Path(libhypeman.__file__).parent / "py.typed").exists()
