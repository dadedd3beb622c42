"""submit(): what may be called, with what, and when it is refused."""

import functools
import multiprocessing
import operator
import os

import pytest

from support import tasks
from support.tasks import Thing


def test_value_comes_back(pool):
    assert pool.submit(tasks.add, 2, 3).result() == 5


def test_returns_the_implementations_future(lib, pool):
    assert type(pool.submit(tasks.nothing)) is lib.Future


def test_keywords_reach_the_function(pool):
    future = pool.submit(tasks.everything, 1, fn=2, self=3, timeout=4, chunksize=5, args=6)
    assert future.result() == ((1,), {"fn": 2, "self": 3, "timeout": 4, "chunksize": 5, "args": 6})


@pytest.mark.parametrize("arguments", [(), (None,), (1,) * 300, ([], {}, set())])
def test_any_number_of_arguments(pool, arguments):
    assert pool.submit(tasks.everything, *arguments).result() == (arguments, {})


def test_function_is_required_by_position(lib, pool):
    text = r"^ProcessPoolExecutor\.submit\(\) missing 1 required positional argument: 'fn'$"
    with pytest.raises(TypeError, match=text):
        pool.submit()
    with pytest.raises(TypeError, match=text):
        pool.submit(fn=tasks.nothing)


def test_what_is_not_callable_fails_in_the_worker(pool):
    with pytest.raises(TypeError, match=r"^'int' object is not callable$"):
        pool.submit(3).result()


@pytest.mark.parametrize(
    "function, arguments, result",
    [
        (len, ("four",), 4),
        (operator.mul, (6, 7), 42),
        (Thing("value").get, (), "value"),
        (Thing("value"), ("extra",), ("value", "extra")),
        (Thing, (5,), Thing(5)),
        (Thing.static, (1,), ("static", 1)),
        (Thing.of, (1,), Thing(1)),
        (Thing.Inner.name, (), "inner"),
        (functools.partial(tasks.add, 1), (2,), 3),
        (tasks.partial_add, (), 40),
        ("text".upper, (), "TEXT"),
        (str.upper, ("text",), "TEXT"),
        (int.from_bytes, (b"\1\0", "little"), 1),
    ],
    ids=lambda value: getattr(value, "__qualname__", None),
)
def test_every_kind_of_callable(pool, function, arguments, result):
    assert pool.submit(function, *arguments).result() == result


def test_wrong_arguments_fail_in_the_worker(pool):
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        pool.submit(tasks.double).result()


def test_many_tasks(pool):
    futures = [pool.submit(tasks.double, number) for number in range(2000)]
    assert [future.result() for future in futures] == [2 * number for number in range(2000)]


def test_results_in_any_order_of_asking(pool):
    futures = [pool.submit(tasks.double, number) for number in range(100)]
    assert [future.result() for future in reversed(futures)] == [2 * number for number in reversed(range(100))]


@pytest.mark.parametrize("size", [0, 1, 400, 500, 4096, 65536, 1 << 20, 5_000_001])
def test_sizes(pool, size):
    data = os.urandom(size)
    assert pool.submit(tasks.echo, data).result() == data


def test_many_large_tasks(pool):
    futures = [pool.submit(tasks.large, 300_000 + number) for number in range(60)]
    assert [len(future.result()) for future in futures] == [300_000 + number for number in range(60)]


def test_first_in_first_out(single):
    single.submit(tasks.forget).result()
    for number in range(50):
        single.submit(tasks.remember, number)
    assert single.submit(tasks.forget_and_recall).result() == list(range(50))


def test_worker_gets_a_copy(pool):
    value = [1, 2]
    result = pool.submit(tasks.echo, value).result()
    assert result == value and result is not value


def test_identity_within_one_task(pool):
    value = []
    first, second = pool.submit(tasks.echo, (value, value)).result()
    assert first is second


def test_task_runs_in_a_worker_of_the_pool(pool):
    facts = pool.submit(tasks.worker_facts).result()
    assert facts["pid"] in pool._processes
    assert facts["parent"] == os.getpid()
    assert facts["name"] == pool._processes[facts["pid"]].name
    assert facts["main_thread"] and not facts["daemon"]


def test_fork_starts_every_worker_at_the_first_task(make_pool, start_method):
    pool = make_pool(3)
    pool.submit(tasks.nothing)
    assert len(pool._processes) == (3 if start_method == "fork" else 1)


@pytest.mark.methods("forkserver", "spawn")
def test_other_methods_start_workers_as_tasks_come(make_pool, gate, mailbox):
    pool = make_pool(3)
    for count in (1, 2, 3, 3):
        pool.submit(tasks.announce_and_wait, mailbox, gate)
        assert len(pool._processes) == count
    assert len(set(mailbox.take(3))) == 3


def test_workers_are_processes_of_the_context(make_pool, context):
    pool = make_pool(1)
    pool.submit(tasks.nothing).result()
    (process,) = pool._processes.values()
    assert type(process) is context.Process
    assert process in multiprocessing.active_children()
    assert process.name.startswith(context.Process.__name__ + "-")


def test_workers_work_at_the_same_time(pool, gate, mailbox):
    futures = [pool.submit(tasks.announce_and_wait, mailbox, gate, number) for number in range(2)]
    assert len(set(mailbox.take(2))) == 2
    gate.open()
    assert [future.result() for future in futures] == [0, 1]


def test_state_of_a_module_stays_in_its_worker(single):
    single.submit(tasks.forget).result()
    single.submit(tasks.remember, "here").result()
    assert tasks.state == []
    assert single.submit(tasks.forget_and_recall).result() == ["here"]


def test_submit_after_shutdown(make_pool):
    pool = make_pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(tasks.nothing)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.map(tasks.nothing, [1])


def test_two_pools_at_once(make_pool):
    pools = [make_pool(1) for _ in range(2)]
    futures = [pool.submit(tasks.worker_facts) for pool in pools * 3]
    assert len({future.result()["pid"] for future in futures}) == 2
