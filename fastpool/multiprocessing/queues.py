"""``multiprocessing.queues`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.queues import *

sys.modules[__name__] = sys.modules["multiprocessing.queues"]
