"""The rows, each a function of a trial; its title says what goes wrong. One file has one theme."""

import dataclasses
from collections.abc import Callable
from typing import Any


@dataclasses.dataclass
class Row:
    title: str
    function: Callable[[Any], None]
    theme: str
    limit: float = 25  # seconds that its program may take
    environment: dict[str, str] = dataclasses.field(default_factory=dict)


ROWS: dict[str, Row] = {}


def row(title, **facts):
    """Registers a row under this title."""

    def register(function):
        assert title not in ROWS, title
        ROWS[title] = Row(title, function, function.__module__.rpartition(".")[2], **facts)
        return function

    return register


from battery.rows import (  # noqa: E402, F401
    callbacks,
    deaths,
    ends,
    exceptions,
    initializers,
    limits,
    many,
    pickling,
    program,
)
