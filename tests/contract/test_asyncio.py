"""asyncio over the pool: run_in_executor, wrap_future, gather, cancellation, time limits."""

import asyncio
import threading

import pytest

from support import tasks
from support.events import PATIENCE, eventually


def test_run_in_executor(pool):
    async def main():
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.add, 2, 3)

    assert asyncio.run(main()) == 5


def test_error(pool):
    async def main():
        await asyncio.get_running_loop().run_in_executor(pool, tasks.fail, ValueError("x"))

    with pytest.raises(ValueError, match="^x$"):
        asyncio.run(main())


def test_gather(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, tasks.double, n) for n in range(200)))

    assert asyncio.run(main()) == [2 * n for n in range(200)]


def test_gather_with_errors(pool):
    async def main():
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, tasks.fail_if, n, 2) for n in range(4)]
        return await asyncio.gather(*calls, return_exceptions=True)

    assert [repr(answer) for answer in asyncio.run(main())] == ["0", "1", "ValueError(2)", "3"]


def test_wrap_future_of_each_state(lib, pool):
    async def main():
        done = pool.submit(tasks.double, 21)
        done.result()
        failed = pool.submit(tasks.fail, ValueError("x"))
        failed.exception()
        by_hand = lib.Future()
        wrapped = asyncio.wrap_future(by_hand)
        threading.Thread(target=by_hand.set_result, args=("by hand",)).start()
        assert await asyncio.wrap_future(done) == 42
        assert await wrapped == "by hand"
        with pytest.raises(ValueError):
            await asyncio.wrap_future(failed)

    asyncio.run(main())


def test_the_loop_runs_meanwhile(pool, gate):
    async def main():
        call = asyncio.get_running_loop().run_in_executor(pool, tasks.pass_through, gate, "value")
        steps = 0
        while steps < 5:
            await asyncio.sleep(0.001)
            steps += 1
        assert not call.done()
        gate.open()
        return await call

    assert asyncio.run(main()) == "value"


def test_cancelling_what_is_pending(single, gate, mailbox):
    async def main():
        loop = asyncio.get_running_loop()
        blockers = [loop.run_in_executor(single, tasks.announce_and_wait, mailbox, gate) for _ in range(3)]
        mailbox.get()
        source = single.submit(tasks.announce, mailbox, "ran")
        call = asyncio.wrap_future(source)
        await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # The loop has told the pool: the task never runs.
        await asyncio.sleep(0)
        assert source.cancelled()
        gate.open()
        await asyncio.gather(*blockers)

    asyncio.run(main())
    assert single.submit(tasks.double, 2).result() == 4
    assert "ran" not in mailbox.all()


def test_cancelled_in_the_pool_is_cancelled_in_the_loop(single, gate, mailbox):
    async def main():
        loop = asyncio.get_running_loop()
        blockers = [loop.run_in_executor(single, tasks.announce_and_wait, mailbox, gate) for _ in range(3)]
        mailbox.get()
        source = single.submit(tasks.nothing)
        call = asyncio.wrap_future(source)
        assert source.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.open()
        await asyncio.gather(*blockers)

    asyncio.run(main())


def test_cancelling_what_runs_leaves_the_task_alone(single, gate, mailbox):
    async def main():
        source = single.submit(tasks.announce_and_wait, mailbox, gate, "value")
        mailbox.get()
        call = asyncio.wrap_future(source)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert not source.cancelled()
        gate.open()
        return source

    assert asyncio.run(main()).result() == "value"


def test_wait_for(single, gate):
    async def main():
        call = asyncio.get_running_loop().run_in_executor(single, tasks.pass_through, gate)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(call, 0.02)
        gate.open()

    asyncio.run(main())


def test_as_completed(pool):
    async def main():
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, tasks.double, n) for n in range(20)]
        return sorted([await call for call in asyncio.as_completed(calls, timeout=PATIENCE)])

    assert asyncio.run(main()) == [2 * n for n in range(20)]


def test_task_group(pool):
    async def double(number):
        return await asyncio.get_running_loop().run_in_executor(pool, tasks.double, number)

    async def main():
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(double(n)) for n in range(20)]
        return [call.result() for call in calls]

    assert asyncio.run(main()) == [2 * n for n in range(20)]


def test_many_rounds_of_one(pool):
    async def main():
        loop = asyncio.get_running_loop()
        return [await loop.run_in_executor(pool, tasks.double, n) for n in range(50)]

    assert asyncio.run(main()) == [2 * n for n in range(50)]


def test_loop_closed_before_the_result(single, gate):
    async def main():
        asyncio.get_running_loop().run_in_executor(single, tasks.pass_through, gate)

    asyncio.run(main())
    gate.open()
    future = single.submit(tasks.double, 2)
    eventually(future.done)
    assert future.result() == 4
