"""Adapter packs and families as the race needs them: docs/pack-format.md, read with NumPy."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DTYPES = {"F32": np.float32, "F16": np.float16}
#: Relative size of the noise that makes one more domain of a trained pack.
NOISE = 0.02


@dataclass
class Pack:
    """The header's metadata, and every tensor in float32."""

    metadata: dict[str, str]
    tensors: dict[str, np.ndarray]


def split(raw: bytes) -> tuple[dict, int]:
    """The header of a safetensors file, and where its data begins."""
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), 8 + length


def tensor(raw: bytes, begin: int, entry: dict) -> np.ndarray:
    """A tensor of the file as it is stored."""
    start, end = entry["data_offsets"]
    kind = np.dtype(DTYPES[entry["dtype"]])
    return np.frombuffer(raw, kind, (end - start) // kind.itemsize, begin + start).reshape(entry["shape"])


def read_pack(path: Path) -> Pack:
    raw = path.read_bytes()
    header, begin = split(raw)
    metadata = header.pop("__metadata__")
    return Pack(metadata, {name: tensor(raw, begin, entry).astype(np.float32) for name, entry in header.items()})


def with_noise(raw: bytes, seed: int) -> bytes:
    """Another domain like the given one: matrices and head 2% off, everything else as it is."""
    header, begin = split(raw)
    header.pop("__metadata__")
    out = bytearray(raw)
    noise = np.random.default_rng(seed)
    for name, entry in header.items():
        if not (name.endswith(".matrix") or name.startswith("head.")):
            continue
        values = tensor(raw, begin, entry)
        factor = 1 + NOISE * noise.standard_normal(values.shape, np.float32)
        start, end = entry["data_offsets"]
        out[begin + start : begin + end] = (values.astype(np.float32) * factor).astype(values.dtype).tobytes()
    return bytes(out)


def over_base(base: Pack, pack: Pack) -> Pack:
    """The pack with the base's values in every slot that it leaves out, as the service fills them in."""
    slots = {name: value for name, value in base.tensors.items() if not name.startswith("head.")}
    return Pack(pack.metadata, {**slots, **pack.tensors})
