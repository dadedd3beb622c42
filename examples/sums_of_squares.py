"""Heavy sums on every processor: `submit` for one result, `map` for many."""

from concurrent.futures import ProcessPoolExecutor


def sum_of_squares(limit):
    return sum(number * number for number in range(limit))


def main():
    limits = [10**exponent for exponent in range(1, 7)]
    with ProcessPoolExecutor() as executor:
        first = executor.submit(sum_of_squares, 100)
        print("one call:", first.result())
        for limit, total in zip(limits, executor.map(sum_of_squares, limits), strict=True):
            print(f"below {limit:>9,}: {total:,}")
        small = executor.map(sum_of_squares, range(1000), chunksize=50)
        print("all sums below 1,000:", sum(small))


if __name__ == "__main__":
    main()
