"""``multiprocessing.heap`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.heap import *
from multiprocessing.heap import Arena as Arena
from multiprocessing.heap import Heap as Heap

sys.modules[__name__] = sys.modules["multiprocessing.heap"]
