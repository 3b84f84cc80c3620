"""docs/python.md: its reference is that of this version. What it shows is run by `cargo xtask test --only readme`."""

import os

import reference

import libhypeman


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
