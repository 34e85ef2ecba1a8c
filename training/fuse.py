"""Makes one node of what a slot adds around its convolution, so that a step passes over the images as seldom as it can.

- `Mul` by the slot's scale and `Add` of its bias: PyTorch's batch normalisation computes both in one pass.
- At a 1x1 convolution these and the slot's matrix, whole or in factors: one convolution with merged weights.
- At a larger convolution the matrix is added to the centre of the kernel (merged.py), with scale and bias behind it.

What it does not know: files, how nodes are run, training.
"""
from __future__ import annotations

from typing import Callable

import torch
import torch.nn.functional as F

from merged import merged_conv

# How small a channel's scale may be, as a share of the largest of its slot, for its row of the matrix to be divided by it. The gradient of a
# smaller one would be the difference of two large sums, which bfloat16 does not bear (at a hundredth it was a quarter off).
LEAST_SCALE = 0.05


def fused(nodes: list, inputs: set[str], outputs: list[str]) -> list:
    """The nodes of a graph in their order: what ends a slot is rewritten in place, and what nobody reads any more is left out. Nodes have
    op, inputs, outputs and attributes."""
    found = _Slots(nodes, inputs)
    for node in nodes:
        if node.op == "Mul":
            found.fuse(node)
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return kept[::-1]


class _Slots:
    """The slots of a graph, found by the names of its inputs."""

    def __init__(self, nodes: list, inputs: set[str]):
        self.inputs = inputs
        self.makers = {name: node for node in nodes for name in node.outputs}
        self.readers: dict[str, list] = {}
        for node in nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def fuse(self, node) -> None:
        """Rewrites the `Add` behind `node`, the product of a convolution and a slot's scale, where it ends a slot."""
        frozen = self.makers.get(node.inputs[0])
        behind = self._only_reader(node)
        if frozen is None or frozen.op != "Conv" or len(frozen.inputs) > 2 or not self._is_adapter(node.inputs[1]) or behind is None or behind.op != "Add":
            return
        scale, other = node.inputs[1], next(name for name in behind.inputs if name != node.outputs[0])
        alone = self._only_reader(frozen) is node
        if self._is_adapter(other):
            merges = alone and is_pixelwise(frozen)
            behind.op, behind.inputs = ("facet.Merged", [*frozen.inputs, scale, other]) if merges else ("facet.Affine", [*node.inputs, other])
            return
        path = self._matrix(other, frozen) if alone else None
        if path is not None:
            bias, factors = path
            behind.op, behind.attributes = "facet.Merged" if is_pixelwise(frozen) else "facet.Centred", frozen.attributes
            behind.inputs = [*frozen.inputs, scale, bias, *factors]

    def _matrix(self, name: str, frozen) -> tuple[str, list[str]] | None:
        """Bias and factors of the matrix that makes `name` of the input of the frozen convolution; None for anything else."""
        up = self.makers.get(name)
        if up is None or up.op != "Conv" or len(up.inputs) != 3 or not self._is_matrix(up.inputs[1]) or not is_pixelwise(up):
            return None
        source, factors = up.inputs[0], [up.inputs[1]]
        down = self.makers.get(source)
        if not up.inputs[1].startswith("matrix.") and down is not None and down.op == "Conv" and len(down.inputs) == 2 and is_pixelwise(down):
            source, factors = down.inputs[0], [*factors, down.inputs[1]]
        if is_pixelwise(frozen):
            return (up.inputs[2], factors) if source == frozen.inputs[0] else None
        return (up.inputs[2], factors) if is_centred(frozen) and self._is_under_centre(source, frozen) else None

    def _is_under_centre(self, name: str, conv) -> bool:
        """Whether these are the inputs under the centre of the convolution's kernel: all, or every s-th of both axes."""
        strides = list(conv.attributes.get("strides", [1, 1]))
        if strides == [1, 1]:
            return name == conv.inputs[0]
        pool = self.makers.get(name)
        return (pool is not None and pool.op == "MaxPool" and pool.inputs[0] == conv.inputs[0] and list(pool.attributes.get("kernel_shape", [])) == [1, 1]
                and list(pool.attributes.get("strides", [])) == strides and not any(pool.attributes.get("pads", [])))

    def _is_adapter(self, name: str) -> bool:
        """A piece of the graph's inputs `scale` and `bias`, spread over an image."""
        while name in self.makers and self.makers[name].op in ("Split", "Reshape", "Cast"):
            name = self.makers[name].inputs[0]
        return name in self.inputs and name in ("scale", "bias")

    def _is_matrix(self, name: str) -> bool:
        return name in self.inputs and name.startswith(("matrix.", "up."))

    def _only_reader(self, node):
        behind = self.readers.get(node.outputs[0], [])
        return behind[0] if len(behind) == 1 else None


def is_pixelwise(conv) -> bool:
    """A 1x1 convolution without stride, padding or groups. (The kernel's size is an attribute that all exporters write.)"""
    a = conv.attributes
    return (list(a.get("kernel_shape", [])) == [1, 1] and a.get("group", 1) == 1 and a.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
            and not any(a.get("pads", [])) and all(s == 1 for s in a.get("strides", [])))


def is_centred(conv) -> bool:
    """A convolution without groups or dilation, of odd sides, padded by half a kernel all around."""
    a = conv.attributes
    sides = list(a.get("kernel_shape", []))
    return (len(sides) == 2 and all(side % 2 for side in sides) and list(a.get("pads", [])) == [side // 2 for side in sides] * 2
            and a.get("group", 1) == 1 and a.get("auto_pad", "NOTSET") == "NOTSET" and all(d == 1 for d in a.get("dilations", [])))


def product(up: torch.Tensor, down: torch.Tensor | None) -> torch.Tensor:
    """The matrix [Cout, Cin, 1, 1] of its factors. Without `down`, `up` is the whole matrix."""
    matrix = up.flatten(1) if down is None else up.flatten(1) @ down.flatten(1)
    return matrix[:, :, None, None]


def merged(a, x, weight, scale, bias, up=None, down=None):
    """scale * (weight x) + up (down x) + bias, as one 1x1 convolution."""
    weight = weight * scale.view(-1, 1, 1, 1)
    if up is not None:
        weight = weight + product(up, down)
    return F.conv2d(x, weight, bias.flatten())


def centred(a, x, weight, scale, bias, up, down=None):
    """scale * conv(x; weight) + matrix v + bias, v being x under the kernel's centre: scale * conv(x; weight + matrix / scale) + bias.

    Channels whose scale is too small for that have their rows of the matrix added behind.
    """
    stride, padding = tuple(a.get("strides", (1, 1))), tuple(a["pads"][:2])
    g, matrix = scale.view(-1, 1, 1, 1), product(up, down)
    small = g.detach().abs() <= LEAST_SCALE * g.detach().abs().max()
    divided = torch.where(small, torch.zeros_like(matrix), matrix / torch.where(small, torch.ones_like(g), g))
    y = affine(a, merged_conv(x, weight, divided, stride, padding), scale, bias)
    rows = small.flatten().nonzero().flatten()
    return y.index_add(1, rows, F.conv2d(x[:, :, ::stride[0], ::stride[1]], matrix[rows]).to(y.dtype)) if len(rows) else y


def affine(a, x, scale, bias):
    """scale * x + bias per channel of `[N, C, H, W]`."""
    scale, bias = scale.flatten(), bias.flatten()
    return F.batch_norm(x, torch.zeros_like(scale).detach(), torch.ones_like(scale).detach(), scale, bias, False, 0.0, 0.0)


# What the nodes that are made here compute: `f(attributes, *inputs)`.
OPERATORS: dict[str, Callable] = {"facet.Merged": merged, "facet.Centred": centred, "facet.Affine": affine}
