"""``multiprocessing.shared_memory`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.shared_memory import *

sys.modules[__name__] = sys.modules["multiprocessing.shared_memory"]
