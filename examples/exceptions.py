"""What becomes of an exception that a task raises: it arrives where the result is asked for."""

import traceback
from concurrent.futures import ProcessPoolExecutor


class TooSmall(Exception):
    def __init__(self, number, least):
        super().__init__(number, least)
        self.number = number
        self.least = least

    def __str__(self):
        return f"{self.number} is less than {self.least}"


def inverse(number):
    if number < 0:
        raise TooSmall(number, 0)
    return 1 / number


def print_each_outcome(executor):
    futures = {number: executor.submit(inverse, number) for number in (4, 2, 0, -1, 5)}
    for number, future in futures.items():
        try:
            print(f"inverse({number}) = {future.result()}")
        except (ArithmeticError, TooSmall) as error:
            print(f"inverse({number}) failed: {type(error).__name__}: {error}")


def print_where_it_was_raised(executor):
    error = executor.submit(inverse, 0).exception()
    text = "".join(traceback.format_exception(error))
    print("the worker's own traceback is in the text:", "return 1 / number" in text)


def print_how_map_ends(executor):
    results = executor.map(inverse, [1, 2, 0, 4])
    try:
        for result in results:
            print("map gave", result)
    except ZeroDivisionError as error:
        print("map ended:", error)


def main():
    with ProcessPoolExecutor(max_workers=2) as executor:
        print_each_outcome(executor)
        print_where_it_was_raised(executor)
        print_how_map_ends(executor)
        print("and the pool works on:", executor.submit(inverse, 8).result())


if __name__ == "__main__":
    main()
