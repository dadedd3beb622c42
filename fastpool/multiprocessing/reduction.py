"""``multiprocessing.reduction`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.reduction import *
from multiprocessing.reduction import HAVE_SEND_HANDLE as HAVE_SEND_HANDLE
from multiprocessing.reduction import AbstractReducer as AbstractReducer

sys.modules[__name__] = sys.modules["multiprocessing.reduction"]
