"""apply() and apply_async(): which arguments, where and when it runs."""

import functools
import math
import os
import pickle
import threading

import pytest

from pool import jobs
from support import tasks
from support.events import PATIENCE
from support.tasks import Thing


def test_result(pool):
    assert pool.apply(tasks.double, (21,)) == 42
    assert pool.apply_async(tasks.double, (21,)).get() == 42


def test_arguments(pool):
    assert pool.apply(tasks.everything) == ((), {})
    assert pool.apply(tasks.everything, (1, "two"), {"three": 3}) == ((1, "two"), {"three": 3})
    assert pool.apply(func=tasks.everything, args=[1], kwds={"self": 2, "func": 3}) == ((1,), {"self": 2, "func": 3})
    assert pool.apply_async(func=tasks.everything, kwds={"args": 1}).get() == ((), {"args": 1})


@pytest.mark.parametrize("args", ["ab", {1: 2}, range(2)], ids=repr)
def test_arguments_may_be_any_iterable_that_unpacks(pool, args):
    assert pool.apply(tasks.everything, args) == (tuple(args), {})


@pytest.mark.parametrize(
    "function, args, result",
    [
        (len, ("abc",), 3),
        (math.factorial, (5,), 120),
        (str.upper, ("abc",), "ABC"),
        ("abc".upper, (), "ABC"),
        (Thing(5).get, (), 5),
        (Thing(5), (6,), (5, 6)),
        (Thing.of, (5,), Thing(5)),
        (Thing.static, (5,), ("static", 5)),
        (Thing.Inner.name, (), "inner"),
        (tasks.partial_add, (2,), 42),
        (functools.partial(tasks.add, b=2), (40,), 42),
        (Thing, (5,), Thing(5)),
    ],
    ids=lambda value: getattr(value, "__qualname__", type(value).__name__) if callable(value) else "",
)
def test_functions(pool, function, args, result):
    assert pool.apply(function, args) == result


def test_runs_in_a_worker(pool):
    facts = pool.apply(tasks.worker_facts)
    assert facts["pid"] in [worker.pid for worker in pool._pool]
    assert facts["parent"] == os.getpid()
    assert facts["main_thread"]


def test_runs_in_all_workers_at_once(pool, mailbox, gate):
    results = [pool.apply_async(tasks.announce_and_wait, (mailbox, gate)) for _ in range(2)]
    assert sorted(map(int, mailbox.take(2))) == sorted(worker.pid for worker in pool._pool)
    gate.open()
    assert [result.get() for result in results] == [None, None]


def test_async_does_not_wait_and_apply_does(single, gate):
    first = single.apply_async(tasks.pass_through, (gate, 1))
    assert not first.ready()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(single.apply(tasks.double, (2,))))
    thread.start()
    assert answers == [] and not first.ready()
    gate.open()
    thread.join(PATIENCE)
    assert answers == [4] and first.get() == 1


def test_one_worker_keeps_the_order(single, mailbox):
    results = [single.apply_async(tasks.announce, (mailbox, number)) for number in range(50)]
    assert mailbox.take(50) == [str(number) for number in range(50)]
    for result in results:
        assert result.get() is None


def test_keyword_arguments_of_its_own(pool):
    assert pool.apply(tasks.add, (1,), {"b": 2}) == 3
    assert pool.apply(tasks.add, kwds={"a": 1, "b": 2}) == 3


@pytest.mark.parametrize("args, kwds", [(5, {}), (None, {}), ((), 5), ((), None), ((), {1: 2}), ((1, 2, 3), {})])
def test_arguments_that_do_not_fit(pool, args, kwds):
    with pytest.raises(TypeError):
        pool.apply(tasks.add, args, kwds)
    with pytest.raises(TypeError):
        pool.apply_async(tasks.add, args, kwds).get()
    assert pool.apply(tasks.double, (2,)) == 4


def test_function_that_is_none(pool):
    with pytest.raises(TypeError, match=r"^'int' object is not callable$"):
        pool.apply_async(3).get()


def test_without_a_function(pool):
    with pytest.raises(TypeError, match="func"):
        pool.apply_async()


def test_many(pool):
    results = [pool.apply_async(tasks.double, (number,)) for number in range(2000)]
    assert [result.get() for result in results] == [2 * number for number in range(2000)]


def test_large_arguments_and_results(pool):
    data = os.urandom(3_000_000)
    assert pool.apply(tasks.echo, (data,)) == data
    results = [pool.apply_async(tasks.large, (size,)) for size in (0, 1, 70_000, 5_000_000)]
    assert [len(result.get()) for result in results] == [0, 1, 70_000, 5_000_000]


def test_large_arguments_do_not_block_the_caller(single, gate):
    blocker = single.apply_async(tasks.pass_through, (gate,))
    results = [single.apply_async(tasks.size_of, (bytes(1_000_000),)) for _ in range(20)]
    assert not blocker.ready()
    gate.open()
    assert [result.get() for result in results] == [1_000_000] * 20


def test_from_many_threads(pool):
    answers = {}

    def work(number):
        answers[number] = [pool.apply(tasks.add, (number, step)) for step in range(30)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == {number: [number + step for step in range(30)] for number in range(6)}


def test_state_stays_in_the_worker(single):
    for number in range(3):
        single.apply(tasks.remember, (number,))
    assert single.apply(tasks.forget_and_recall) == [0, 1, 2]
    assert tasks.state == []


def test_what_changes_between_calls(single):
    thing, shared = Thing(1), [1]
    partial = functools.partial(tasks.echo, shared)
    assert (single.apply(thing.get), single.apply(partial)) == (1, [1])
    thing.value = 2
    shared.append(2)
    assert (single.apply(thing.get), single.apply(partial)) == (2, [1, 2])


def test_name_that_got_another_meaning(single, monkeypatch):
    assert single.apply(tasks.version) == "first"
    old = tasks.version
    monkeypatch.setattr(tasks, "version", tasks._other_version)
    with pytest.raises(pickle.PicklingError, match="not the same object"):
        single.apply(old)
    # By name, the worker finds what it has under that name.
    assert single.apply(tasks.version) == "first"


def test_task_in_the_main_thread_may_use_signals_and_threads(single):
    assert single.apply(tasks.wait_for_alarm) == "alarm"
    assert single.apply(tasks.sum_in_threads, (range(10),)) == 90


def test_task_that_forks(single):
    assert single.apply(tasks.fork_here) == 3
    assert single.apply(tasks.double, (2,)) == 4


def test_all_ways_at_once(pool):
    apply = pool.apply_async(tasks.double, (1,))
    mapped = pool.map_async(tasks.double, range(50))
    starred = pool.starmap_async(tasks.add, zip(range(50), range(50)))
    lazy = pool.imap(tasks.double, range(50))
    unordered = pool.imap_unordered(jobs.double_or_fail, range(50), chunksize=7)
    doubled = [2 * number for number in range(50)]
    assert apply.get() == 2
    assert list(lazy) == sorted(unordered) == doubled
    assert mapped.get() == starred.get() == doubled
