"""The programs in the tutorials' texts."""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

SEEDS = Path(os.environ.get("FASTPOOL_SEEDS") or Path(__file__).parents[3] / "shared" / "seeds")

FENCED = re.compile(r"^```(?:py|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
SLIDE = re.compile(r"Slide (\d+): .*\n")
CLIPBOARD_NOISE = "`Code language: Python (python)"


@dataclass(frozen=True)
class Program:
    name: str
    text: str

    @property
    def uses_executor(self):
        return "ProcessPoolExecutor" in self.text

    @property
    def uses_multiprocessing(self):
        return "import multiprocessing\n" in self.text and bool(re.search(r"\.(Pool|Process)\(", self.text))

    @property
    def guarded(self):
        """Whether a child process may import it without running it."""
        return "__name__" in self.text


def programs(folder):
    slides = slides_with_fences(read(folder, "000"), "000")
    bare = slides_without_indentation(read(folder, "001"), "001")
    return [
        program
        for program in [
            *slides.values(),
            *(indented_like(program, slides[number]) for number, program in bare.items()),
            *with_fragments_completed(fenced_programs(read(folder, "002"), "002")),
            *with_fragments_completed(fenced_programs(read(folder, "004"), "004")),
        ]
        if program.uses_executor
    ]


def multiprocessing_programs(folder):
    """The whole programs among what the other texts have on multiprocessing itself."""
    blocks = [block for number in ("002", "004") for block in fenced_programs(read(folder, number), number)]
    return [block for block in blocks if block.uses_multiprocessing]


def read(folder, number):
    (path,) = folder.glob(f"{number}_*.txt")
    return path.read_text(encoding="utf-8")


def fenced_programs(text, name):
    return [
        Program(f"{name}-block-{number}", block.replace(CLIPBOARD_NOISE, ""))
        for number, block in enumerate(FENCED.findall(text), start=1)
    ]


def slide_texts(text):
    _, *parts = SLIDE.split(text)
    return {int(number): body for number, body in zip(parts[::2], parts[1::2], strict=True)}


def slides_with_fences(text, name):
    return {
        number: Program(f"{name}-slide-{number}", block)
        for number, body in slide_texts(text).items()
        for block in FENCED.findall(body)
    }


def slides_without_indentation(text, name):
    """Each slide here is a paragraph on one line and then, but for the last slide, its program."""
    return {
        number: Program(f"{name}-slide-{number}", body.partition("\n")[2])
        for number, body in slide_texts(text).items()
        if "import " in body
    }


def indented_like(program, model):
    """Give each line the indentation of the same line in the text that has kept it."""
    lines = [line for line in program.text.splitlines() if line.strip()]
    models = [line for line in model.text.splitlines() if line.strip()]
    repaired = []
    for line, other in zip(lines, models, strict=True):
        assert line.split() == other.split(), (line, other)
        repaired.append(other[: len(other) - len(other.lstrip())] + line)
    return replace(program, text="\n".join(repaired) + "\n")


def with_fragments_completed(blocks):
    """A fragment without imports takes up the last whole program that uses an executor: put its definitions before."""
    definitions = ""
    completed = []
    for block in blocks:
        if block.uses_executor and "import " in block.text:
            definitions = block.text.partition("\ndef main(")[0]
        elif block.uses_executor:
            block = replace(block, text=f"{definitions}\n{block.text}")
        completed.append(block)
    return completed
