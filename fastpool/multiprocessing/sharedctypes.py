"""``multiprocessing.sharedctypes`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.sharedctypes import *
from multiprocessing.sharedctypes import Synchronized as Synchronized
from multiprocessing.sharedctypes import SynchronizedArray as SynchronizedArray
from multiprocessing.sharedctypes import SynchronizedBase as SynchronizedBase
from multiprocessing.sharedctypes import SynchronizedString as SynchronizedString

sys.modules[__name__] = sys.modules["multiprocessing.sharedctypes"]
