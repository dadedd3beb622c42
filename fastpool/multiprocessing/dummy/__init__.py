"""``multiprocessing.dummy`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.dummy import *
from multiprocessing.dummy import Array as Array
from multiprocessing.dummy import DummyProcess as DummyProcess
from multiprocessing.dummy import Namespace as Namespace
from multiprocessing.dummy import Value as Value
from multiprocessing.dummy import shutdown as shutdown

# Now, while this package has a path of its own: along the other's, import would make a second copy of the module.
from fastpool.multiprocessing.dummy import connection as connection

sys.modules[__name__] = sys.modules["multiprocessing.dummy"]
