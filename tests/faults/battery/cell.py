"""The program of one cell: LIBRARY METHOD ROW; its working directory gets the report, as lines of JSON."""

import json
import os
import signal
import sys


class Report:
    def __init__(self, path):
        self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)  # no later: there may be no more descriptors
        self.last = None

    def _write(self, **facts):
        os.write(self.file, (json.dumps(facts) + "\n").encode())

    def step(self, what):
        if what != self.last:
            self.last = what
            self._write(step=what)

    def will_end_with(self, status):
        self._write(status=status)

    def verdict(self, word, what=""):
        self._write(word=word, what=what)


def main(library, method, title):
    from battery import trial as trials
    from battery.libraries import LIBRARIES
    from battery.rows import ROWS
    from battery.verdicts import Verdict

    signal.signal(signal.SIGINT, signal.default_int_handler)
    report = Report(os.path.abspath("report"))
    program = os.getpid()
    try:
        start_what_stays(library, method)
    except ImportError as error:
        report.verdict("-", f"it needs {error.name}")
        return
    trial = trials.Trial(LIBRARIES[library], method, report)
    before = trials.holdings()
    try:
        ROWS[title].function(trial)
        trial.finish()
        trials.check_holdings(trial, before)
        report.verdict("passes")
    except trials.Leave:
        globals()["pools"] = trial.pools  # they live until the interpreter ends
        return
    except BaseException as error:
        if os.getpid() != program:
            raise  # a fork of it, on its way out
        word, what = (error.word, str(error)) if isinstance(error, Verdict) else ("wrong", trials.describe(error))
        if not isinstance(error, Verdict):
            import traceback

            traceback.print_exc()
        report.verdict(word, what)
        sys.stderr.flush()
        os._exit(0)
    trial.step("the interpreter's end")


def start_what_stays(library, method):
    """A program's first pool starts these, for all of its pools."""
    from multiprocessing import forkserver, resource_tracker

    from battery.libraries import LIBRARIES

    LIBRARIES[library].warm_up()
    if method != "fork":
        resource_tracker.ensure_running()
    if method == "forkserver":
        forkserver.ensure_running()


if __name__ == "__main__":
    main(*sys.argv[1:])
