import sys
from pathlib import Path

import pytest

from tutorial_text import SEEDS

sys.path.insert(0, str(Path(__file__).parents[1] / "dropin"))  # program_runs

collect_ignore = [] if SEEDS.is_dir() else ["test_pool_tutorials.py", "test_tutorials.py"]


@pytest.fixture(scope="session", autouse=True)
def runs(request, tmp_path_factory):
    """Begins with the programs of all tests to come, so that they run while other tests do."""
    import tutorial_runs
    import tutorial_world

    with tutorial_world.web() as address:
        runs = tutorial_runs.Runs(address, lambda: tmp_path_factory.mktemp("program"))
        for item in request.session.items:
            case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
            if isinstance(case, tutorial_runs.Case):
                runs.begin(case)
        yield runs
        runs.end()
