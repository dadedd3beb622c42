"""The programs of the text about Pool. Most have lost their layout there.

What stood at the margin was run together, paragraph by paragraph, into one line each; what was indented lost one level;
`__name__` lost its underscores; and a comment at the margin lost its `#`.
"""

import re

from tutorial_text import Program, fenced_programs, read

BLOCK = re.compile(r"^```python (.*?)```$", re.DOTALL | re.MULTILINE)
DOCSTRING = re.compile(r'""".*?"""\n', re.DOTALL)
LEVEL = " " * 4

# A paragraph that stood at the margin is one line, and holds whatever belongs to it.
AT_THE_MARGIN = re.compile(r"(?:def|with) .*: \S.*|if __name__ == .*|(?:from|import) .*|\w+ = None")
COMMENT_AT_THE_MARGIN = re.compile(r"=+|[A-Z].*")

STATEMENT = r"""(?:(?:def|for|from|global|import|pass|raise|return|try|except)\b
    |if\ \S+\ [=<]|with\ Pool|[\w.]+\ =\ |print\(|main\(\)(?!:)|pool\.|time\.|\#)"""
PART = re.compile(
    rf"""\"\"\".*?\"\"\"|f?"[^"]*"|\[[^\]]*\]|from\ \S+\ import\ (?:\w+,\ )*\w+  # hold what may look like a statement
    |\#\ \S+.*?(?=\ {STATEMENT}|$)  # a comment goes on until one starts
    |(?P<gap>(?:(?<=\"\"\")\ |\ (?=\"\"\")|(?<![=,])(?<!\bin)\ +(?={STATEMENT})))
    |.""",
    re.VERBOSE,
)


def programs(folder):
    text = read(folder, "003")
    fragments = [
        Program(f"003-block-{number}", with_layout(block)) for number, block in enumerate(BLOCK.findall(text), start=1)
    ]
    exercises = [
        Program(f"003-exercise-{number}", program.text)
        for number, program in enumerate(fenced_programs(text, "003"), start=1)
    ]
    return fragments + exercises


def with_layout(block):
    docstring = DOCSTRING.match(block)
    start = docstring.end() if docstring else 0
    body = block[start:].strip("\n").replace('if name == "main":', 'if __name__ == "__main__":')
    paragraphs = re.split(r"\n{2,}", body.rstrip())
    text = block[:start] + "\n\n".join("\n".join(lines_of(paragraph)) for paragraph in paragraphs) + "\n"
    assert without_layout(text) == without_layout(block)
    return text


def without_layout(text):
    return re.sub(r"[\s#_]", "", text)


def lines_of(paragraph):
    if AT_THE_MARGIN.fullmatch(paragraph):
        return indented(statements(paragraph))
    if COMMENT_AT_THE_MARGIN.fullmatch(paragraph):
        return [f"# {paragraph}"]
    return [LEVEL + line if line else "" for line in paragraph.split("\n")]


def statements(line):
    parts = PART.finditer(line)
    return "".join("\n" if part["gap"] else part[0] for part in parts).split("\n")


def indented(lines):
    """Each line goes deeper after a colon, and out again after `raise` and `return` and for `except`."""
    depth, laid_out = 0, []
    for line in lines:
        depth -= line.startswith("except")
        laid_out.append(LEVEL * depth + line)
        depth += line.endswith(":") - line.startswith(("raise ", "return "))
    return laid_out
