"""``multiprocessing.util`` itself (see the package); the names are for type checkers."""

import sys
from multiprocessing.util import *
from multiprocessing.util import DEBUG as DEBUG
from multiprocessing.util import DEFAULT_LOGGING_FORMAT as DEFAULT_LOGGING_FORMAT
from multiprocessing.util import INFO as INFO
from multiprocessing.util import LOGGER_NAME as LOGGER_NAME
from multiprocessing.util import MAXFD as MAXFD
from multiprocessing.util import NOTSET as NOTSET
from multiprocessing.util import abstract_sockets_supported as abstract_sockets_supported
from multiprocessing.util import is_abstract_socket_namespace as is_abstract_socket_namespace
from multiprocessing.util import spawnv_passfds as spawnv_passfds

sys.modules[__name__] = sys.modules["multiprocessing.util"]
