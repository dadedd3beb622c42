"""``multiprocessing.resource_sharer`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.resource_sharer import *

sys.modules[__name__] = sys.modules["multiprocessing.resource_sharer"]
