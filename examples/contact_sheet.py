"""A sheet of small pictures: Pool shrinks and frames them, each with its own settings. Needs Pillow."""

import tempfile
import zlib
from multiprocessing import Pool
from pathlib import Path

import pictures
from PIL import Image, ImageOps

SIZE = (96, 64)
COLUMNS = 4
FRAMES = ["white", "black", "gold"]


def shrink(path, frame, angle):
    with Image.open(path) as picture:
        small = ImageOps.fit(picture.convert("RGB"), SIZE)
    return ImageOps.expand(small.rotate(angle, expand=False), border=4, fill=frame)


def paste_all(smalls):
    width, height = smalls[0].size
    sheet = Image.new("RGB", (COLUMNS * width, -(-len(smalls) // COLUMNS) * height))
    for number, small in enumerate(smalls):
        row, column = divmod(number, COLUMNS)
        sheet.paste(small, (column * width, row * height))
    return sheet


def main():
    with tempfile.TemporaryDirectory() as name, Pool(2) as pool:
        paths = pictures.draw_some(Path(name), 10)
        settings = [(path, FRAMES[i % len(FRAMES)], 180 * (i % 2)) for i, path in enumerate(paths)]
        smalls = pool.starmap(shrink, settings)
        for path, small in zip(paths, smalls, strict=True):
            print(f"{path.name}: {small.size}, checksum {zlib.crc32(small.tobytes()):08x}")
        sheet = paste_all(smalls)
        sheet.save(Path(name, "sheet.png"))
        print(f"the sheet: {sheet.size}, checksum {zlib.crc32(sheet.tobytes()):08x}")


if __name__ == "__main__":
    main()
