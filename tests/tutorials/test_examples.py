"""Every example prints the same under python and under `python -m fastpool`, and nothing about trouble."""

from pathlib import Path

import pytest

from program_runs import run_both_ways

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py") if "__main__" in path.read_text())
ARGUMENTS = {"many_small_tasks.py": ["2000"]}


def test_there_are_examples():
    assert len(PROGRAMS) >= 18


@pytest.mark.parametrize("name", PROGRAMS)
def test_example(name, tmp_path):
    before, after = run_both_ways(EXAMPLES / name, *ARGUMENTS.get(name, []), cwd=tmp_path)
    assert before.stdout and before.exitcode == 0, before
    assert after == before


@pytest.mark.parametrize("name", PROGRAMS)
def test_example_knows_nothing_of_fastpool(name):
    assert "fastpool" not in (EXAMPLES / name).read_text()


@pytest.mark.parametrize("name", PROGRAMS)
def test_example_is_listed(name):
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text()
