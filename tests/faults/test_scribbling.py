"""A task writes over the memory that its worker shares with the pool's owner: nobody waits for ever."""

from concurrent.futures.process import BrokenProcessPool

import pytest

from support import tasks
from support.events import PATIENCE

pytestmark = pytest.mark.fastpool_only("fastpool's own memory")


@pytest.mark.parametrize("byte", [0, 1, 255])
@pytest.mark.parametrize("everything", [False, True])
def test_pool_breaks_and_says_why(make_pool, everything, byte):
    pool = make_pool(2)
    with pytest.raises(BrokenProcessPool, match="damaged the shared memory"):
        pool.submit(tasks.scribble, everything, byte).result(PATIENCE)
