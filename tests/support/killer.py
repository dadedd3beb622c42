"""Workers of a Pool, killed at random moments."""

import contextlib
import random
import threading

from support import processes


@contextlib.contextmanager
def killer(pause, most=None):
    """Two functions: start(pool, seed) begins to kill its workers, one after another, up to `pause` seconds between them and
    `most` in all; end() stops that and says whom it killed.
    """
    stop, threads, killed = threading.Event(), [], []

    def kill(pool, dice):
        while (most is None or len(killed) < most) and not stop.wait(dice.uniform(0, pause)):
            victims = [worker.pid for worker in list(pool._pool) if processes.alive(worker.pid)]
            if victims and processes.kill(victim := dice.choice(victims)):
                killed.append(victim)

    def start(pool, seed):
        threads.append(threading.Thread(target=kill, args=(pool, random.Random(seed))))
        threads[-1].start()

    def end():
        stop.set()
        for thread in threads:
            thread.join()
        return killed

    try:
        yield start, end
    finally:
        end()
