"""Every row of the battery, for fastpool's executor in both modes and its Pool."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from battery.rows import ROWS
from battery.runner import own_shared_memory, run

KINDS = ("fastpool", "fastpool-respawn", "fastpool-Pool")


@pytest.fixture(scope="module")
def cells(request):
    """The results of all cells that are asked for: two programs run at a time, and the tests wait for them in order."""
    asked = [item.callspec.params for item in request.session.items if getattr(item, "module", None) is request.module]
    with ThreadPoolExecutor(2, initializer=own_shared_memory) as threads:
        keys = [(params["kind"], params["start_method"], params["title"]) for params in asked]
        yield {key: threads.submit(run, *key) for key in keys}
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("title", ROWS)
@pytest.mark.parametrize("kind", KINDS)
def test_row(cells, kind, start_method, title):
    result = cells[kind, start_method, title].result()
    if result.word == "-":
        pytest.skip(f"there is no such thing: {result.what}")
    assert str(result) == "passes", result.output
