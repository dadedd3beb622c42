"""``multiprocessing.managers`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.managers import *
from multiprocessing.managers import BaseListProxy as BaseListProxy
from multiprocessing.managers import DictProxy as DictProxy
from multiprocessing.managers import ListProxy as ListProxy
from multiprocessing.managers import Namespace as Namespace
from multiprocessing.managers import RemoteError as RemoteError
from multiprocessing.managers import Server as Server
from multiprocessing.managers import SharedMemoryServer as SharedMemoryServer
from multiprocessing.managers import ValueProxy as ValueProxy

sys.modules[__name__] = sys.modules["multiprocessing.managers"]
