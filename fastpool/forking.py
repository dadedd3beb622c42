"""What a process forked from this one must not inherit in the middle of something, and what it is not the owner of.

A fork copies one thread and every lock, whoever holds it. The locks of this package that a child would meet are made
anew in it; and the workers of the parent's pools are no children of its, which its exit would end.
"""

from __future__ import annotations

import os
import threading
import weakref
from multiprocessing import process as _process
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastpool.executor import ProcessPoolExecutor
    from fastpool.launching import Manager, Team

#: Held while a worker is started, until its pool knows of it, and while something is imported for a caller: a child that
#: was forked in the middle of an import could never import the same. (Reentrant: what a worker's start pickles may start
#: another.)
forking = threading.RLock()

#: Held while a manager is started and registered, and while the interpreter's end begins.
registering = threading.Lock()

#: Is the interpreter on its way out?
exiting = False

managers: weakref.WeakSet[Manager] = weakref.WeakSet()
executors: weakref.WeakSet[ProcessPoolExecutor] = weakref.WeakSet()
teams: weakref.WeakSet[Team] = weakref.WeakSet()


def _in_child() -> None:
    global forking, registering, exiting
    forking = threading.RLock()
    registering = threading.Lock()
    exiting = False
    managers.clear()
    for executor in list(executors):  # another thread may have been starting its workers
        executor._shutdown_lock = threading.RLock()
    for team in list(teams):
        _process._children.difference_update(team.processes())  # type: ignore[attr-defined]
    teams.clear()


os.register_at_fork(after_in_child=_in_child)
