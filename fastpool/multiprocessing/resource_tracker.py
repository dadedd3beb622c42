"""``multiprocessing.resource_tracker`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.resource_tracker import *
from multiprocessing.resource_tracker import ResourceTracker as ResourceTracker
from multiprocessing.resource_tracker import getfd as getfd
from multiprocessing.resource_tracker import main as main

sys.modules[__name__] = sys.modules["multiprocessing.resource_tracker"]
