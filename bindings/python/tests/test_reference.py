"""docs/python.md: its reference is that of this version, and what it shows runs."""

import os
import re
from pathlib import Path

import pytest
import reference
from conftest import MEMORY_BYTES, directory

import libhypeman

GUIDE = reference.PAGE.read_text().partition(reference.MARK)[0]
SHOWN = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)


def test_the_reference_is_that_of_this_version() -> None:
    written = reference.written()
    if os.environ.get("UPDATE"):
        reference.PAGE.write_text(written)
    assert reference.PAGE.read_text() == written, "run this test with UPDATE=1 and look at what changed"


def test_the_reference_has_every_public_name_and_every_call() -> None:
    page = reference.PAGE.read_text()
    for name in set(libhypeman.__all__) - {"__version__", "BadRequestError"}:
        assert f"\n### {name}\n" in page
    for call in ("Snapshots.fork", "Snapshots.serve_memory", "Hypeman.finish", "MemoryImage.readinto"):
        assert f"\n#### {call}\n" in page
    assert "BadRequestError" in page


@pytest.mark.parametrize("number", range(len(SHOWN)))
def test_what_the_guide_shows_runs(number: int, tmp_path: Path) -> None:
    where = directory(tmp_path / "nginx1")
    image = where / "snapshots" / "snapshot-latest"
    image.mkdir(parents=True)
    (image / "memory").write_bytes(bytes(MEMORY_BYTES))
    code = SHOWN[number].replace("/var/lib/hypeman", str(tmp_path / "data")).replace("/vms/nginx1", str(where))
    exec(compile(code, f"docs/python.md, block {number + 1}", "exec"), {"__name__": "guide"})


def test_the_guide_shows_something() -> None:
    assert len(SHOWN) >= 5
