"""``multiprocessing.synchronize`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.synchronize import *
from multiprocessing.synchronize import Barrier as Barrier
from multiprocessing.synchronize import SemLock as SemLock

sys.modules[__name__] = sys.modules["multiprocessing.synchronize"]
