"""Thumbnails of pictures, blurred first so that there is something to compute. Needs Pillow."""

import tempfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pictures
from PIL import Image, ImageFilter


def make_thumbnail(path, folder, size=(64, 64)):
    with Image.open(path) as picture:
        blurred = picture.filter(ImageFilter.GaussianBlur(2))
    blurred.thumbnail(size)
    target = folder / path.name
    blurred.save(target)
    return target


def main():
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor() as executor:
        folder = Path(name)
        paths = pictures.draw_some(folder, 6)
        thumbs = folder / "thumbs"
        thumbs.mkdir()
        for target in executor.map(make_thumbnail, paths, [thumbs] * len(paths)):
            with Image.open(target) as thumbnail:
                print(f"{target.name}: {thumbnail.size}, checksum {zlib.crc32(thumbnail.tobytes()):08x}")


if __name__ == "__main__":
    main()
