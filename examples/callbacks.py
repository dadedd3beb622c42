"""Callbacks of a Pool: each result or error is filed as it comes, and nobody waits for a single one of them."""

from multiprocessing import Pool

RECORDS = ["12.50", "7", "n/a", "-3.25", "1e3", "", "4,5", "0.75"]


def parse(line, text):
    """An amount in cents."""
    if not text:
        raise LookupError(f"line {line}: nothing there")
    try:
        return line, round(100 * float(text))
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from None


class Ledger:
    def __init__(self):
        self.amounts = {}
        self.errors = []

    def enter(self, entry):
        line, cents = entry
        self.amounts[line] = cents

    def reject(self, error):
        self.errors.append(f"{error} ({type(error).__name__})")


def main():
    ledger = Ledger()
    with Pool(2) as pool:
        for line, text in enumerate(RECORDS, start=1):
            pool.apply_async(parse, (line, text), callback=ledger.enter, error_callback=ledger.reject)
        pool.close()
        pool.join()  # after this every callback has been called
    print(f"{len(ledger.amounts)} lines come to {sum(ledger.amounts.values()) / 100:.2f}")
    for line, cents in sorted(ledger.amounts.items()):
        print(f"  line {line}: {cents / 100:.2f}")
    print(f"{len(ledger.errors)} lines were rejected")
    for text in sorted(ledger.errors):
        print(" ", text)


if __name__ == "__main__":
    main()
