"""Which start method a pool gets when nobody chose one."""

from __future__ import annotations

import ast
import multiprocessing
import sys
import threading
from multiprocessing.context import BaseContext

_fork_is_the_only_way = False


def default_context() -> BaseContext:
    """multiprocessing's own, with one exception: a script that only fork can run is run with fork.

    Under spawn and forkserver, which is the default from Python 3.14 on, every worker runs the main script again. One
    that makes its pool without ``if __name__ == "__main__"`` could only fail there.
    """
    global _fork_is_the_only_way
    if multiprocessing.get_start_method(allow_none=True) is None and "fork" in multiprocessing.get_all_start_methods():
        if _fork_is_the_only_way:
            return multiprocessing.get_context("fork")
        default = multiprocessing.get_all_start_methods()[0]
        if default != "fork" and threading.active_count() == 1 and _main_is_unguarded_script():
            _fork_is_the_only_way = True
            return multiprocessing.get_context("fork")
    return multiprocessing.get_context()


def _main_is_unguarded_script() -> bool:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None or multiprocessing.parent_process() is not None:
        return False
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return False
    return not any(_asks_for_its_name(statement) for statement in tree.body)


def _asks_for_its_name(statement: ast.stmt) -> bool:
    """Is it an ``if`` whose condition mentions ``__name__``?"""
    return isinstance(statement, ast.If) and any(
        isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test)
    )
