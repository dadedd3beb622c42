"""Deaths in the middle of transfers: each call has its own value or says that its worker died, and no memory stays."""

import gc
import os
import random
import threading

import pytest

import support.killer
from big.payloads import Holder, pattern
from support import processes, script, tasks
from support.events import PATIENCE, Mailbox, eventually

pytestmark = pytest.mark.fastpool_only("the standard library hangs, and copies through pipes")

MIB = 1 << 20
IDLE = 20 * MIB  # what a pool may keep warm, and its own tables
CALLS = 200


def held(pool):
    """Bytes of shared memory that exist."""
    return os.fstat(pool._team.pool.attachment()[0]).st_blocks * 512


def payload(dice):
    """In band or out of band, of any size up to 4 MiB, the small ones as often as the large."""
    size = int(2 ** dice.uniform(4, 22))
    kind = dice.choice([bytes, bytearray, lambda data: Holder(data), lambda data: Holder(bytearray(data))])
    return kind(pattern(size, dice.randrange(1000)))


@pytest.fixture
def killer():
    with support.killer.killer(0.02) as functions:
        yield functions


@pytest.mark.methods("fork")  # others start too slowly: a Pool whose workers all die before their first task gives up
def test_workers_of_a_pool(lib, context, killer):
    start, end = killer
    dice, lost = random.Random(40), []
    with lib.Pool(3, context=context) as pool:
        start(pool, 41)
        things = [payload(dice) for _ in range(CALLS)]
        calls = [pool.apply_async(tasks.echo, (thing,)) for thing in things]
        for call, thing in zip(calls, things):
            try:
                assert call.get(PATIENCE) == thing
            except lib.WorkerDied as error:
                lost.append(error.pid)
        killed = end()
        assert killed and set(lost) <= set(killed) and len(set(lost)) == len(lost)
        del calls, call
        assert pool.map(tasks.double, range(100)) == [2 * number for number in range(100)]
        eventually(lambda: held(pool) < IDLE)


def echoes_until_one_fails(lib, pool, dice):
    """The error; what had arrived before is right."""
    while True:
        things = [payload(dice) for _ in range(20)]
        calls = [pool.submit(tasks.echo, thing) for thing in things]
        for call, thing in zip(calls, things):
            if error := call.exception(PATIENCE):
                return error
            assert call.result() == thing


def test_worker_of_an_executor(lib, make_pool):
    """It breaks, at whatever point of a transfer that was, and leaves nothing open."""
    use_once = make_pool(1)
    assert use_once.submit(tasks.double, 1).result() == 2
    use_once.shutdown()
    gc.collect()  # what earlier tests have left
    before = processes.open_files()  # with what the start method keeps for the next pool
    for seed in range(10):
        dice = random.Random(seed)
        pool = make_pool(2)
        assert pool.submit(tasks.double, 1).result() == 2
        victim = dice.choice(list(pool._processes))
        killer = threading.Timer(dice.uniform(0, 0.05), processes.kill, [victim])
        killer.start()
        try:
            error = echoes_until_one_fails(lib, pool, dice)
            assert isinstance(error, lib.BrokenProcessPool) and str(victim) in str(error)
            del error
        except lib.BrokenProcessPool:
            pass  # submit() refuses
        killer.join()
        pool.shutdown()
    del pool
    eventually(lambda: processes.open_files() == before)


@pytest.mark.parametrize("after", [0.0, 0.01, 0.03, 0.1, 0.3])
def test_the_program_itself(run_script, tmp_path, after):
    mailbox = Mailbox(tmp_path / "box")
    process = run_script.start(
        """
        from support.events import Post
        # main
        post = Post(sys.argv[1])
        pool = Pool(2, initializer=tasks.initialize_and_announce, initargs=(post,))
        data = [bytearray(size) for size in (100, 10_000, 1_000_000, 20_000_000)]
        pool.submit(tasks.echo, data).result()
        post.put("ready")
        while True:
            for call in [pool.submit(tasks.echo, data) for _ in range(4)]:
                call.result()
        """,
        mailbox.path,
    )
    lines = []
    while "ready" not in lines:
        lines.append(mailbox.get())
    threading.Event().wait(after)
    process.kill()
    process.wait()
    workers = [int(line) for line in lines if line.isdigit()]
    try:
        assert workers
        eventually(lambda: not any(processes.alive(worker) for worker in workers))
    finally:
        script.kill_session(process)
        mailbox.close()
