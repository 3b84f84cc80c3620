"""The package as people install it: the wheel, and the source distribution, each into an environment with nothing in it.

``$HYPEMAN_DIST`` is a directory that `cargo xtask dist` filled, whose packages are tested then; else they are built.
"""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import is_long, need

BINDING = Path(__file__).parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or BINDING.parents[1] / "target")

ALLOWLIST = Path(__file__).parent / "stubtest-allowlist.txt"

PROGRAM = """
import sys
from pathlib import Path
import libhypeman
from libhypeman import Hypeman, NotFoundError

with Hypeman(sys.argv[1]) as hm:
    vm = hm.instances.register(name="cold", hypervisor="qemu", directory=sys.argv[2])
    made = hm.instances.snapshots.create(vm.id, kind="Stopped", name="baseline")
    assert [snapshot.id for snapshot in hm.snapshots.list(name="baseline")] == [made.id]
    try:
        hm.snapshots.get("nosuchsnapshot")
    except NotFoundError as error:
        print(error.code, Path(libhypeman.__file__).parent)
"""


class Environment:
    """A virtual environment of its own, in which `package` is installed and nothing else."""

    def __init__(self, place: Path, package: Path) -> None:
        self.place = place
        self.home = place / "venv"
        subprocess.run([sys.executable, "-m", "venv", self.home], check=True)
        self.packages = Path(sysconfig.get_path("purelib", vars={"base": str(self.home)}))
        tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        # What maturin makes of the source distribution is kept, so that the next time is not as long as the first.
        environment = os.environ | {"PATH": tools, "CARGO_TARGET_DIR": str(TARGET / "sdist")}
        # Not what the tools have beside them.
        pip = ["-m", "pip", "install", "--quiet", "--ignore-installed"]
        pip += ["--no-index", "--no-deps", "--no-build-isolation", str(package)]
        with self.tools():
            subprocess.run([self.home / "bin" / "python", *pip], env=environment, check=True)

    @contextmanager
    def tools(self) -> Iterator[None]:
        """Lets it find maturin and mypy, behind its own packages, for a while."""
        path = self.packages / "tools.pth"
        path.write_text(sysconfig.get_path("purelib") + "\n")
        yield
        path.unlink()

    def run(self, *arguments: str | Path) -> str:
        """What a program prints that succeeds and says nothing else. Nothing of this checkout is found by it."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HYPEMAN"))}
        done = subprocess.run(
            [self.home / "bin" / arguments[0], *arguments[1:]], cwd=self.place, env=clean, capture_output=True, text=True
        )
        assert done.returncode == 0 and not done.stderr, done.stdout + done.stderr
        return done.stdout

    def plays(self) -> None:
        """A program takes a snapshot, the command finds it, and types are there for those who check them."""
        program, vm, data = self.place / "program.py", self.place / "vm", self.place / "data"
        program.write_text(PROGRAM)
        vm.mkdir()
        (vm / "disk.raw").write_text("a disk")
        assert self.run("python", program, data, vm).split() == ["not_found", str(self.packages / "libhypeman")]
        assert " baseline " in self.run("libhypeman", "--data-dir", data, "snapshot", "list")
        assert self.run("python", "-m", "libhypeman", "--version") == self.run("libhypeman", "--version")
        mypy = ["-m", "mypy", "--strict", "--cache-dir", str(self.place / "cache")]
        examples = sorted([*Path(__file__).parent.glob("typed_*.py"), *(BINDING / "examples").glob("*.py"), program])
        interpreter = ["--python-executable", str(self.home / "bin" / "python")]
        for check in (examples, ["--package", "libhypeman"]):
            done = subprocess.run(
                [sys.executable, *mypy, *interpreter, *check], cwd=self.place, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr

    def stubtest(self) -> None:
        # It imports what it checks, and so runs in this environment.
        with self.tools():
            assert "Success" in self.run("python", "-m", "mypy.stubtest", "--allowlist", ALLOWLIST, "libhypeman")


def built(what: str, suffix: str, into: Path) -> Path:
    """The package that ends with `suffix`."""
    if dist := os.environ.get("HYPEMAN_DIST"):
        into = Path(dist) / "python"
    else:
        need("maturin")
        maturin = [sys.executable, "-m", "maturin", what, "--manifest-path", BINDING / "Cargo.toml", "--out", into]
        more = ["--release", "--locked"] if what == "build" else []
        subprocess.run([*maturin, *more], check=True, capture_output=True)
    (package,) = into.glob(f"*{suffix}")
    return package


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("build", ".whl", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("sdist", ".tar.gz", tmp_path_factory.mktemp("sdist"))


def test_the_wheel_has_the_package_its_licence_and_the_command_and_fits_every_python_from_3_11_on(wheel: Path) -> None:
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        info = next(name for name in names if name.endswith(".dist-info/METADATA")).removesuffix("METADATA")
        about = email.message_from_bytes(archive.read(info + "METADATA"))
        scripts = archive.read(info + "entry_points.txt").decode()
    kept = [path for path in (BINDING / "python" / "libhypeman").iterdir() if path.suffix in (".py", ".pyi", ".typed")]
    sources = {f"libhypeman/{path.name}" for path in kept}
    assert {"libhypeman/py.typed", "libhypeman/_native.pyi", "libhypeman/__init__.py"} <= sources <= names
    assert {name for name in names if not name.startswith(info)} - sources == {"libhypeman/_native.abi3.so"}
    assert {info + "licenses/LICENSE", info + "licenses/THIRD-PARTY.txt"} <= names
    assert (about["Name"], about["License-Expression"], about["Requires-Python"]) == ("libhypeman", "Apache-2.0", ">=3.11")
    assert "# libhypeman for Python" in str(about.get_payload())
    assert "libhypeman=libhypeman.__main__:main" in scripts.replace(" ", "")


def test_the_source_distribution_has_what_builds_it_and_its_licence(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
        licences = [member for member in archive.getmembers() if member.name.endswith("/LICENSE")]
        text = archive.extractfile(licences[0])
        assert text is not None and b"Apache License" in text.read()
    for needed in ("PKG-INFO", "pyproject.toml", "Cargo.lock"):
        assert needed in names
    for needed in ("core/src/lib.rs", "cli/src/lib.rs", "bindings/python/src/lib.rs", "LICENSE", "THIRD-PARTY.txt"):
        assert any(name.endswith(needed) for name in names), needed
    for odd in ("ffi/", "bindings/node/", "tests/conformance/", "target/", ".so", ".pyc"):
        assert not any(odd in name for name in names), odd


def test_installed_from_the_wheel_a_program_and_the_command_run_and_types_are_complete(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path, wheel)
    environment.plays()
    environment.stubtest()


@pytest.mark.skipif(not is_long(), reason="compiles all of it: only with cargo xtask test --long")
def test_installed_from_the_source_distribution_a_program_and_the_command_run(sdist: Path, tmp_path: Path) -> None:
    Environment(tmp_path, sdist).plays()
