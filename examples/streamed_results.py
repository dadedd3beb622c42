"""Results as they come, with progress: `imap` over an input produced on the way, then `imap_unordered`."""

import hashlib
from multiprocessing import Pool

BLOCKS = 400
BLOCK_SIZE = 4096


def blocks():
    """A long input, never all of it in memory."""
    for number in range(BLOCKS):
        yield number, number.to_bytes(4, "big") * (BLOCK_SIZE // 4)


def digest(numbered_block):
    number, block = numbered_block
    return number, hashlib.sha256(block).hexdigest()


def has_easy_digest(numbered_block):
    number, text = digest(numbered_block)
    return number if text.startswith("0") else None


def main():
    chain = hashlib.sha256()
    with Pool(2) as pool:
        for done, (number, text) in enumerate(pool.imap(digest, blocks(), chunksize=8), start=1):
            assert number == done - 1  # in the order of the input
            chain.update(text.encode())
            if done % (BLOCKS // 5) == 0:
                print(f"{done:3} of {BLOCKS} blocks, digest so far {chain.hexdigest()[:16]}")
        found = pool.imap_unordered(has_easy_digest, blocks(), chunksize=8)
        easy = sorted(number for number in found if number is not None)
    print(f"{len(easy)} digests begin with 0, those of blocks {easy[:8]} and others")


if __name__ == "__main__":
    main()
