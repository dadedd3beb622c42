"""A pool of threads inside each task of a pool of processes: processes for computing, threads for waiting."""

import tempfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path


def count_primes(limit):
    sieve = bytearray([1]) * limit
    sieve[:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(sieve)


def read_number(path):
    return int(path.read_text())


def sum_of_files(paths):
    """Waiting for files is for threads; what is computed with the numbers is for this process."""
    with ThreadPoolExecutor(max_workers=4) as threads:
        numbers = list(threads.map(read_number, paths))
        primes = threads.submit(count_primes, sum(numbers))
        return sum(numbers), primes.result()


def main():
    with tempfile.TemporaryDirectory() as name:
        paths = [Path(name, f"{number}.txt") for number in range(40)]
        for number, path in enumerate(paths):
            path.write_text(str(number * 1000))
        batches = [paths[start : start + 10] for start in range(0, len(paths), 10)]
        with ProcessPoolExecutor(max_workers=2) as processes:
            for total, primes in processes.map(sum_of_files, batches):
                print(f"files sum up to {total:,}; below that are {primes:,} primes")


if __name__ == "__main__":
    main()
