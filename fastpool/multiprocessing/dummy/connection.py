"""``multiprocessing.dummy.connection`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.dummy.connection import *
from multiprocessing.dummy.connection import Connection as Connection
from multiprocessing.dummy.connection import families as families

sys.modules[__name__] = sys.modules["multiprocessing.dummy.connection"]
