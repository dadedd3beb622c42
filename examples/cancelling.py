"""Cancelling: a task that runs goes on to its end, one that still waits never starts."""

import multiprocessing
from concurrent.futures import CancelledError, ProcessPoolExecutor

# The standard library hands a few tasks to its worker ahead of time and calls them running.
TAKEN_AHEAD = 3


def prepare(started_event, go_on_event):
    global started, go_on
    started, go_on = started_event, go_on_event


def wait_for_permission():
    started.set()
    go_on.wait()
    return "it went on to its end"


def double(number):
    return number * 2


def main():
    started, go_on = multiprocessing.Event(), multiprocessing.Event()
    with ProcessPoolExecutor(1, initializer=prepare, initargs=(started, go_on)) as executor:
        running = executor.submit(wait_for_permission)
        waiting = [executor.submit(double, number) for number in range(TAKEN_AHEAD + 5)]
        started.wait()
        print("cancel the task that runs:", running.cancel())
        print("cancel five that wait:", [future.cancel() for future in waiting[TAKEN_AHEAD:]])
        go_on.set()
        print("the one that ran:", running.result())
        print("those that were left alone:", [future.result() for future in waiting[:TAKEN_AHEAD]])
        try:
            waiting[-1].result()
        except CancelledError as error:
            print("a cancelled one:", type(error).__name__)
        print("done:", all(future.done() for future in waiting))


if __name__ == "__main__":
    main()
