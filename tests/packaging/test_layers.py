"""The core knows nothing of Python: it is built, tested and reasoned about without an interpreter."""

import re
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', re.MULTILINE)


def sources(layer: str) -> list[Path]:
    return sorted(path for path in (CSRC / layer).rglob("*") if path.suffix in (".c", ".h"))


@pytest.mark.parametrize("source", sources("core"), ids=lambda path: path.name)
def test_core_stands_alone(source):
    for header in INCLUDE.findall(source.read_text()):
        assert not header.startswith(("py/", "../"))
        assert header != "Python.h"
        if header.startswith("core/"):
            assert (CSRC / header).exists()


def test_both_layers_have_sources():
    assert sources("core") and sources("py")


def test_no_source_is_included():
    for source in sources("."):
        assert not [header for header in INCLUDE.findall(source.read_text()) if header.endswith(".c")], source
