"""``multiprocessing.process`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.process import *

sys.modules[__name__] = sys.modules["multiprocessing.process"]
