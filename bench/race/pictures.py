"""The images that are sent, and the pixels that training would make of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

#: Images of the load: as many as a cache of decoded images would not help with, of the sizes that phones' thumbnails have.
IMAGES, SIDES = 64, (200, 401)
#: Images whose shorter side has the family's size already. Decoders agree on them, so that answers can be compared closely.
EXACT = 12


def written(path: Path, image: Image.Image, **options: object) -> None:
    """Writes a JPEG at once, so that a broken preparation leaves no half of one."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    whole(path, buffer.getvalue())


def whole(path: Path, data: bytes) -> None:
    part = path.with_suffix(".part")
    part.write_bytes(data)
    part.rename(path)


def draw(samples: Path, images: Path, exact: Path, resize: int) -> None:
    """Enlarges the repository's samples and gives them a photograph's grain, without which they compress too well."""
    files = sorted(path for path in samples.rglob("*") if path.suffix in (".jpg", ".png"))
    noise = np.random.default_rng(7)
    for index in range(IMAGES):
        source = Image.open(files[index % len(files)]).convert("RGB")
        width, height = (int(side) for side in noise.integers(*SIDES, 2))
        pixels = np.asarray(source.resize((width, height), Image.LANCZOS), np.float32)
        grained = (pixels + noise.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8)
        written(images / f"{index:03d}.jpg", Image.fromarray(grained), quality=88, subsampling="4:2:0")
    for index in range(EXACT):
        source = Image.open(files[(index * 5 + 1) % len(files)]).convert("RGB")
        longer = resize + 4 * index
        size = (longer, resize) if index % 2 else (resize, longer)
        written(exact / f"{index:03d}.jpg", source.resize(size, Image.LANCZOS), quality=92)


def pixels_of(path: Path, size: dict) -> np.ndarray:
    """Training's pixels `uint8 [H, W, 3]`: shorter side to `resize`, bilinear, centre crop."""
    image = Image.open(path).convert("RGB")
    scale = size["resize"] / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.BILINEAR)
    left, top = (width - size["width"]) // 2, (height - size["height"]) // 2
    return np.asarray(image.crop((left, top, left + size["width"], top + size["height"])))
