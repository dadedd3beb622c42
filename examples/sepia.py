"""Pictures in sepia, computed pixel by pixel in Python and sent to the workers and back as bytes. Needs Pillow."""

import tempfile
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pictures
from PIL import Image


def sepia(pixels):
    """RGB triples in, RGB triples out."""
    toned = bytearray(len(pixels))
    for i in range(0, len(pixels), 3):
        light = 299 * pixels[i] + 587 * pixels[i + 1] + 114 * pixels[i + 2]
        toned[i] = min(255, light * 107 // 100_000)
        toned[i + 1] = light * 74 // 100_000
        toned[i + 2] = light * 43 // 100_000
    return bytes(toned)


def main():
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor() as executor:
        paths = pictures.draw_some(Path(name), 4)
        originals = [Image.open(path).convert("RGB") for path in paths]
        toned = executor.map(sepia, [original.tobytes() for original in originals])
        for path, original, pixels in zip(paths, originals, toned, strict=True):
            Image.frombytes("RGB", original.size, pixels).save(path.with_stem(path.stem + "_sepia"))
            print(f"{path.name}: {len(pixels):,} bytes, checksum {zlib.crc32(pixels):08x}")
        print(len(list(Path(name).glob("*_sepia.png"))), "pictures saved")


if __name__ == "__main__":
    main()
