"""Draws pictures for other examples to work on: each has a sky, a sun and a few hills of its own."""

from PIL import Image, ImageDraw


def draw(path, seed, size=(480, 320)):
    width, height = size
    picture = Image.new("RGB", size)
    canvas = ImageDraw.Draw(picture)
    for y in range(height):
        canvas.line([(0, y), (width, y)], fill=(40 * seed % 256, 90 + y // 4, 255 - y // 2))
    x = width * (seed + 1) // 8
    canvas.ellipse([x, 30, x + 60, 90], fill=(255, 220, 60))
    for hill in range(4):
        left = (hill * 150 + seed * 40) % width - 100
        canvas.polygon(
            [(left, height), (left + 120, 150 + 20 * hill), (left + 240, height)], fill=(30, 60 + 30 * hill, 40)
        )
    picture.save(path)
    return path


def draw_some(folder, count):
    return [draw(folder / f"picture{seed}.png", seed) for seed in range(1, count + 1)]
