"""The rows of compare.py under pytest-benchmark: pytest benchmarks --benchmark-group-by=func sets the two side by side.

What is not a duration (memory, CPU time, shares) is measured once and stands in the report's extra_info.
"""

import pytest

import compare
import measure
import workloads

COUNT = 2_000


@pytest.fixture(params=compare.IMPLEMENTATIONS)
def implementation(request):
    return request.param


@pytest.fixture
def module(implementation):
    return workloads.implementation(implementation)


@pytest.fixture
def pool(module):
    with workloads.warm_pool(module) as pool:
        yield pool


def run(benchmark, workload, *args, count=COUNT, rounds=5):
    benchmark.extra_info["tasks"] = count
    measure.check(benchmark.pedantic(workload, args=args, rounds=rounds, warmup_rounds=1), count)


def test_submit(benchmark, pool):
    run(benchmark, workloads.submit_all, pool, COUNT)


def test_round_trips(benchmark, pool):
    run(benchmark, workloads.one_after_another, pool, COUNT)


def test_map(benchmark, pool):
    run(benchmark, workloads.map_all, pool, COUNT)


def test_short_tasks(benchmark, pool):
    run(benchmark, workloads.submit_all, pool, COUNT, workloads.busy)


def test_as_completed(benchmark, pool, module):
    run(benchmark, workloads.as_completed_all, pool, COUNT, module)


def test_gather(benchmark, pool):
    run(benchmark, workloads.gather_all, pool, COUNT)


@pytest.mark.parametrize("workers", [8, 64])
def test_many_workers(benchmark, module, workers):
    with workloads.warm_pool(module, workers) as pool:
        run(benchmark, workloads.submit_all, pool, COUNT)


@pytest.fixture
def process_pool(module):
    with workloads.warm_process_pool(module) as pool:
        yield pool


@pytest.mark.parametrize(
    "workload",
    [
        workloads.apply_async_all,
        workloads.imap_all,
        workloads.imap_unordered_all,
        workloads.pool_map_all,
        workloads.starmap_all,
    ],
    ids=lambda workload: workload.__name__,
)
def test_pool(benchmark, process_pool, workload):
    run(benchmark, workload, process_pool, COUNT)


def test_cold(benchmark, module):
    figures = benchmark.pedantic(measure.cold, args=(module,), rounds=10)
    assert figures > 0


@pytest.mark.parametrize("name", ["slept", "share", "cpu", "memory", "idle"])
def test_figure(benchmark, implementation, name):
    row = next(row for row in compare.ROWS if row.name == name)
    figure = benchmark.pedantic(compare.measure, args=(name, implementation), rounds=1)
    benchmark.extra_info[f"{row.title} ({row.unit})"] = figure
