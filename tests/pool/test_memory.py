"""What lazy maps hold: no more, however long the input."""

import pytest

pytestmark = [
    pytest.mark.fastpool_only("the standard library reads the whole input at once"),
    pytest.mark.methods("fork"),
    pytest.mark.deadline(60),
]


@pytest.mark.parametrize("method", ["imap", "imap_unordered"])
@pytest.mark.parametrize("items", ["range(N)", "iter(range(N))"])
def test_million_items(run_script, method, items):
    finished = run_script(f"""
        def peak():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
        # main
        with Pool(2) as workers:
            for N in (20_000, 1_000_000):
                assert sum(workers.{method}(tasks.double, {items})) == N * (N - 1)
                print(peak())
        """)
    assert (finished.returncode, finished.stderr) == (0, "")
    few, many = (float(line) for line in finished.stdout.split())
    assert many - few < 16  # MiB; the items and results alone would be 64
