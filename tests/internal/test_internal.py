"""The tests of csrc/core, which are C programs: each of them is one test here."""

import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
PROGRAMS = sorted(source.stem for prefix in ("test", "kill", "stall", "fuzz") for source in HERE.glob(f"{prefix}_*.c"))

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the core is for Linux")


def run(*command: str) -> None:
    ended = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ended.returncode == 0, f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}"


@pytest.fixture(scope="module")
def programs() -> pathlib.Path:
    run("make", "-s", "programs")
    return HERE / "build" / "plain"


@pytest.mark.deadline(300)
@pytest.mark.parametrize("name", PROGRAMS)
def test_core(programs: pathlib.Path, name: str) -> None:
    run(str(programs / name))
