"""A process with one thread, forked before the program's pool had any: later workers are copies of it.

A fork copies one thread and every lock, whoever holds it: a worker that is forked from a program with threads may wait for
ever for a lock that nobody holds any more. The template has one thread, and does nothing but copy itself. Its copies are
children of the program (clone(2), CLONE_PARENT), which waits for them, kills them and reads their exit codes as usual.

A request is one message, its answer another. Whoever is interrupted between them gives the template up: its next answer
would be taken for somebody else's.

A template that dies between the fork and its answer leaves a copy of which nobody knows. It is not admitted, and ends: see
``worker.Place``.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import pickle
import signal
import socket
import time
import traceback
from collections.abc import Callable
from functools import partial
from multiprocessing import popen_fork, util
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn

from fastpool import _core, sharing
from fastpool.stopping import end_child
from fastpool.worker import Place

#: A request is a pickle of the worker's place, name and identity: far less than a socket holds.
_MESSAGE = 65536

#: Seconds that the template has for an answer. It is no program's business to stop it, but anybody can.
_PATIENCE = 5.0


class TemplateUnavailable(OSError):
    """The program has to fork by itself: the template is gone, or busy with a start that this one has interrupted."""


class Template:
    """The program's side.

    Args:
        make_process: called in the template: the process of a worker, not started.
        owner: the program's pid.
        lifeline: the descriptor that ends with the program, see ``_core.Pool.attachment``.
    """

    def __init__(self, make_process: Callable[[Place], BaseProcess], owner: int, lifeline: int) -> None:
        self.gone = self._busy = False
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel.settimeout(_PATIENCE)
        util._flush_std_streams()  # type: ignore[attr-defined]  # or each copy would write what is in their buffers
        self.pid = os.fork()
        if self.pid == 0:
            theirs.settimeout(None)
            _serve(theirs, self._channel, make_process, owner, lifeline)
        theirs.close()

    def popen(self, place: Place) -> Callable[[BaseProcess], popen_fork.Popen]:
        """For a ``BaseProcess._Popen``."""
        return partial(_Popen, self, place)

    def start(self, place: Place, process: BaseProcess, popen: _Popen) -> list[int]:
        """The two descriptors that multiprocessing wants of a new worker; its pid is in `popen`, even if this raises.

        Raises:
            TemplateUnavailable: it cannot be had from here.
            OSError: it cannot be had at all, as the system says.
        """
        if self._busy or self.gone:
            raise TemplateUnavailable
        self._busy = True
        try:
            request = (place, process.name, process._identity, process.daemon)
            self._channel.send(pickle.dumps(request))
            answer = self._receive(popen)
        except BaseException as error:
            self._give_up(popen)
            if isinstance(error, OSError):
                raise TemplateUnavailable from error
            raise
        finally:
            self._busy = False
        if isinstance(answer, OSError):
            raise answer
        return answer

    def _receive(self, popen: _Popen) -> list[int] | OSError:
        answer = self._channel.recv(_MESSAGE, socket.MSG_PEEK)
        if answer and isinstance(pid := pickle.loads(answer), int):
            popen.pid = pid  # before the answer is taken from the channel: an interrupt loses what it was about to return
        answer, descriptors, _, _ = socket.recv_fds(self._channel, _MESSAGE, 2, socket.MSG_CMSG_CLOEXEC)
        if not answer:
            raise ChildProcessError("the process that workers are copied from has ended")
        told = pickle.loads(answer)
        if isinstance(told, OSError):
            return told
        if len(descriptors) == 2:
            return descriptors
        _close(*descriptors)  # there was no room for both
        return OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def _give_up(self, popen: _Popen) -> None:
        """Nobody waits for what it is about to answer: that worker ends. The template goes when it is asked no more."""
        self.gone = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
            deadline = time.monotonic() + _PATIENCE
            while time.monotonic() < deadline:
                late = self._receive(popen)
                if not isinstance(late, OSError):
                    _close(*late)
        self.end()

    def end(self) -> None:
        """No more workers."""
        self.gone = True
        if self._channel.fileno() >= 0:  # once: then the number is free for others
            self._channel.close()
            end_child(self.pid)


class _Popen(popen_fork.Popen):
    """multiprocessing's own, for a process that the template starts."""

    def __init__(self, template: Template, place: Place, process_obj: BaseProcess) -> None:
        self._template, self._place = template, place
        self.pid = 0  # of nobody yet
        super().__init__(process_obj)
        del self._template, self._place

    def _launch(self, process_obj: BaseProcess) -> None:
        try:
            self.sentinel, other = self._template.start(self._place, process_obj, self)
            self.finalizer = util.Finalize(self, _close, (self.sentinel, other))
        except TemplateUnavailable:  # with any other exception its end is the caller's: `launching._end_unknown`
            if self.pid:
                end_child(self.pid)
            raise


def _close(*descriptors: int) -> None:
    for fd in descriptors:
        os.close(fd)


# --------------------------------------------------------------- in the template
def _serve(
    channel: socket.socket,
    programs: socket.socket,
    make_process: Callable[[Place], BaseProcess],
    owner: int,
    lifeline: int,
) -> NoReturn:
    """The template's whole life."""
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a copy unblocks it when it is ready for it
        on_sigterm = signal.getsignal(signal.SIGTERM)  # is the program's affair, and its workers'
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        programs.close()
        _core.watch_owner(owner, os.dup(lifeline))
        sharing.let_go_of_inherited()
        fork, os.fork = os.fork, _core.fork_sibling
        while request := channel.recv(_MESSAGE):
            place, name, identity, daemon = pickle.loads(request)
            process: Any = make_process(place)
            process._name, process._identity, process._parent_pid = name, identity, owner
            process._config["daemon"] = daemon
            process._target = partial(_work, channel, fork, on_sigterm, process._target)
            _answer(channel, process)
    except (OSError, KeyboardInterrupt, SystemExit):
        pass  # the program does not ask any more, or everybody has been told to end
    except BaseException:
        traceback.print_exc()  # the program starts its workers by itself from now on
    finally:
        os._exit(0)


def _work(
    channel: socket.socket, fork: Callable[[], int], on_sigterm: Any, target: Callable[..., None], *args: Any
) -> None:
    os.fork = fork
    channel.close()
    if on_sigterm is not None:
        signal.signal(signal.SIGTERM, on_sigterm)
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
