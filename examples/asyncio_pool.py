"""Processes under asyncio: the event loop stays free while workers compute."""

import asyncio
from concurrent.futures import ProcessPoolExecutor


def count_divisors(number):
    return sum(2 - (i * i == number) for i in range(1, int(number**0.5) + 1) if number % i == 0)


def fail(reason):
    raise LookupError(reason)


async def tick(ticks, enough):
    while not enough.is_set():
        ticks.append(None)
        await asyncio.sleep(0.001)


async def main():
    loop = asyncio.get_running_loop()
    ticks, enough = [None], asyncio.Event()
    with ProcessPoolExecutor() as executor:
        ticker = asyncio.create_task(tick(ticks, enough))
        numbers = range(720_720, 720_760)
        counts = await asyncio.gather(*(loop.run_in_executor(executor, count_divisors, number) for number in numbers))
        best = max(counts)
        print(f"most divisors: {numbers[counts.index(best)]:,} has {best}")
        outcomes = await asyncio.gather(
            loop.run_in_executor(executor, count_divisors, 360),
            loop.run_in_executor(executor, fail, "nothing there"),
            return_exceptions=True,
        )
        print("a result and an exception:", outcomes)
        print("wrapped:", await asyncio.wrap_future(executor.submit(count_divisors, 5040)))
        enough.set()
        await ticker
    print("the loop kept turning:", len(ticks) > 0)


if __name__ == "__main__":
    asyncio.run(main())
