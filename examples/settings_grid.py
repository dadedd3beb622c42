"""Every combination of some settings, tried in parallel: `starmap` spreads each over the function's parameters."""

import itertools
from multiprocessing import Pool

RATES = [0.02, 0.05, 0.08]
YEARS = [5, 10, 20]
FEES = [0, 3]


def grow(rate, years, fee, monthly=100):
    """What monthly savings come to, in cents so that no rounding is left to chance."""
    cents = 0
    for month in range(12 * years):
        cents += 100 * (monthly - fee)
        if month % 12 == 11:
            cents += round(cents * rate)
    return cents


def main():
    grid = list(itertools.product(RATES, YEARS, FEES))
    with Pool(2) as pool:
        outcomes = pool.starmap(grow, grid, chunksize=3)
        doubled = pool.starmap_async(grow, [(*settings, 200) for settings in grid])
        for (rate, years, fee), cents in zip(grid, outcomes, strict=True):
            print(f"{rate:.0%} for {years:2} years, fee {fee}: {cents / 100:>12,.2f}")
        gains = [more - cents for more, cents in zip(doubled.get(), outcomes, strict=True)]
    best = max(range(len(grid)), key=gains.__getitem__)
    print(f"saving twice as much brings at most {gains[best] / 100:,.2f} more: {grid[best]}")


if __name__ == "__main__":
    main()
