"""What a network computes with packs in its slots, by PyTorch on the unfolded network: the formula of a slot stands where
the network calls the layer. The program's graphs have no part in it.

    python bench/backbones/oracle.py NETWORK --family DIR --packs A.safetensors ... --rows 2,0,1 --pixels F --out F

Row 0 is the base: the network as it is. Pixels are bytes `[N, H, W, 3]`, the output is float32 `[N, F]`.
"""
from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

import networks

Slot = dict[str, Any]
Weights = dict[str, torch.Tensor]

# The functions that layers call, and where each has its weight among its arguments.
LAYERS = {"conv2d": 1, "linear": 1, "batch_norm": 3, "layer_norm": 2, "group_norm": 2}


@dataclass
class Call:
    """One call of a layer's function."""
    layer: str
    weight: torch.Tensor
    inputs: int
    before: int
    after: int


class Patched:
    """While it lasts, the functions of layers go through `handle(layer, original, weight, args, kwargs)`."""

    def __init__(self, handle: Callable[..., torch.Tensor]) -> None:
        self.handle = handle
        self.originals: dict[str, Callable[..., torch.Tensor]] = {}

    def __enter__(self) -> None:
        for layer, place in LAYERS.items():
            original = getattr(F, layer)
            self.originals[layer] = original

            def patched(*args: Any, _layer: str = layer, _original: Any = original, _place: int = place, **kwargs: Any) -> torch.Tensor:
                weight = args[_place] if len(args) > _place else kwargs.get("weight")
                return self.handle(_layer, _original, weight, args, kwargs)
            setattr(F, layer, patched)

    def __exit__(self, *_: object) -> None:
        for layer, original in self.originals.items():
            setattr(F, layer, original)


def record(network: nn.Module, image: torch.Tensor) -> list[Call]:
    """All calls of layers in order."""
    calls: list[Call] = []
    kept: list[torch.Tensor] = []  # ids are of values that live

    def handle(layer: str, original: Any, weight: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        out = original(*args, **kwargs)
        kept.extend((args[0], out))
        calls.append(Call(layer, weight, args[0].shape[1], id(args[0]), id(out)))
        return out
    with Patched(handle):
        network(image)
    return calls


def fits(slot: Slot, call: Call) -> bool:
    if call.layer == "conv2d":
        if slot["kind"] not in ("conv", "pointwise", "depthwise"):
            return False
        out, _, height, width = call.weight.shape
        return (call.inputs, out, height, width) == (slot["in"], slot["out"], *slot["kernel"])
    if call.layer == "linear":
        return slot["kind"] == "linear" and tuple(call.weight.shape) == (slot["out"], slot["in"])
    return slot["kind"] == "norm" and call.weight is not None and call.weight.shape[0] == slot["out"]


def assign(network: nn.Module, calls: list[Call], slots: list[Slot]) -> dict[int, Slot]:
    """Which call is which slot's: by the name of its weight, otherwise the next that fits."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    found: dict[int, Slot] = {}
    next_call = 0
    for slot in slots:
        named = [at for at, call in enumerate(calls)
                 if names.get(id(call.weight)) in (slot["name"], f"{slot['name']}.weight", f"{slot['name']}_weight")]
        fitting = [at for at in range(next_call, len(calls)) if fits(slot, calls[at]) and at not in found]
        if not named and not fitting:
            raise SystemExit(f"no layer of the network fits slot {slot['name']}: {slot}")
        at = named[0] if named else fitting[0]
        found[at] = slot
        next_call = at + 1
    return found


def sampled(x: torch.Tensor, weight: torch.Tensor, args: Any, kwargs: Any, size: torch.Size) -> torch.Tensor:
    """The pixels of `x` at the centres of a convolution's windows; zero outside."""
    def pair(place: int, name: str, default: Any) -> list[int]:
        value = args[place] if len(args) > place else kwargs.get(name, default)
        return [int(v) for v in (value if isinstance(value, (tuple, list)) else (value, value))]
    stride, padding, dilation = pair(3, "stride", 1), pair(4, "padding", 0), pair(5, "dilation", 1)
    for axis in (0, 1):
        span = dilation[axis] * (weight.shape[2 + axis] - 1) + 1
        offset = (span - 1) // 2 - padding[axis]
        dim, length = 2 + axis, size[axis]
        at = torch.arange(length) * stride[axis] + offset
        inside = (at >= 0) & (at < x.shape[dim])
        x = x.index_select(dim, at.clamp(0, x.shape[dim] - 1))
        shape = [1, 1, 1, 1]
        shape[dim] = length
        x = x * inside.view(shape).to(x.dtype)
    return x


def channels(values: torch.Tensor, like: torch.Tensor, axis: int) -> torch.Tensor:
    shape = [1] * like.dim()
    shape[axis] = -1
    return values.view(shape)


def product(weights: Weights, v: torch.Tensor, axis: int) -> torch.Tensor | float:
    """`matrix · v` over an axis of channels."""
    matrix = weights.get("matrix")
    if matrix is None and "up" in weights:
        matrix = weights["up"] @ weights["down"]
    if matrix is None:
        return 0.0
    return torch.movedim(torch.movedim(v, axis, -1) @ matrix.T, -1, axis)


def normalised(layer: str, original: Any, weight: torch.Tensor, args: Any) -> torch.Tensor:
    """What a normalisation gives without its own scale and bias."""
    ones, zeros = torch.ones_like(weight), torch.zeros_like(weight)
    if layer == "batch_norm":
        return original(args[0], args[1], args[2], ones, zeros, *args[5:])
    return original(args[0], args[1], ones, zeros, *args[4:])


def run(network: nn.Module, calls: list[Call], slots: dict[int, Slot], pack: dict[str, Weights], image: torch.Tensor,
        features: dict[str, Any], design: str) -> torch.Tensor:
    """The features of one image with a pack in the slots."""
    position = -1
    passed: set[int] = set()
    found: list[torch.Tensor] = []
    # The norm behind each convolution's slot is part of the slot.
    behind = {at: next((n for n in range(at + 1, len(calls)) if calls[n].layer == "batch_norm" and calls[n].before == calls[at].after), None)
              for at in slots if calls[at].layer == "conv2d"}

    def handle(layer: str, original: Any, weight: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        nonlocal position
        position += 1
        at = position
        if at == features.get("call"):
            found.append(args[0])
        slot = slots.get(at)
        if at in passed:
            return args[0]
        weights = pack.get(slot["name"]) if slot else None
        if weights is None:
            return original(*args, **kwargs)
        x, scale, bias = args[0], weights["scale"], weights["bias"]
        if layer == "conv2d":
            z = original(x, weight, None, *args[3:], **{k: v for k, v in kwargs.items() if k != "bias"})
            norm = behind[at]
            if slot.get("relative") and norm is not None:
                z = z * channels(features["scales"][norm], z, 1)
            if norm is not None:
                passed.add(norm)
            v = z if design == "series" else sampled(x, weight, args, kwargs, z.shape[2:])
            return channels(scale, z, 1) * z + product(weights, v, 1) + channels(bias, z, 1)
        if layer == "linear":
            z = original(x, weight)
            return scale * z + product(weights, z if design == "series" else x, -1) + bias
        if layer == "batch_norm":
            return channels(scale, x, 1) * x + channels(bias, x, 1)
        y = normalised(layer, original, weight, args)
        axis = -1 if layer == "layer_norm" else 1
        return channels(scale, y, axis) * y + channels(bias, y, axis)

    with Patched(handle):
        out = network(image)
    if isinstance(out, tuple):
        out = out[0]
    return (found[-1] if found else out).flatten(1)


def batch_scales(network: nn.Module, calls: list[Call]) -> dict[int, torch.Tensor]:
    """`gamma / sqrt(var + eps)` of each BatchNorm, by its call."""
    of = {id(module.weight): module for module in network.modules() if isinstance(module, nn.BatchNorm2d)}
    scales = {}
    for at, call in enumerate(calls):
        module = of.get(id(call.weight))  # a network may call the function for something else, such as its weights
        if call.layer == "batch_norm" and module is not None:
            scales[at] = module.weight / torch.sqrt(module.running_var + module.eps)
    return scales


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("network", choices=list(networks.NETWORKS))
    p.add_argument("--family", type=Path, required=True)
    p.add_argument("--packs", type=Path, nargs="*", default=[])
    p.add_argument("--rows", required=True, help="0 is the base, 1 the first pack")
    p.add_argument("--pixels", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    args = p.parse_args()

    manifest = json.loads((args.family / "family.json").read_text())
    height, width = manifest["input"]["height"], manifest["input"]["width"]
    rows = [int(row) for row in args.rows.split(",")]
    pixels = np.fromfile(args.pixels, np.uint8).reshape(len(rows), height, width, 3)
    packs: list[tuple[dict[str, Weights], list[float], list[float]]] = [({}, manifest["input"]["mean"], manifest["input"]["std"])]
    for path in args.packs:
        with safe_open(path, "pt") as file:
            pack: dict[str, Weights] = {}
            for name in file.keys():
                slot, part = name.rsplit(".", 1)
                pack.setdefault(slot, {})[part] = file.get_tensor(name).float()
            meta = file.metadata()
            packs.append((pack, json.loads(meta["mean"]), json.loads(meta["std"])))

    network = networks.make(args.network)
    if hasattr(torch.backends, "mha"):
        torch.backends.mha.set_fastpath_enabled(False)
    calls = record(network, torch.zeros(1, 3, height, width))
    slots = assign(network, calls, manifest["slots"])
    # Features are what the last linear layer reads, where the family took a classifier for its head.
    last = max(at for at, call in enumerate(calls) if call.layer in ("linear", "conv2d"))
    features: dict[str, Any] = {"scales": batch_scales(network, calls)}
    if calls[last].weight.shape[0] != manifest["features"] or calls[last].weight.shape[1] == manifest["features"]:
        features["call"] = last
    answers = []
    for image, row in zip(pixels, rows):
        pack, mean, std = packs[row]
        x = (torch.from_numpy(image).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
        answers.append(run(network, calls, slots, pack, x.permute(2, 0, 1)[None], features, manifest["design"]))
    torch.cat(answers).detach().numpy().astype(np.float32).tofile(args.out)


if __name__ == "__main__":
    main()
