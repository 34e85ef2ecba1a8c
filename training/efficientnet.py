"""EfficientNet-Lite0 (TensorFlow's, ImageNet) as a PyTorch module with the tensor names of its published checkpoint, and as ONNX.

The paper is arXiv 1905.11946; Lite0 is B0 without squeeze-and-excitation, with ReLU6, and with stem and head of fixed width.
TensorFlow pads "same": where the stride is 2 and the side even, one row more behind than in front. BN eps is 1e-3.
What it does not know: where the checkpoint comes from, families.
"""
from __future__ import annotations

from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

from checkpoint import read_state

BN_EPS = 1e-3
# Of each stage: blocks, kernel, stride of the first block, expansion, channels out.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
STEM, HEAD, CLASSES = 32, 1280, 1000


def same_pads(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros in front of and behind an axis, so that the result has ceil(side / stride) positions."""
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    return total // 2, total - total // 2


class SameConv(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow pads "same"."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__(cin, cout, kernel, stride, groups=groups, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        (top, bottom), (left, right) = (same_pads(s, self.kernel_size[0], self.stride[0]) for s in x.shape[2:])
        return super().forward(F.pad(x, (left, right, top, bottom)) if top + bottom + left + right else x)


class Block(nn.Module):
    """An inverted bottleneck: 1x1 to more channels, depthwise, 1x1 back; the input is added where shapes agree."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = cin * expansion
        if expansion > 1:
            self._expand_conv, self._bn0 = SameConv(cin, wide, 1), nn.BatchNorm2d(wide, BN_EPS)
        self._depthwise_conv, self._bn1 = SameConv(wide, wide, kernel, stride, wide), nn.BatchNorm2d(wide, BN_EPS)
        self._project_conv, self._bn2 = SameConv(wide, cout, 1), nn.BatchNorm2d(cout, BN_EPS)
        self.expands, self.adds = expansion > 1, stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """`features`: [N, 3, H, W], normalised as (pixel - 127) / 128, to [N, 1280]; the module itself gives logits [N, 1000]."""

    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = SameConv(3, STEM, 3, 2), nn.BatchNorm2d(STEM, BN_EPS)
        blocks, cin = [], STEM
        for count, kernel, stride, expansion, cout in STAGES:
            for i in range(count):
                blocks.append(Block(cin, cout, kernel, stride if i == 0 else 1, expansion))
                cin = cout
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = SameConv(cin, HEAD, 1), nn.BatchNorm2d(HEAD, BN_EPS)
        self._fc = nn.Linear(HEAD, CLASSES)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)))
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x))).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._fc(self.features(x))


def load(checkpoint: Path) -> EfficientNetLite0:
    """The module with the weights of a state dict, in evaluation mode. Raises ValueError where the tensors are others."""
    network = EfficientNetLite0()
    try:
        network.load_state_dict(read_state(checkpoint))
    except RuntimeError as error:
        raise ValueError(f"{checkpoint} does not hold EfficientNet-Lite0: {error}") from error
    return network.eval()


def export_onnx(network: EfficientNetLite0, path: Path, side: int) -> None:
    """Writes the network as ONNX, operator set 13: `image` float32 [N, 3, side, side] to `logits` [N, 1000].

    The nodes are written here and not by PyTorch's exporter: that folds each BN into its convolution, and makes of the padding
    a node of its own. Here every BN is a BatchNormalization node, and the padding the convolution's asymmetric `pads`.
    """
    import onnx
    from onnx import helper, numpy_helper

    nodes, constants = [], []

    def constant(name: str, tensor: torch.Tensor) -> str:
        constants.append(numpy_helper.from_array(tensor.detach().contiguous().numpy(), name))
        return name

    def add(op: str, inputs: list[str], output: str, **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [output], name=f"{output}/{op}", **attributes))
        return output

    def conv(name: str, x: str, bn: str, here: int, activates: bool = True) -> tuple[str, int]:
        layer, norm = network.get_submodule(name), network.get_submodule(bn)
        kernel, stride = layer.kernel_size[0], layer.stride[0]
        begin, end = same_pads(here, kernel, stride)
        y = add("Conv", [x, constant(f"{name}.weight", layer.weight)], f"{name}/y", kernel_shape=[kernel] * 2,
                strides=[stride] * 2, pads=[begin, begin, end, end], group=layer.groups)
        parts = [constant(f"{bn}.{part}", getattr(norm, part)) for part in ("weight", "bias", "running_mean", "running_var")]
        y = add("BatchNormalization", [y, *parts], f"{bn}/y", epsilon=norm.eps)
        return (add("Clip", [y, "zero", "six"], f"{bn}/relu6") if activates else y), -(-here // stride)

    constant("zero", torch.tensor(0.0))
    constant("six", torch.tensor(6.0))
    x, here = conv("_conv_stem", "image", "_bn0", side)
    for i, block in enumerate(network._blocks):
        at = f"_blocks.{i}"
        y = x
        if block.expands:
            y, here = conv(f"{at}._expand_conv", y, f"{at}._bn0", here)
        y, here = conv(f"{at}._depthwise_conv", y, f"{at}._bn1", here)
        y, here = conv(f"{at}._project_conv", y, f"{at}._bn2", here, activates=False)
        x = add("Add", [x, y], f"{at}/sum") if block.adds else y
    x, _ = conv("_conv_head", x, "_bn1", here)
    x = add("Flatten", [add("GlobalAveragePool", [x], "pooled")], "features", axis=1)
    add("Gemm", [x, constant("_fc.weight", network._fc.weight), constant("_fc.bias", network._fc.bias)], "logits", transB=1)
    value = lambda name, shape: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "efficientnet-lite0", [value("image", ["N", 3, side, side])], [value("logits", ["N", CLASSES])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="facet training/efficientnet.py")
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path))
