"""Many at once."""

import queue
import threading
from concurrent.futures import CancelledError

from battery import jobs
from battery.rows import row
from battery.trial import Ends
from battery.verdicts import Wrong


@row("16 threads use the pool at once")
def threads(trial):
    trial.need("calls in flight")
    pool, errors = trial.pool(), []

    def use():
        try:
            for _ in range(3):
                for call in pool.work(20):
                    call.judge(pool)
        except Exception as error:
            errors.append(error)

    users = [threading.Thread(target=use) for _ in range(16)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    if errors:
        raise errors[0]


@row("10,000 cancellations in a race with their start", limit=120)
def cancellations(trial):
    """Half of them by the thread that submits, half by another one; cancel() tells the truth."""
    trial.need("cancel")
    pool, late, cancelled = trial.pool(), queue.SimpleQueue(), {}

    def cancel(call):
        cancelled[call] = call.handle.cancel()

    canceller = threading.Thread(target=lambda: [cancel(call) for call in iter(late.get, None)])
    canceller.start()
    for n in range(10_000):
        call = pool.call(jobs.nothing, expect=Ends())
        late.put(call) if n % 2 else cancel(call)
    late.put(None)
    canceller.join()
    for call, told in cancelled.items():
        trial.step("a cancelled future")
        value, error = call.outcome()
        if isinstance(error, CancelledError) != told:
            raise Wrong(f"cancel() said {told}, the future says {error!r}")
