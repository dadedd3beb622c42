"""Results as they come, with a line of progress for each quarter of the way."""

from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, as_completed, wait


def digits_of_factorial(number):
    product = 1
    for factor in range(2, number + 1):
        product *= factor
    digits = 0
    while product:
        product //= 10**100
        digits += 100
    return digits


def main():
    numbers = list(range(0, 2000, 25))
    with ProcessPoolExecutor() as executor:
        number_of = {executor.submit(digits_of_factorial, number): number for number in numbers}
        done, not_done = wait(number_of, return_when=FIRST_COMPLETED)
        print("some are done:", bool(done), "and none is lost:", len(done) + len(not_done) == len(numbers))
        results = {}
        for count, future in enumerate(as_completed(number_of), start=1):
            results[number_of[future]] = future.result()
            if count % (len(numbers) // 4) == 0:
                print(f"{count:3} of {len(numbers)} done")
    longest = max(results, key=results.get)
    print(f"{longest}! has about {results[longest]:,} digits, all together about {sum(results.values()):,}")


if __name__ == "__main__":
    main()
