"""The most frequent words in the comments of Python's own source files: `map` in chunks, and sums of counts."""

import io
import tokenize
from collections import Counter
from multiprocessing import Pool
from pathlib import Path

FILES = 25


def words_of_comments(path):
    words = Counter()
    with tokenize.open(path) as file:
        text = file.read()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            words.update(word.lower() for word in token.string.split() if word.isalpha())
    return words


def source_files():
    """Modules of the standard library, those that come first by name."""
    folder = Path(tokenize.__file__).parent
    return sorted(folder.glob("*.py"))[:FILES]


def main():
    paths = source_files()
    total, longest = Counter(), (0, "")
    with Pool(processes=2) as pool:
        for path, words in zip(paths, pool.map(words_of_comments, paths, chunksize=5), strict=True):
            total.update(words)
            longest = max(longest, (words.total(), path.name))
    print(f"{total.total():,} words in the comments of {len(paths)} files, most of them in {longest[1]}")
    for word, count in total.most_common(8):
        print(f"{count:6,} {word}")


if __name__ == "__main__":
    main()
