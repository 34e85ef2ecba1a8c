"""Writes and reads packs (safetensors, already folded), and runs the network from a pack.

The forward pass here follows the pack's formula, y = scale * conv(x) + matrix . v + bias, and shares no code with network.py,
so that the service and the folding can be checked against it. What it does not know: training, modules of designs.
"""
from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save

FORMAT = "facet-pack/1"
F16_MAX = 65504.0
EPS = 1e-5


def write(path: Path, tensors: dict[str, torch.Tensor], *, family: str, design: str, labels: list[str], mean, std,
          activation: str = "softmax", dtype: torch.dtype = torch.float16, **optional: str) -> None:
    """Writes one pack file. `optional`: name, description, license, created, metrics (strings).

    Raises ValueError for duplicate labels, labels that do not match the head, non-finite values and values that overflow
    fp16; nothing is written then.
    """
    if len(set(labels)) != len(labels):
        raise ValueError("duplicate labels; make them unique first")
    if "head.weight" in tensors and len(labels) != tensors["head.weight"].shape[0]:
        raise ValueError(f"{len(labels)} labels for a head of {tensors['head.weight'].shape[0]} classes")
    for name, t in tensors.items():
        if not torch.isfinite(t).all():
            raise ValueError(f"{name} has values that are not finite")
        if dtype == torch.float16 and t.abs().max() > F16_MAX:
            raise ValueError(f"{name} overflows fp16 (largest magnitude {t.abs().max():.4g}); export with --dtype fp32")
    metadata = {"format": FORMAT, "family": family, "design": design, "labels": json.dumps(labels, ensure_ascii=False),
                "activation": activation, "mean": json.dumps(mean), "std": json.dumps(std), **optional}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(ordered(save({k: v.to(dtype).contiguous() for k, v in tensors.items()}, metadata)))


def ordered(file: bytes) -> bytes:
    """The same safetensors file with its metadata in alphabetical order. The library writes it in a random order, and a pack's
    version is the hash of its bytes."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors stay aligned
    return len(text).to_bytes(8, "little") + text + file[end:]


def read(path: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors in fp32, and the metadata with labels, mean and std parsed."""
    with safe_open(str(path), "pt") as f:
        metadata = dict(f.metadata())
        tensors = {k: f.get_tensor(k).float() for k in f.keys()}
    for key in ("labels", "mean", "std"):
        metadata[key] = json.loads(metadata[key])
    return tensors, metadata


def base_slots(trunk: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The base's scale and bias of every slot, computed in float64 from the trunk's batch normalisation."""
    tensors = {}
    for key in [k for k in trunk if k.endswith("bn.weight")]:
        bn = key[:-len(".weight")]
        slot = "bn" if bn == "bn" else bn[:-len(".bn")] + ".conv"
        w, b, m, v = (trunk[f"{bn}.{p}"].double() for p in ("weight", "bias", "running_mean", "running_var"))
        g = w / torch.sqrt(v + EPS)
        tensors[f"{slot}.scale"], tensors[f"{slot}.bias"] = g.float(), (b - m * g).float()
    return tensors


class Runner:
    """Runs a trunk with one pack. `features(x)`: normalised [N, 3, H, W] to [N, F]; `logits(features)`: [N, K]."""

    def __init__(self, trunk: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], design: str):
        self.trunk, self.design = trunk, design
        self.slots = {**base_slots(trunk), **tensors}
        self.blocks = 1 + max(int(k.split(".")[1]) for k in trunk if k.startswith("blocks."))

    def _slot(self, name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        z = F.conv2d(x, self.trunk[f"{name}.weight"], stride=stride, padding=1)
        y = self.slots[f"{name}.scale"].view(1, -1, 1, 1) * z + self.slots[f"{name}.bias"].view(1, -1, 1, 1)
        matrix = self.slots.get(f"{name}.matrix")
        if matrix is not None:
            v = z if self.design == "series" else x[:, :, ::stride, ::stride]
            y = y + torch.einsum("oc,nchw->nohw", matrix, v)
        return y

    @torch.no_grad()
    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self._slot("stem.conv", x, 1)
        for i in range(self.blocks):
            stride = 2 if i % (self.blocks // 3) == 0 else 1
            y = self._slot(f"blocks.{i}.c2.conv", F.relu(self._slot(f"blocks.{i}.c1.conv", x, stride)), 1)
            if stride == 2:
                x = F.avg_pool2d(x, 2)
            short = torch.zeros_like(y)
            short[:, :x.shape[1]] = x
            x = F.relu(y + short)
        x = F.relu(self.slots["bn.scale"].view(1, -1, 1, 1) * x + self.slots["bn.bias"].view(1, -1, 1, 1))
        return x.mean((2, 3))

    @torch.no_grad()
    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return features @ self.slots["head.weight"].T + self.slots["head.bias"]
