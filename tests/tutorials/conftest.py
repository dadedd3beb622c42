import sys
from pathlib import Path

from tutorial_text import SEEDS

sys.path.insert(0, str(Path(__file__).parents[1] / "dropin"))  # program_runs

collect_ignore = [] if SEEDS.is_dir() else ["test_tutorials.py"]
