"""The programs of `examples/`, as their users run them."""

import shutil
import subprocess
import sys
from pathlib import Path

from conftest import missing

EXAMPLES = Path(__file__).parents[1] / "examples"

# A boot sector: it counts the lines that come in on the serial port in a byte of memory, and answers each with the
# letter of its number, A for the first.
#
#     cli; xor %ax,%ax; mov %ax,%ds; movb $'@',0x7e00
#     next: mov $0x3fd,%dx; wait: in %dx,%al; test $1,%al; jz wait
#     mov $0x3f8,%dx; in %dx,%al; cmp $'\n',%al; jne next
#     incb 0x7e00; mov 0x7e00,%al; out %al,%dx; mov $'\n',%al; out %al,%dx; jmp next
COUNTER = bytes.fromhex("fa31c08ed8c606007e40bafd03eca80174fbbaf803ec3c0a75f0fe06007ea0007eeeb00aeeebe3")


def test_a_sandbox_goes_back_to_what_was_saved_and_on_from_there(tmp_path: Path) -> None:
    if shutil.which("qemu-system-x86_64") is None:
        missing("qemu", "qemu-system-x86_64 is not installed")
    vm = tmp_path / "box"
    vm.mkdir()
    (vm / "disk.raw").write_bytes((COUNTER.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
    before = ["one", "two", "save clean", "three", "save risky"]
    commands = [*before, "back clean", "again", "back nowhere", "back risky", "on"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "sandbox.py", tmp_path / "data", vm],
        input="\n".join([*commands, "list"]),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    answers = dict(zip(commands, done.stdout.splitlines(), strict=False))
    assert [answers[line] for line in ("one", "two", "three")] == ["A", "B", "C"]
    assert answers["back clean"] == "back at clean"
    assert answers["again"] == "C", "memory is what it was when two lines had been counted"
    assert answers["back nowhere"].startswith("not_found: nothing was saved as nowhere")
    assert answers["on"] == "D", "a later snapshot is there all the same"
    assert [line.split()[1] for line in done.stdout.splitlines()[len(commands) :]] == ["risky", "clean"]
