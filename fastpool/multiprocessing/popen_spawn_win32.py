"""``multiprocessing.popen_spawn_win32`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.popen_spawn_win32 import *

sys.modules[__name__] = sys.modules["multiprocessing.popen_spawn_win32"]
