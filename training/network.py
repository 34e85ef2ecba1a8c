"""The ResNet-26 with adapters of the paper (arXiv 1803.10082), and the folding of a trained one into a pack's tensors.

What it knows: the topology (paper, sections 3.1 and 4.1), the designs, the arithmetic of folding (docs/architecture.md, "The
mathematics of a slot"). What it does not know: data, training, files of packs.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F

from merged import merged_conv

ADAPTER_DESIGNS = ("feature", "bn", "series", "parallel")
MATRIX_DESIGNS = ("series", "parallel")
DESIGNS = ADAPTER_DESIGNS + ("finetune", "scratch")
BLOCKS_PER_STAGE = 4
BLOCKS = 3 * BLOCKS_PER_STAGE
# The adaptable convolutions in forward order; every one takes a matrix.
SLOT_NAMES = ["stem.conv", *(f"blocks.{i}.{c}.conv" for i in range(BLOCKS) for c in ("c1", "c2"))]
BN_EPS = 1e-5


class Slot(nn.Module):
    """One 3x3 convolution, its batch normalisation, and the design's adapter beside or behind it.

    parallel: BN(conv(x) + A x);  series: BN(u + A BN'(u)), u = conv(x);  every other design: BN(conv(x)).
    `x` is [N, Cin, H, W]; A is a 1x1 convolution.
    Dropout zeroes whole channels of the parallel branch's input, as in the authors' code.
    """

    def __init__(self, cin: int, cout: int, stride: int, design: str, dropout: float, init: str):
        super().__init__()
        self.conv = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout, eps=BN_EPS)
        self.design = design
        self.dropout = dropout if design == "parallel" else 0.0
        if design == "parallel":
            self.adapter = nn.Conv2d(cin, cout, 1, bias=False)
        elif design == "series":
            self.adapter = nn.Conv2d(cout, cout, 1, bias=False)
            self.adapter_bn = nn.BatchNorm2d(cout, eps=BN_EPS)
        if design in MATRIX_DESIGNS:
            if init == "zero":
                nn.init.zeros_(self.adapter.weight)
            else:  # the paper's: He normal with std sqrt(2 / Cout)
                nn.init.normal_(self.adapter.weight, std=(2.0 / cout) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.design == "parallel" and not (self.training and self.dropout):
            return self.bn(merged_conv(x, self.conv.weight, self.adapter.weight, self.conv.stride, (1, 1)))
        y = self.conv(x)
        if self.design == "parallel":
            v = x[:, :, ::self.conv.stride[0], ::self.conv.stride[1]]  # the positions of the 3x3 kernel's centre
            v = F.dropout2d(v, self.dropout, self.training) if self.dropout else v
            y = y + self.adapter(v)
        elif self.design == "series":
            y = y + self.adapter(self.adapter_bn(y))
        return self.bn(y)


class Block(nn.Module):
    """A basic block. A shortcut that changes the shape is a 2x2 average pool and zero channels; it has no parameters."""

    def __init__(self, c1: Slot, c2: Slot):
        super().__init__()
        self.c1, self.c2 = c1, c2
        self.stride, self.extra = c1.conv.stride[0], c1.conv.out_channels - c1.conv.in_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.c2(F.relu(self.c1(x)))
        if self.stride == 2:
            x = F.avg_pool2d(x, 2)
        if self.extra:
            x = F.pad(x, (0, 0, 0, 0, 0, self.extra))
        return F.relu(y + x)


class ResNet26(nn.Module):
    """25 slots and the normalisation `bn`, which stands alone. Input [N, 3, H, W], normalised; `features` [N, F], output [N, classes].

    There is no ReLU behind the stem, as in the authors' code. The adapter designs freeze convolutions only; batch
    normalisation belongs to the domain. `width` 1.0 is the paper's network: 32 channels, then 64, 128, 256.
    `matrices`: of parallel and series, the slots that have a matrix (all by default); the others have their normalisation only.
    """

    def __init__(self, classes: int, width: float = 1.0, design: str = "finetune", dropout: float = 0.0,
                 init: str = "zero", matrices: Sequence[str] | None = None):
        super().__init__()
        if design not in DESIGNS:
            raise ValueError(f"unknown design {design!r}; one of {', '.join(DESIGNS)}")
        if matrices is not None and design not in MATRIX_DESIGNS:
            raise ValueError(f"the design {design} has no matrices, so there are no slots to choose for them")

        def slot(name: str) -> dict:
            bare = matrices is not None and name not in matrices
            return dict(design="bn" if bare else design, dropout=dropout, init=init)

        stem, *stages = [round(c * width) for c in (32, 64, 128, 256)]
        self.design, self.width, self.statistics_are_frozen = design, width, design == "feature"
        self.stem = Slot(3, stem, 1, **slot(SLOT_NAMES[0]))
        blocks, cin = [], stem
        for n in range(BLOCKS):
            cout, stride = stages[n // BLOCKS_PER_STAGE], 2 if n % BLOCKS_PER_STAGE == 0 else 1
            first, second = SLOT_NAMES[1 + 2 * n:3 + 2 * n]
            blocks.append(Block(Slot(cin, cout, stride, **slot(first)), Slot(cout, cout, 1, **slot(second))))
            cin = cout
        self.blocks = nn.ModuleList(blocks)
        self.bn = nn.BatchNorm2d(cin, eps=BN_EPS)
        self.feature_size = cin
        self.head = nn.Linear(cin, classes)
        if design == "scratch":
            for slot_module in self.slots().values():
                nn.init.kaiming_normal_(slot_module.conv.weight, mode="fan_out", nonlinearity="relu")
        self._freeze()

    def slots(self) -> dict[str, Slot]:
        """The adaptable convolutions in forward order, by slot name."""
        return {name: self.get_submodule(name[:-len(".conv")]) for name in SLOT_NAMES}

    def _freeze(self) -> None:
        if self.design in ADAPTER_DESIGNS:
            for slot in self.slots().values():
                slot.conv.weight.requires_grad_(False)
        if self.design == "feature":
            for name, p in self.named_parameters():
                p.requires_grad_(name.startswith("head."))

    def train(self, mode: bool = True) -> "ResNet26":
        super().train(mode)
        if self.statistics_are_frozen:  # the feature design's trunk stays unchanged, its running statistics too
            for m in self.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.eval()
        return self

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return F.relu(self.bn(x)).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))

    def load_trunk(self, tensors: dict[str, torch.Tensor]) -> None:
        """Copies convolutions and normalisations from a trunk, by module name. The head is not changed.

        Raises ValueError if a tensor is missing, of another shape, or unknown.
        """
        own = self.state_dict()
        wanted = [k for k in own if ".adapter" not in k and not k.startswith("head.")
                  and not k.endswith("num_batches_tracked")]
        missing = [k for k in wanted if k not in tensors]
        unknown = [k for k in tensors if k not in wanted and not k.startswith("head.")]
        shapes = [k for k in wanted if k in tensors and own[k].shape != tensors[k].shape]
        if missing or unknown or shapes:
            raise ValueError(f"not a trunk of width {self.width}: missing {missing}, unknown {unknown}, "
                             f"other shapes {shapes}")
        with torch.no_grad():
            for k in wanted:
                own[k].copy_(tensors[k])


def trunk_width(tensors: dict[str, torch.Tensor]) -> float:
    """The width factor of a trunk, from the channels of its last convolution (256 at width 1.0)."""
    return tensors[f"blocks.{BLOCKS - 1}.c2.conv.weight"].shape[0] / 256


def affine(bn: nn.BatchNorm2d) -> tuple[torch.Tensor, torch.Tensor]:
    """The g and h, [C] in float64, with which BN(u) = g u + h (running statistics)."""
    g = bn.weight.detach().double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return g, bn.bias.detach().double() - bn.running_mean.double() * g


def fold_slot(slot: Slot) -> dict[str, torch.Tensor]:
    """`scale` [Cout], `bias` [Cout] and, for parallel and series, `matrix` [Cout, Cin or Cout]: y = scale z + matrix v + bias."""
    g, h = affine(slot.bn)
    folded = {"scale": g, "bias": h}
    if slot.design == "parallel":
        folded["matrix"] = g[:, None] * slot.adapter.weight.detach()[:, :, 0, 0].double()
    elif slot.design == "series":
        a = slot.adapter.weight.detach()[:, :, 0, 0].double()
        g1, h1 = affine(slot.adapter_bn)
        folded["matrix"] = g[:, None] * a * g1[None, :]
        folded["bias"] = g * (a @ h1) + h
    return {k: v.float() for k, v in folded.items()}


def fold(network: ResNet26) -> dict[str, torch.Tensor]:
    """The domain weights of a trained network, its head included, as the tensors of a pack (float32).

    The feature design adapts nothing, so it yields the head alone: a slot that a pack leaves out is the base's.
    Raises ValueError for finetune and scratch, whose convolutions are not the trunk's.
    """
    if network.design not in ADAPTER_DESIGNS:
        raise ValueError(f"a {network.design} network has its own convolutions and cannot be a pack")
    tensors = {}
    if network.design != "feature":
        for name, slot in network.slots().items():
            tensors.update({f"{name}.{k}": v for k, v in fold_slot(slot).items()})
        g, h = affine(network.bn)
        tensors["bn.scale"], tensors["bn.bias"] = g.float(), h.float()
    tensors["head.weight"] = network.head.weight.detach().float()
    tensors["head.bias"] = network.head.bias.detach().float()
    return {k: v.contiguous().cpu() for k, v in tensors.items()}


def parameter_counts(network: ResNet26) -> dict[str, int]:
    """Parameters by kind: frozen 3x3 convolutions, 1x1 matrices, normalisation (affine and statistics), head."""
    counts = {"convolutions": 0, "matrices": 0, "normalisation": 0, "head": 0}
    for name, p in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        kind = ("head" if name.startswith("head.") else "matrices" if name.endswith("adapter.weight")
                else "convolutions" if name.endswith("conv.weight") else "normalisation")
        counts[kind] += p.numel()
    return counts
