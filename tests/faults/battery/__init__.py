"""The battery: what can go wrong in a pool, tried in every pool.

A row is a thing that goes wrong (rows/), a library is a kind of pool (libraries.py), a cell is one row in one library under
one start method. Each cell runs in a program of its own (cell.py), and runner.py looks at what that program leaves.

    python tests/faults/battery --library fastpool --start-method fork --row SIGKILL
    python tests/faults/battery --table docs/reliability_table.md
"""

import os
import sys

if os.environ.get("BATTERY_WITHOUT"):  # in workers as well, before a library looks for it
    sys.modules[os.environ["BATTERY_WITHOUT"]] = None  # type: ignore[assignment]
