"""fastpool.dropin in one process: what it rebinds, and that it leaves nothing behind."""

import concurrent.futures
import concurrent.futures.process
import multiprocessing.pool
import multiprocessing.spawn
import pickle
import threading

import pytest

import fastpool
from fastpool import dropin

STANDARD = concurrent.futures.process.ProcessPoolExecutor
STANDARD_DATA = multiprocessing.spawn.get_preparation_data
STANDARD_NAMES = (STANDARD, STANDARD, STANDARD_DATA, multiprocessing.pool, multiprocessing.Pool)


@pytest.fixture
def installed():
    dropin.install()
    yield
    dropin.uninstall()


def bound():
    return (
        concurrent.futures.ProcessPoolExecutor,
        concurrent.futures.process.ProcessPoolExecutor,
        multiprocessing.spawn.get_preparation_data,
        multiprocessing.pool,
        multiprocessing.Pool,
    )


def test_both_names_are_rebound(installed):
    from concurrent.futures import ProcessPoolExecutor

    assert ProcessPoolExecutor is fastpool.ProcessPoolExecutor
    assert concurrent.futures.process.ProcessPoolExecutor is fastpool.ProcessPoolExecutor
    assert dropin.installed()


def test_a_star_import_gets_it_too(installed):
    names = {}
    exec("from concurrent.futures import *", names)
    assert names["ProcessPoolExecutor"] is fastpool.ProcessPoolExecutor


def test_a_pool_from_everywhere(installed):
    import multiprocessing.pool
    from multiprocessing import Pool

    for make in (Pool, multiprocessing.Pool, multiprocessing.get_context().Pool, multiprocessing.pool.Pool):
        with make(1) as pool:
            assert type(pool) is fastpool.Pool
            assert pool.apply(abs, (-5,)) == 5
        pool.join()


def test_uninstall_puts_everything_back():
    dropin.install()
    dropin.uninstall()
    assert bound() == STANDARD_NAMES
    assert not dropin.installed()


def test_uninstall_without_install_changes_nothing():
    dropin.uninstall()
    assert bound() == STANDARD_NAMES


def test_twice_is_as_once(installed):
    once = bound()
    dropin.install()
    assert bound() == once
    dropin.uninstall()
    assert bound() == STANDARD_NAMES


def test_many_threads_at_once(installed):
    once = bound()
    dropin.uninstall()
    threads = [threading.Thread(target=dropin.install) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bound() == once


def test_the_replacement_works_where_it_was_put(installed):
    with concurrent.futures.ProcessPoolExecutor(1) as executor:
        assert executor.submit(abs, -5).result() == 5
        assert isinstance(executor, concurrent.futures.Executor)


def test_the_standard_class_still_works_while_replaced(installed):
    with STANDARD(1) as executor:
        assert list(executor.map(abs, [-1, -2])) == [1, 2]


def test_what_travels_ahead_is_the_plain_path(installed):
    before = STANDARD_DATA("child")["sys_path"]
    path = multiprocessing.spawn.get_preparation_data("child")["sys_path"]
    assert path == before
    for arrived in pickle.loads(pickle.dumps(path)), eval(repr(path)):
        assert arrived == before and type(arrived) is list
