"""What the library tells beside the answers of calls goes to a logger, and nowhere else."""

import gc
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from libhypeman import Hypeman, Instance


def test_a_logger_hears_of_a_capture_and_of_what_comes_after_it_and_finish_waits_for_that(
    hm: Hypeman, standby: Instance, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "libhypeman"):
        made = hm.instances.snapshots.create(standby.id, kind="Standby", compression={"enabled": True})
        hm.finish(timeout=60)
        assert hm.snapshots.get(made.id).compression_state == "compressed"
        assert all(file.status == "good" for file in hm.snapshots.verify(made.id).files)
    heard = [record for record in caplog.records if record.name == "libhypeman"]
    assert [record.levelno for record in heard] == [logging.INFO, logging.INFO]
    assert [getattr(record, "hypeman_id") for record in heard] == [made.id, made.id]
    assert heard[0].getMessage().startswith("captured instance ")
    assert heard[1].getMessage().startswith("compressed the memory of snapshot ")


def test_a_handle_that_is_forgotten_while_its_thread_logs_does_not_hang(
    hm: Hypeman, standby: Instance
) -> None:
    forgotten = Hypeman(hm.data_dir)
    forgotten.instances.snapshots.create(standby.id, kind="Standby", compression={"enabled": True})
    del forgotten
    gc.collect()
    assert len(hm.snapshots.list()) == 1


def test_without_a_handler_nothing_is_printed(tmp_path: Path) -> None:
    program = f"""
from libhypeman import Hypeman
import logging
with Hypeman({str(tmp_path / "data")!r}): logging.getLogger("libhypeman").warning("heard by no one")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
