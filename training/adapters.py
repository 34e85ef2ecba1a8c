"""What one domain puts into a family's slots, as parameters that train well, and the family's network with them in it.

The numbers of a slot are trained as changes of the base's answer, y0 = g x z + h:

    y = (1 + s) y0 + t + diag(g) A v        scale = (1 + s) g,   bias = (1 + s) h + t,   matrix = diag(g) A

with s, t and A (or its factors) starting at zero: so all slots change by like amounts at one learning rate, whatever their
base. Where training starts from a pack, its answer takes the place of the base's, and the matrix (or each factor) is a change of
the pack's. In a compressed family the second factor is the family's basis and frozen, and A is `up` alone.
What it does not know: images, the training loop.
"""
from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from typing import Union

import torch
import torch.nn as nn
from safetensors import SafetensorError
from safetensors.torch import load_file

import data
import graph as graphs
import pack

# What of the slots is trained: nothing, scale and bias, or all that the family's slots take.
DESIGNS = ("feature", "bn", "full")
# How far features of a module may be from those of the family's graph, as a share of the largest: they sum in another order.
SAME = 1e-3


class Family:
    """A family's folder: its manifest, the base's numbers of every slot, and how it sees images.

    Raises SystemExit with one line where the folder holds no family, or one with parts that training does not know.
    """

    def __init__(self, directory: str | Path):
        self.directory = Path(directory)
        manifest = self.directory / "family.json"
        if not manifest.is_file():
            raise SystemExit(f"{manifest} does not exist. Name the folder of a family (--family), or make one: npm run facet -- family build")
        self.manifest = json.loads(manifest.read_text(encoding="utf-8"))
        self.name, self.fingerprint, self.features = (self.manifest[k] for k in ("name", "fingerprint", "features"))
        self.slots = self.manifest["slots"]
        spec = self.manifest["input"]
        if spec["kernel"] not in data.KERNELS:
            raise SystemExit(f"{manifest}: images are resized with the kernel {spec['kernel']!r}; training knows {', '.join(data.KERNELS)}")
        self.frame = data.Frame(spec["resize"], spec["height"], spec["width"], spec["kernel"])
        self.mean, self.std = spec["mean"], spec["std"]
        self.base = {k: v.float() for k, v in load_file(str(self.directory / "base.safetensors")).items()}
        bases = self.directory / "bases.safetensors"
        self.bases = load_file(str(bases)) if "compressed" in self.manifest else {}

    def graph_file(self) -> Path:
        """The graph for batches of one domain, in float32."""
        for variant in self.manifest["graphs"]:
            if variant["serves"] == "one" and variant["bank"] == "f32" and not variant["weights"].startswith("int8"):
                return self.directory / variant["file"]
        raise SystemExit(f"{self.directory} has no float32 graph for batches of one domain; build the family again")


def pack_of(path: Path, option: str, family: Family) -> tuple[dict[str, torch.Tensor], dict]:
    """Tensors and metadata of a pack of the family. Raises SystemExit that names the option that gave the path."""
    try:
        tensors, metadata = pack.read(path)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise SystemExit(f"{option} {path} cannot be read as a pack: {error}") from error
    if metadata["family"] != family.fingerprint:
        raise SystemExit(f"{option} {path} is a pack of another family (fingerprint {metadata['family'][:12]}, not {family.fingerprint[:12]}, {family.name})")
    return tensors, metadata


class SlotAdapter(nn.Module):
    """One slot's parameters.

    `slot`: as the manifest has it; `start`: the numbers it starts from by part, the base's or a pack's; `matrix`: whether its matrix
    is trained, where it takes one.
    """

    def __init__(self, slot: dict, start: dict[str, torch.Tensor], matrix: bool):
        super().__init__()
        out, columns, rank, basis = slot["out"], slot["columns"], slot.get("rank"), slot.get("basis")
        self.register_buffer("g", start["scale"], persistent=False)
        self.register_buffer("h", start["bias"], persistent=False)
        self.s, self.t = nn.Parameter(torch.zeros(out)), nn.Parameter(torch.zeros(out))
        self.parts: list[str] = []
        if not columns or not matrix:
            return
        sizes = {"up": (out, basis)} if basis else {"up": (out, rank), "down": (rank, columns)} if rank else {"matrix": (out, columns)}
        for part, size in sizes.items():
            self.parts.append(part)
            # The second of two factors of the slot's own: with both at zero neither would have a gradient.
            random = part == "down" and part not in start
            self.register_parameter(part, nn.Parameter(torch.randn(size) / columns ** 0.5 if random else torch.zeros(size)))
            self.register_buffer(f"{part}_start", start.get(part, torch.zeros(size)), persistent=False)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The slot's numbers in a pack."""
        found = {"scale": (1 + self.s) * self.g, "bias": (1 + self.s) * self.h + self.t}
        for part in self.parts:
            change = getattr(self, part) if part == "down" else self.g[:, None] * getattr(self, part)
            found[part] = getattr(self, f"{part}_start") + change
        return found


class Adapter(nn.Module):
    """All slots of a family, as a pack has them at first, or else the base. `design`: one of DESIGNS; `start`: the pack's tensors."""

    def __init__(self, family: Family, design: str, start: dict[str, torch.Tensor] | None = None):
        super().__init__()
        self.names = [slot["name"] for slot in family.slots] if design != "feature" else []
        parts = ("scale", "bias", "matrix", "up", "down")
        self.slots = nn.ModuleList()
        for slot in family.slots if design != "feature" else []:
            name = slot["name"]
            source = start if start and f"{name}.scale" in start else family.base
            own = {part: source[f"{name}.{part}"] for part in parts if f"{name}.{part}" in source}
            self.slots.append(SlotAdapter(slot, own, design == "full"))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The adapter's tensors by their names in a pack; gradients flow to the parameters."""
        return {f"{name}.{part}": value for name, slot in zip(self.names, self.slots) for part, value in slot.tensors().items()}


class GraphTrunk:
    """The trunk as the family's own graph for batches of one domain, with the numbers that are served."""

    def __init__(self, family: Family, device: str):
        self.family, self.graph = family, graphs.Graph(family.graph_file()).to(device)
        self.device = device
        self.description = f"the family's graph {family.graph_file()}"

    def features(self, x: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        """[N, F] of normalised images [N, 3, H, W]. `tensors`: as in a pack; a slot that is not there is the base's."""
        unread = [name for name in tensors if name.split(".")[-1] in ("matrix", "up", "down") and f"{name.split('.')[-1]}.{name.rpartition('.')[0]}" not in self.graph.inputs]
        if unread:
            raise graphs.GraphError(f"the family's graph {self.family.graph_file()} takes no {unread[0]}")
        feeds, base = {"pixels": x.permute(0, 2, 3, 1)}, self.family.base
        slots = [slot["name"] for slot in self.family.slots]
        part = lambda name: tensors[name] if name in tensors else base[name].to(x.device)
        # The images are normalised already: the graph's own input scale is 1 and its shift 0.
        feeds["scale"] = torch.cat([x.new_ones(3), x.new_zeros(3), *(part(f"{name}.scale") for name in slots)])
        feeds["bias"] = torch.cat([part(f"{name}.bias") for name in slots]) if slots else x.new_zeros(0)
        for name, dims in self.graph.inputs.items():
            kind, _, slot = name.partition(".")
            if name in feeds:
                feeds[name] = feeds[name].reshape(dims) if name != "pixels" else feeds[name]
            elif f"{slot}.{kind}" in tensors:
                feeds[name] = tensors[f"{slot}.{kind}"].reshape(dims)
            else:
                feeds[name] = x.new_zeros(dims)
        return self.graph(feeds)


class ModuleTrunk:
    """The trunk as a PyTorch module of the user's: a slot is the submodule of the slot's name, with its normalisation frozen.

    A slot's numbers are applied to that submodule's answer z, so that the base's normalisation behind it, BN(u) = g u + h, makes
    the slot's formula of it: u = (scale z + matrix v + bias - h) / g, the submodule's own bias left out of z and of h. A
    normalisation that stands alone is its own answer. The channels of linear layers and LayerNorms are last. Whether it computes
    what the family does is for `compare` to see.
    """

    def __init__(self, family: Family, place: str, device: str):
        self.family, self.device = family, device
        path, _, function = place.partition(":")
        if not function or not Path(path).is_file():
            raise SystemExit(f"--module {place}: give FILE.py:FUNCTION, a function that returns the network without its classifier")
        spec = importlib.util.spec_from_file_location("facet_module", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.network = getattr(module, function)().to(device).eval().requires_grad_(False)
        self.description = f"the module {place}"
        self.tensors: dict[str, torch.Tensor] = {}
        known = dict(self.network.named_modules())
        missing = [slot["name"] for slot in family.slots if slot["name"] not in known]
        if missing:
            raise SystemExit(f"--module {place}: no submodule has the name of the slot {missing[0]} ({len(missing)} of {len(family.slots)} are missing)")
        for slot in family.slots:
            known[slot["name"]].register_forward_hook(self._hook(slot, known[slot["name"]]))

    def _hook(self, slot: dict, layer: nn.Module):
        name, alone, stride = slot["name"], slot["kind"] == "norm", slot["stride"]
        last = isinstance(layer, (nn.Linear, nn.LayerNorm))
        g, h = (self.family.base[f"{name}.{part}"].to(self.device) for part in ("scale", "bias"))
        own = torch.zeros_like(h) if alone or layer.bias is None else layer.bias.detach()
        basis = self.family.bases[f"{name}.basis"].to(self.device) if slot.get("basis") else None

        def adapt(module, inputs, z):
            if f"{name}.scale" not in self.tensors:
                return None
            part = lambda kind: self.tensors.get(f"{name}.{kind}")
            shape = (-1,) if last else (1, -1) + (1,) * (z.dim() - 2)
            if alone:
                return (z - h.view(shape)) / g.view(shape) * part("scale").view(shape) + part("bias").view(shape)
            z = z - own.view(shape)
            u = z * part("scale").view(shape) + (part("bias") - h + g * own).view(shape)
            if part("up") is not None or part("matrix") is not None:
                if self.family.manifest["design"] == "series":
                    v = z
                else:
                    v = inputs[0] if last else inputs[0][:, :, ::stride[0], ::stride[1]]
                factors = [part("down") if basis is None else basis, part("up")] if part("up") is not None else [part("matrix")]
                for factor in factors:
                    v = nn.functional.linear(v, factor) if last else nn.functional.conv2d(v, factor[:, :, None, None])
                u = u + v
            return u / g.view(shape)
        return adapt

    def features(self, x: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        self.tensors = tensors
        return self.network(x)


Trunk = Union[GraphTrunk, ModuleTrunk]


@torch.no_grad()
def compare(module: ModuleTrunk, graph: GraphTrunk, family: Family) -> None:
    """Raises SystemExit for a module that does not compute what the family's graph does, with a pack that changes every slot a little."""
    generator = torch.Generator().manual_seed(0)
    adapter = Adapter(family, "full")
    for parameter in adapter.parameters():
        parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    tensors = {name: value.to(graph.device) for name, value in adapter.tensors().items()}
    x = torch.randn(2, 3, family.frame.height, family.frame.width, generator=generator).to(graph.device)
    expected = graph.features(x, tensors)
    try:
        found = module.features(x, tensors)
        apart = float((found - expected).abs().max() / expected.abs().max()) if found.shape == expected.shape else math.inf
    except RuntimeError as error:
        raise SystemExit(f"{module.description} cannot be run with an adapter: {error}. Leave --module out to train through the family's graph") from error
    if not apart <= SAME:
        what = f"features differ by {apart:.2g} of the largest" if math.isfinite(apart) else f"it gives {list(found.shape)}, not {list(expected.shape)}"
        raise SystemExit(f"{module.description} does not compute what the family's graph does: {what}. It must have the weights that the family was "
                         "built from, in evaluation mode, and return its features; or leave --module out to train through the family's graph")


class Head(nn.Module):
    """A classifier on standardised features, folded into the weight and bias of a pack.

    The tenth makes its learning rate like that of the adapters: it begins as `logits = (standardised features) W / 10`.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))
        self.weight, self.bias = nn.Parameter(torch.zeros(classes, features)), nn.Parameter(torch.zeros(classes))

    def standardise(self, features: torch.Tensor) -> None:
        """Takes mean and deviation of each feature from examples `[N, F]`."""
        self.mean.copy_(features.mean(0))
        self.deviation.copy_(features.std(0).clamp_min(1e-3 * float(features.std()) + 1e-12))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features - self.mean) / self.deviation @ self.weight.T / 10 + self.bias

    @torch.no_grad()
    def start(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        """Takes a pack's head, `weight [K, F]` and `bias [K]`; after `standardise`."""
        self.weight.copy_(10 * self.deviation * weight.to(self.weight))
        self.bias.copy_(bias.to(self.bias) + weight.to(self.bias) @ self.mean)

    def tensors(self) -> dict[str, torch.Tensor]:
        weight = self.weight.double() / (10 * self.deviation.double())
        return {"head.weight": weight.float(), "head.bias": (self.bias.double() - weight @ self.mean.double()).float()}


class Adapted(nn.Module):
    """The trunk with a domain's adapter and head: normalised images [N, 3, H, W] to logits [N, K]."""

    def __init__(self, trunk: Trunk, adapter: Adapter, head: Head):
        super().__init__()
        self.trunk, self.adapter, self.head = trunk, adapter, head

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk.features(x, self.adapter.tensors())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))

    def tensors(self) -> dict[str, torch.Tensor]:
        """A pack's tensors, float32 on the CPU."""
        return {k: v.detach().float().cpu().contiguous() for k, v in {**self.adapter.tensors(), **self.head.tensors()}.items()}


class Served(nn.Module):
    """A trunk with the tensors of a pack, as the service runs it: normalised images [N, 3, H, W] to logits [N, K]."""

    def __init__(self, trunk: Trunk, tensors: dict[str, torch.Tensor]):
        super().__init__()
        self.trunk, self.tensors = trunk, {name: value.to(trunk.device) for name, value in tensors.items()}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.trunk.features(x, self.tensors) @ self.tensors["head.weight"].T + self.tensors["head.bias"]
