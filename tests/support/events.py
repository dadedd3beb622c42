"""Events between a test and its workers. Each is a path, so it can be pickled under any start method."""

import fcntl
import os
import select
import time

# How long a test waits for what must happen: a bound for failure, never a delay.
PATIENCE = 30


class Gate:
    """Shut when made; `wait()` in any process returns once the maker opens it, or is dead.

    It is a file lock: exclusive while shut, shared by those who pass.
    """

    def __init__(self, path):
        self.path = str(path)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __reduce__(self):
        return _outside, (self.path,)

    def open(self):
        if self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
            os.close(self._file)
            self._file = None

    def wait(self):
        pass_gate(self.path)


def _outside(path):
    gate = Gate.__new__(Gate)
    gate.path, gate._file = path, None
    return gate


def pass_gate(path):
    file = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
    finally:
        os.close(file)


class Mailbox:
    """Lines that any process puts and that the maker takes out, in order of arrival."""

    def __init__(self, path):
        self.path = str(path)
        os.mkfifo(self.path)
        # Open for both, so that neither side waits for the other to come.
        self._file = os.open(self.path, os.O_RDWR)
        self._rest = b""

    def __reduce__(self):
        return Post, (self.path,)

    def put(self, line=""):
        Post(self.path).put(line)

    def get(self, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while b"\n" not in self._rest:
            if not select.select([self._file], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"nothing came in {timeout} s")
            self._rest += os.read(self._file, 65536)
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def take(self, count):
        return [self.get() for _ in range(count)]

    def all(self):
        """What has arrived by now."""
        lines = []
        while b"\n" in self._rest or select.select([self._file], [], [], 0)[0]:
            lines.append(self.get())
        return lines

    def close(self):
        os.close(self._file)


class Post:
    """The sender's side of a Mailbox."""

    def __init__(self, path):
        self.path = path

    def put(self, line=""):
        # For both, here too: a maker that has left must not stop the sender.
        file = os.open(self.path, os.O_RDWR)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)


def eventually(condition, timeout=PATIENCE):
    """Wait for a state that nobody announces; the value that made it true."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{condition} was not true in {timeout} s"
        time.sleep(0.002)
    return value
