"""What setup.py makes: all that is needed where it works, and a clear end where it cannot."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFTOVERS = (".pyc", ".so", ".o")
PROGRAM = """
import concurrent.futures, pickle, fastpool
same = fastpool.ProcessPoolExecutor is concurrent.futures.ProcessPoolExecutor
shared = pickle.loads(pickle.dumps(fastpool.share([1])))
print(fastpool.accelerated, same, bool(fastpool.unaccelerated_reason), shared.value)
"""


def setup(*args, **env):
    command = [sys.executable, "setup.py", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True)


def test_source_archive_is_whole(tmp_path):
    done = setup("-q", "egg_info", "--egg-base", tmp_path, "sdist", "--formats=tar", "--dist-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    [archive] = tmp_path.glob("*.tar")
    with tarfile.open(archive) as tar:
        held = {name.split("/", 1)[1] for name in tar.getnames() if "/" in name}
    assert not [name for name in held if name.endswith(LEFTOVERS)]
    assert {"pyproject.toml", "README.md", "LICENSE", "dev", ".ci/run", "fastpool/py.typed"} <= held
    for folder in ("csrc", "fastpool", "tests", "benchmarks", "docs", "examples"):
        files = {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}
        wanted = {name for name in files if not name.endswith(LEFTOVERS) and "/build/" not in name and "/." not in name}
        assert wanted and wanted <= held


@pytest.mark.parametrize("compiler", ["no-such-compiler", "false"])
def test_a_failed_compile_fails_and_says_what_to_install(tmp_path, compiler):
    done = setup("build_ext", "--force", "--build-temp", tmp_path, "--build-lib", tmp_path, CC=compiler)
    assert done.returncode != 0
    assert "apt install gcc" in done.stderr
    assert "dnf install gcc" in done.stderr


def test_elsewhere_the_package_is_pure(tmp_path):
    library = tmp_path / "lib"
    done = setup("-q", "build", "-b", tmp_path, "--build-lib", library, _PYTHON_HOST_PLATFORM="macosx-14.0-arm64")
    assert done.returncode == 0, done.stderr
    assert (library / "fastpool/__init__.py").exists()
    assert not list(tmp_path.rglob("*.so"))
    assert run(PROGRAM, library) == "False True True [1]"


def run(program, path):
    env = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run([sys.executable, "-S", "-c", program], env=env, cwd=path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
