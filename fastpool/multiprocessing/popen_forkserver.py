"""``multiprocessing.popen_forkserver`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.popen_forkserver import *

sys.modules[__name__] = sys.modules["multiprocessing.popen_forkserver"]
