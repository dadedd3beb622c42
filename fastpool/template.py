"""A process with one thread, forked before the program's pool had any: later workers are copies of it.

A fork copies one thread and every lock, whoever holds it: a worker that is forked from a program with threads may wait for
ever for a lock that nobody holds any more. The template has one thread, and does nothing but copy itself. Its copies are
children of the program (clone(2), CLONE_PARENT), which waits for them, kills them and reads their exit codes as usual.
"""

from __future__ import annotations

import array
import contextlib
import os
import pickle
import signal
import socket
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing import popen_fork, util
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from fastpool import _core, sharing

#: A request is a pickle of the worker's index, name and identity: far less than a socket holds.
_MESSAGE = 65536


class Template:
    """The program's side.

    Args:
        make_process: called in the template, with the index of a worker: its process, not started.
        owner: the program's pid.
        lifeline: the descriptor that ends with the program, see ``_core.Pool.attachment``.
    """

    def __init__(self, make_process: Callable[[int], BaseProcess], owner: int, lifeline: int) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        util._flush_std_streams()  # type: ignore[attr-defined]  # or each copy would write what is in their buffers
        self.pid = os.fork()
        if self.pid == 0:
            _serve(theirs, self._channel, make_process, owner, lifeline)
        theirs.close()

    def popen(self, index: int) -> Callable[[BaseProcess], popen_fork.Popen]:
        """For a ``BaseProcess._Popen``."""
        return partial(_Popen, self, index)

    def start(self, index: int, process: BaseProcess) -> tuple[int, list[int]]:
        """The pid of a new worker, and the two descriptors that multiprocessing wants of it. OSError: it cannot be had."""
        request = (index, process.name, process._identity, process.daemon)
        self._channel.send(pickle.dumps(request))
        answer, descriptors, _, _ = socket.recv_fds(self._channel, _MESSAGE, 2)
        if not answer:
            raise ChildProcessError("the process that workers are copied from has ended")
        pid = pickle.loads(answer)
        if isinstance(pid, OSError):
            raise pid
        return pid, descriptors

    def end(self) -> None:
        """No more workers."""
        self._channel.close()
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)


class _Popen(popen_fork.Popen):
    """multiprocessing's own, for a process that the template starts."""

    def __init__(self, template: Template, index: int, process: BaseProcess) -> None:
        self._template, self._index = template, index
        super().__init__(process)
        del self._template

    def _launch(self, process: BaseProcess) -> None:
        self.pid, (self.sentinel, other) = self._template.start(self._index, process)
        self.finalizer = util.Finalize(self, _close, (self.sentinel, other))


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


def _serve(
    channel: socket.socket,
    programs: socket.socket,
    make_process: Callable[[int], BaseProcess],
    owner: int,
    lifeline: int,
) -> NoReturn:
    """The template's whole life."""
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a copy unblocks it when it is ready for it
        programs.close()
        _core.watch_owner(owner, os.dup(lifeline))
        sharing.let_go_of_inherited()
        fork, os.fork = os.fork, _core.fork_sibling
        while request := channel.recv(_MESSAGE):
            index, name, identity, daemon = pickle.loads(request)
            process: Any = make_process(index)
            process._name, process._identity, process._parent_pid = name, identity, owner
            process._config["daemon"] = daemon
            process._target = partial(_work, channel, fork, process._target)
            _answer(channel, process)
    except BaseException:
        traceback.print_exc()  # the program starts its workers by itself from now on
    finally:
        os._exit(0)


def _work(channel: socket.socket, fork: Callable[[], int], target: Callable[..., None], *args: Any) -> None:
    os.fork = fork
    channel.close()
    target(*args)


def _answer(channel: socket.socket, process: BaseProcess) -> None:
    try:
        popen = popen_fork.Popen(process)
    except OSError as error:
        channel.send(pickle.dumps(error))
        return
    descriptors = popen.finalizer._args  # type: ignore[union-attr]  # the sentinel, and what tells the worker of our end
    channel.sendmsg(
        [pickle.dumps(popen.pid)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
    )
    popen.finalizer()  # type: ignore[misc]
