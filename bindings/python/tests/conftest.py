"""Fixtures: a data directory, and instances as hosts have them on the disk."""

import importlib.util
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from libhypeman import Hypeman, Instance

MEMORY_BYTES = 2 << 20


@pytest.fixture
def hm(tmp_path: Path) -> Iterator[Hypeman]:
    with Hypeman(tmp_path / "data") as hm:
        yield hm


@pytest.fixture
def stopped(hm: Hypeman, tmp_path: Path) -> Instance:
    """A VM that is not running: a directory with a disk."""
    return hm.instances.register(name="stopped", hypervisor="qemu", directory=directory(tmp_path / "stopped"))


@pytest.fixture
def standby(hm: Hypeman, tmp_path: Path) -> Instance:
    """A VM in standby: beside its disk lies the memory that it left."""
    where = directory(tmp_path / "standby")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    page = bytes(range(256)) * 16
    (image / "memory").write_bytes(page * (MEMORY_BYTES // len(page)))
    return hm.instances.register(name="standby", hypervisor="qemu", directory=where)


@pytest.fixture
def rewritten(hm: Hypeman) -> Callable[[str, str, str], None]:
    """Changes text in the record of a snapshot, as another writer may."""

    def rewrite(id: str, old: str, new: str) -> None:
        record = hm.data_dir / "snapshots" / id / "snapshot.json"
        text = record.read_text()
        assert old in text
        record.write_text(text.replace(old, new))

    return rewrite


@pytest.fixture
def settled(hm: Hypeman) -> Callable[[], None]:
    """Waits until no job is left: until there are checksums."""

    def settle() -> None:
        jobs = hm.data_dir / "snapshots" / ".libhypeman" / "jobs"
        patience = time.monotonic() + 60
        while any(jobs.iterdir()):
            assert time.monotonic() < patience, "a job does not end"
            time.sleep(0.005)

    return settle


def is_long() -> bool:
    """Whether this is the long run: `cargo xtask test --long`."""
    return "HYPEMAN_LONG" in os.environ


def missing(what: str, why: str) -> NoReturn:
    """Leaves a test out for want of something, unless `$HYPEMAN_REQUIRE` names that."""
    if what in map(str.strip, os.environ.get("HYPEMAN_REQUIRE", "").split(",")):
        pytest.fail(f"HYPEMAN_REQUIRE names {what}, but {why}")
    pytest.skip(why)


def need(module: str) -> None:
    """Leaves a test out where `module` is not installed, unless `$HYPEMAN_REQUIRE` names it."""
    if importlib.util.find_spec(module) is None:
        missing(module, f"{module} is not installed; pip install ./bindings/python[test]")


def directory(where: Path) -> Path:
    where.mkdir()
    (where / "overlay.raw").write_bytes(b"disk" * 1024)
    return where


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in terminalreporter.getreports("skipped"):
        if isinstance(report.longrepr, tuple):
            terminalreporter.write_line(f"SKIP {report.nodeid}: {report.longrepr[2]}")
