"""What the texts mention exists."""

import re
import subprocess
from pathlib import Path

import pytest

import fastpool

ROOT = Path(__file__).parents[2]
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
each_text = pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))


@each_text
def test_links(text):
    for target in LINK.findall(text.read_text()):
        assert (text.parent / target).exists(), target


@each_text
def test_names(text):
    for name in re.findall(r"\bfastpool\.([A-Za-z_]+)\b", text.read_text()):
        module = ROOT / "fastpool" / name
        assert hasattr(fastpool, name) or module.is_dir() or module.with_suffix(".py").exists() or name == "_core", name


@each_text
def test_words_of_dev(text):
    usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
    for word in re.findall(r"\./dev ([a-z]+)", text.read_text()):
        assert f"\n  {word} " in usage, word


@each_text
def test_paths(text):
    for path in re.findall(
        r"\b((?:benchmarks|examples|tests|docs|csrc)/[\w./]+\.(?:py|md|c|h|sh))\b", text.read_text()
    ):
        assert (ROOT / path).exists(), path


def test_every_example_is_described():
    described = (ROOT / "examples" / "README.md").read_text()
    assert [path.name for path in (ROOT / "examples").glob("*.py") if path.name not in described] == []
