"""The last resort, as a program of its own: abort the parent unless it reports in time.

Lines on stdin say how many seconds it has from now on, 0 for any number. It is a process because a
thread would make every fork of the tests one of a multi-threaded process.
"""

import os
import select
import signal
import subprocess
import sys


class Watchdog:
    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-S", __file__], stdin=subprocess.PIPE, text=True)

    def expect_within(self, seconds):
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def stop(self):
        self.process.communicate()


def main():
    parent, seconds, unread = os.getppid(), 0, b""
    while True:
        if not select.select([0], [], [], seconds or None)[0]:
            # Its faulthandler prints the stacks.
            os.kill(parent, signal.SIGABRT)
            return
        if not (data := os.read(0, 4096)):
            return
        *lines, unread = (unread + data).split(b"\n")
        if lines:
            seconds = float(lines[-1])


if __name__ == "__main__":
    main()
