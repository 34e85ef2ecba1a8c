"""Runs an ONNX graph in PyTorch, so that gradients flow to its inputs: how a family's own graph is trained, as it is served.

An interpreter of the operators that families are made of (OPERATORS), each as ONNX defines it; another operator is refused by
name. onnx2torch does the same for more operators, but makes modules with parameters of its own, and had its last release in 2024.
What it does not know: slots, packs, training.
"""
from __future__ import annotations

import math
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

import fuse

try:
    import onnx
    from onnx import numpy_helper
except ModuleNotFoundError as error:
    raise SystemExit("this command reads ONNX and needs the package onnx: python -m pip install -r training/requirements.txt") from error

TYPES = {1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16, 11: torch.float64}
OPERATORS: dict[str, Callable] = dict(fuse.OPERATORS)


class GraphError(ValueError):
    """The graph cannot be run here; the message says why."""


def operator(*names: str):
    """Registers `f(attributes, *inputs)`; an input that a node leaves out is None."""
    def register(f: Callable) -> Callable:
        OPERATORS.update({name: f for name in names})
        return f
    return register


class Graph:
    """An ONNX file whose nodes are run one after the other. `inputs`: name to declared shape (None where open); `outputs`: names.

    Raises GraphError for operators that OPERATORS has not.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        model = onnx.load(str(path), load_external_data=False)
        onnx.load_external_data_for_model(model, str(path.parent))
        graph = model.graph
        self.constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}
        self.inputs = {i.name: [d.dim_value if d.HasField("dim_value") else None for d in i.type.tensor_type.shape.dim]
                       for i in graph.input if i.name not in self.constants}
        self.outputs = [o.name for o in graph.output]
        unknown = sorted({n.op_type for n in graph.node if n.op_type not in OPERATORS})
        if unknown:
            raise GraphError(f"{path} has operators that training does not know: {', '.join(unknown)}. Train with a module of your own (--module)")
        nodes = [Node(n.op_type, list(n.input), list(n.output), attributes(n)) for n in graph.node]
        self.nodes = fuse.fused(self._folded(nodes), set(self.inputs), self.outputs)
        self._last = {}
        for at, node in enumerate(self.nodes):
            self._last.update({name: at for name in node.inputs})

    def _folded(self, nodes: list["Node"]) -> list["Node"]:
        """Computes what depends on constants alone (weights stored as fp16, for one) once."""
        kept = []
        for node in nodes:
            if all(not name or name in self.constants for name in node.inputs):
                self.constants.update(zip(node.outputs, node.run([self.constants.get(name) for name in node.inputs])))
            else:
                kept.append(node)
        return kept

    def to(self, device: str) -> "Graph":
        self.constants = {k: v.to(device, memory_format=torch.channels_last if v.dim() == 4 else torch.preserve_format)
                          for k, v in self.constants.items()}
        return self

    def __call__(self, feeds: dict[str, torch.Tensor]) -> torch.Tensor:
        """The first output. Raises GraphError that names the node where shapes do not fit."""
        values = dict(feeds)
        for at, node in enumerate(self.nodes):
            try:
                found = node.run([values[n] if n in values else self.constants.get(n) for n in node.inputs])
            except (RuntimeError, IndexError) as error:
                raise GraphError(f"{node.op} that makes {node.outputs[0]}: {error}") from error
            values.update(zip(node.outputs, found))
            for name in node.inputs:
                if self._last[name] == at and name not in self.outputs:
                    values.pop(name, None)
        return values[self.outputs[0]]


class Node:
    def __init__(self, op: str, inputs: list[str], outputs: list[str], attributes: dict):
        self.op, self.inputs, self.outputs, self.attributes = op, inputs, outputs, attributes

    def run(self, values: list) -> list[torch.Tensor]:
        found = OPERATORS[self.op]({**self.attributes, "outputs": len(self.outputs)}, *values)
        return list(found) if isinstance(found, (list, tuple)) else [found]


def attributes(node) -> dict:
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {k: v.decode() if isinstance(v, bytes) else v for k, v in values.items()}


def simple(f: Callable) -> Callable:
    return lambda a, *x: f(*x)


for _name, _f in {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": torch.pow, "MatMul": torch.matmul, "Relu": F.relu, "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh, "Erf": torch.erf, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Neg": torch.neg, "Abs": torch.abs,
    "Reciprocal": torch.reciprocal, "Floor": torch.floor, "Ceil": torch.ceil, "Softplus": F.softplus, "HardSwish": F.hardswish,
    "Equal": torch.eq, "Less": torch.lt, "Greater": torch.gt, "Not": torch.logical_not, "And": torch.logical_and, "Or": torch.logical_or,
    "Cos": torch.cos, "Sin": torch.sin, "Where": torch.where, "Mish": F.mish, "Identity": lambda x: x, "Dropout": lambda x, *_: x,
}.items():
    OPERATORS[_name] = simple(_f)


@operator("Div")
def div(a, x, y):
    return x / y if x.is_floating_point() or y.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Cast")
def cast(a, x):
    return x.to(TYPES[a["to"]])


@operator("Clip")
def clip(a, x, low=None, high=None):
    low, high = (float(bound if bound is not None else a.get(name, other)) for name, bound, other in (("min", low, -math.inf), ("max", high, math.inf)))
    # hardtanh is faster, but on the CPU torch 1.13 has no gradient of it in bfloat16
    finite = math.isfinite(low) and math.isfinite(high)
    return F.hardtanh(x, low, high) if finite and x.dtype != torch.bfloat16 else torch.clamp(x, low, high)


@operator("LeakyRelu")
def leaky_relu(a, x):
    return F.leaky_relu(x, a.get("alpha", 0.01))


@operator("PRelu")
def prelu(a, x, slope):
    return torch.where(x < 0, slope * x, x)


@operator("HardSigmoid")
def hard_sigmoid(a, x):
    return torch.clamp(a.get("alpha", 0.2) * x + a.get("beta", 0.5), 0, 1)


@operator("Gelu")
def gelu(a, x):
    return F.gelu(x) if a.get("approximate", "none") == "none" else F.gelu(x, approximate="tanh")


@operator("Softmax")
def softmax(a, x):
    return torch.softmax(x, a.get("axis", -1))


def windows(a, x, kernel) -> tuple[torch.Tensor, list[int] | int]:
    """The image with zeros around it where PyTorch takes no asymmetric padding, and the padding that is left to do."""
    axes = len(kernel)
    mode, strides, dilations = a.get("auto_pad", "NOTSET"), a.get("strides", [1] * axes), a.get("dilations", [1] * axes)
    pads = list(a.get("pads", [0] * 2 * axes))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
        total = [max((-(-side // s) - 1) * s + span - side, 0) for side, s, span in zip(x.shape[2:], strides, spans)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if mode == "SAME_UPPER" else large + small
    if pads[:axes] == pads[axes:]:
        return x, pads[:axes]
    return F.pad(x, [p for axis in reversed(range(axes)) for p in (pads[axis], pads[axis + axes])]), 0


@operator("Conv")
def conv(a, x, weight, bias=None):
    padded, padding = windows(a, x, weight.shape[2:])
    axes = weight.dim() - 2
    f = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    return f(padded, weight, bias, tuple(a.get("strides", [1] * axes)), padding, tuple(a.get("dilations", [1] * axes)), a.get("group", 1))


@operator("MaxPool")
def max_pool(a, x):
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * len(a["kernel_shape"]))
    if not any(a.get("pads", [])) and all(k == 1 for k in kernel):
        return x[:, :, ::strides[0], ::strides[1]]
    pads = a.get("pads", [0] * 4)
    return F.max_pool2d(F.pad(x, [pads[1], pads[3], pads[0], pads[2]], value=-math.inf), kernel, strides, ceil_mode=bool(a.get("ceil_mode", 0)))


@operator("AveragePool")
def average_pool(a, x):
    kernel = a["kernel_shape"]
    padded, padding = windows(a, x, kernel)
    if padding == 0 and padded is not x and not a.get("count_include_pad", 0):
        raise GraphError("AveragePool with asymmetric pads that do not count")
    return F.avg_pool2d(padded, kernel, a.get("strides", [1] * len(kernel)), padding, bool(a.get("ceil_mode", 0)), bool(a.get("count_include_pad", 0)))


@operator("GlobalAveragePool")
def global_average_pool(a, x):
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(a, x):
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


@operator("BatchNormalization")
def batch_normalization(a, x, scale, bias, mean, variance):
    return F.batch_norm(x, mean, variance, scale, bias, False, 0.0, a.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(a, x, scale, bias=None):
    return F.layer_norm(x, x.shape[a.get("axis", -1):] if a.get("axis", -1) < 0 else x.shape[a["axis"]:], scale, bias, a.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_normalization(a, x, scale, bias):
    return F.instance_norm(x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5))


@operator("LpNormalization")
def lp_normalization(a, x):
    return F.normalize(x, a.get("p", 2), a.get("axis", -1))


@operator("Gemm")
def gemm(a, x, y, bias=None):
    x, y = x.T if a.get("transA", 0) else x, y.T if a.get("transB", 0) else y
    product = a.get("alpha", 1.0) * (x @ y)
    return product if bias is None else product + a.get("beta", 1.0) * bias


@operator("Einsum")
def einsum(a, *x):
    return torch.einsum(a["equation"], *x)


def axes_of(a, given) -> list[int] | None:
    return given.tolist() if given is not None else a.get("axes")


def reduction(f: Callable) -> Callable:
    def run(a, x, axes=None):
        chosen = axes_of(a, axes)
        return f(x, tuple(chosen) if chosen else tuple(range(x.dim())), bool(a.get("keepdims", 1)))
    return run


OPERATORS.update({
    "ReduceMean": reduction(lambda x, axes, keep: x.mean(axes, keepdim=keep)), "ReduceSum": reduction(lambda x, axes, keep: x.sum(axes, keepdim=keep)),
    "ReduceMax": reduction(lambda x, axes, keep: x.amax(axes, keepdim=keep)),
    "ReduceL2": reduction(lambda x, axes, keep: x.pow(2).sum(axes, keepdim=keep).sqrt())})


@operator("Reshape")
def reshape(a, x, shape):
    wanted = [x.shape[i] if s == 0 and not a.get("allowzero", 0) else s for i, s in enumerate(shape.tolist())]
    return torch.reshape(x, tuple(wanted))


@operator("Flatten")
def flatten(a, x):
    axis = a.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def transpose(a, x):
    return x.permute(a.get("perm", list(reversed(range(x.dim())))))


@operator("Squeeze")
def squeeze(a, x, axes=None):
    chosen = axes_of(a, axes)
    for axis in sorted((axis % x.dim() for axis in chosen), reverse=True) if chosen is not None else ():
        x = x.squeeze(axis)
    return x if chosen is not None else x.squeeze()


@operator("Unsqueeze")
def unsqueeze(a, x, axes=None):
    chosen = axes_of(a, axes)
    for axis in sorted(axis % (x.dim() + len(chosen)) for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(a, *x):
    return torch.cat(x, a["axis"])


@operator("Split")
def split(a, x, sizes=None):
    axis, wanted = a.get("axis", 0), sizes.tolist() if sizes is not None else a.get("split")
    return torch.split(x, wanted if wanted else -(-x.shape[axis] // a.get("num_outputs", a["outputs"])), axis)


@operator("Slice")
def slices(a, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends = (v.tolist() if v is not None else a[k] for v, k in ((starts, "starts"), (ends, "ends")))
    chosen = axes_of(a, axes) or list(range(len(starts)))
    for start, end, axis, step in zip(starts, ends, chosen, steps.tolist() if steps is not None else [1] * len(starts)):
        if step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(start, end, step),)]
        else:
            side = x.shape[axis]
            x = x.index_select(axis, torch.tensor(range(side)[slice(start, end if end >= -side else None, step)]))
    return x


@operator("Gather")
def gather(a, x, indices):
    axis = a.get("axis", 0) % x.dim()
    flat = indices.flatten() % x.shape[axis]
    return torch.reshape(x.index_select(axis, flat), (*x.shape[:axis], *indices.shape, *x.shape[axis + 1:]))


@operator("ScatterND")
def scatter_nd(a, x, indices, updates):
    if a.get("reduction", "none") != "none":
        raise GraphError(f"ScatterND with the reduction {a['reduction']}")
    return x.index_put(tuple(indices.unbind(-1)), updates)


@operator("Mod")
def mod(a, x, y):
    return torch.fmod(x, y) if a.get("fmod", 0) else torch.remainder(x, y)


@operator("Expand")
def expand(a, x, shape):
    return x.expand(torch.broadcast_shapes(x.shape, tuple(shape.tolist())))


@operator("Shape")
def shape(a, x):
    return torch.tensor(x.shape[a.get("start", 0):a.get("end", x.dim())], dtype=torch.int64)


@operator("ConstantOfShape")
def constant_of_shape(a, dims):
    value = torch.from_numpy(numpy_helper.to_array(a["value"]).copy()) if "value" in a else torch.zeros(1)
    return value.expand(tuple(dims.tolist()))


@operator("Constant")
def constant(a):
    if "value" in a:
        return torch.from_numpy(np.array(numpy_helper.to_array(a["value"])))
    return torch.tensor(next(v for k, v in a.items() if k != "outputs"))


@operator("Range")
def arange(a, start, end, step):
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


@operator("Pad")
def pad(a, x, pads=None, value=None, axes=None):
    amounts, count = pads.tolist() if pads is not None else a["pads"], x.dim()
    if axes is not None:
        half, named = len(amounts) // 2, axes.tolist()
        spread = [0] * 2 * count
        for i, axis in enumerate(named):
            spread[axis % count], spread[axis % count + count] = amounts[i], amounts[i + half]
        amounts = spread
    mode = {"edge": "replicate"}.get(a.get("mode", "constant"), a.get("mode", "constant"))
    # With what is there PyTorch pads the axes of images only.
    if mode in ("reflect", "replicate") and count > 2 and not any((*amounts[:2], *amounts[count:count + 2])):
        return F.pad(x, [p for axis in reversed(range(2, count)) for p in (amounts[axis], amounts[axis + count])], mode=mode)
    if mode != "constant":
        raise GraphError(f"a Pad of mode {mode} is not known to training. Train with a module of your own (--module)")
    fill = float(value) if value is not None else float(a.get("value", 0.0))
    return F.pad(x, [p for axis in reversed(range(count)) for p in (amounts[axis], amounts[axis + count])], value=fill)
