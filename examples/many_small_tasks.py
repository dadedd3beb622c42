"""Many tasks that are each next to nothing, so that the time goes into the pool itself.

The number of tasks may be given: python many_small_tasks.py 1000
"""

import sys
from concurrent.futures import ProcessPoolExecutor

TASKS = 12_000


def check_digit(number):
    """The digit that makes a card number valid."""
    total = 0
    for place, digit in enumerate(reversed(str(number))):
        value = int(digit) * (1 if place % 2 else 2)
        total += value - 9 if value > 9 else value
    return -total % 10


def submitted_then_collected(executor, numbers):
    futures = [executor.submit(check_digit, number) for number in numbers]
    return [future.result() for future in futures]


def mapped(executor, numbers):
    return list(executor.map(check_digit, numbers))


def one_after_another(executor, numbers):
    return [executor.submit(check_digit, number).result() for number in numbers]


def describe(name, digits):
    print(f"{name}: {len(digits):,} tasks, check digits 0 to 9: {[digits.count(digit) for digit in range(10)]}")


def main(tasks):
    numbers = range(79_927_398_000, 79_927_398_000 + tasks)
    with ProcessPoolExecutor(max_workers=2) as executor:
        describe("submitted, then collected", submitted_then_collected(executor, numbers))
        describe("mapped", mapped(executor, numbers))
        describe("one after another", one_after_another(executor, numbers[: tasks // 8]))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else TASKS)
