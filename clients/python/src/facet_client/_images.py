"""Images and packs as callers have them: bytes, or a file by its path."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

Image = Union[bytes, "os.PathLike[str]", str]
"""The bytes of an image, or the path of its file."""


def read(image: Image) -> bytes:
    return image if isinstance(image, bytes) else Path(image).read_bytes()
