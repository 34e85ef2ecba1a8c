"""Draws a small data set, for docs/own-domain.md: discs, crosses and rings of any colour on any ground.

    python training/shapes.py FOLDER
"""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE, NOISE = 96, 12
IMAGES = {"train": 24, "test": 8}  # of each class
CLASSES = ("cross", "disc", "ring")


def shape(name: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 [SIDE, SIDE, 3]: one shape somewhere near the middle."""
    y, x = np.mgrid[:SIDE, :SIDE]
    size = rng.integers(SIDE // 5, SIDE // 3)
    dy, dx = (v - SIDE / 2 - rng.integers(-SIDE // 8, SIDE // 8) for v in (y, x))
    far = np.hypot(dy, dx)
    inside = {"disc": far < size, "ring": (far < size) & (far > 0.6 * size),
              "cross": (np.minimum(abs(dy), abs(dx)) < size / 4) & (np.maximum(abs(dy), abs(dx)) < size)}[name]
    ground, colour = rng.integers(0, 256, 3), rng.integers(0, 256, 3)
    while abs(ground - colour).sum() < 200:
        colour = rng.integers(0, 256, 3)
    pixels = np.where(inside[..., None], colour, ground) + rng.normal(0, NOISE, (SIDE, SIDE, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        raise SystemExit(__doc__)
    rng = np.random.default_rng(0)
    for split, count in IMAGES.items():
        for name in CLASSES:
            folder = Path(sys.argv[1]) / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                Image.fromarray(shape(name, rng)).save(folder / f"{i}.png")
    print(f"{sys.argv[1]}: {sum(IMAGES.values()) * len(CLASSES)} images of {', '.join(CLASSES)}")


if __name__ == "__main__":
    main()
