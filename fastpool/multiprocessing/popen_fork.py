"""``multiprocessing.popen_fork`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.popen_fork import *

sys.modules[__name__] = sys.modules["multiprocessing.popen_fork"]
