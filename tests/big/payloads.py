"""What the tests of big data send: importable under every start method."""

import array
import pickle

#: A payload travels in another way from each of these sizes on.
THRESHOLDS = [464, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10, 1 << 20]
SIZES = sorted({0, 1, *(size + step for size in THRESHOLDS for step in (-100, -1, 0, 1, 100))})


def pattern(size, seed=0):
    """Bytes of which no two long pieces are the same."""
    return array.array("I", range(seed, seed + size // 4 + 1)).tobytes()[:size]


class Holder:
    """Offers its bytes out of band, as arrays do."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Holder, (pickle.PickleBuffer(self.data),) if protocol >= 5 else (self.data,)

    def __eq__(self, other):
        return type(other) is Holder and type(self.data) is type(other.data) and self.data == other.data

    __hash__ = None


def length(thing):
    return len(thing)


def first_byte(holder):
    return holder.data[0]


def overwrite(holder):
    """What arrives is the receiver's own."""
    holder.data[:] = bytes(len(holder.data))
    return bytes(holder.data[:5]), len(holder.data)


def make(kind, size):
    return Holder(kind(pattern(size)))


kept = []


def keep(thing, size):
    """The result is as large as the argument, which stays here."""
    kept.append(thing)
    return pattern(size, 9)


def give_back():
    return kept.pop()


def wait_and_measure(gate, holder):
    gate.wait()
    return len(holder.data)
